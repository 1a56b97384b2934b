"""How figures look: distinguishable lines, text that fits, and saving.

The first seven colours are those of Okabe & Ito (2008) without yellow, which is faint on white; the other three were
chosen so that readers with deuteranopia or protanopia can tell all ten apart (`tests/analysis/test_style.py`).
"""

from __future__ import annotations

import base64
import io
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from attnrec.core.errors import RunError
from attnrec.core.files import make_folders, write_atomically

PALETTE = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#444444",
    "#7a0000",
    "#8c6d31",
    "#4b0082",
)
LINE_STYLES = ("-", (0, (5, 1.5)), (0, (6, 1.5, 1, 1.5)), (0, (1, 1.2)), (0, (5, 1.2, 1, 1.2, 1, 1.2)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
GREY = "#8a8a8a"
_NAME_WIDTH = 40  # characters of a variant's name per line
_SMALL_CHARACTER = 0.07  # average width of a small character, in inches
_HANDLE = 0.85  # width of the line before a name in a legend, with the space around both, in inches
LEGEND_ROW = 0.17
"""Height of a line of small text in a legend, in inches."""


def line_look(place: int) -> dict[str, Any]:
    """Colour, line style and marker of the line at ``place``; no two of the first fifty look alike.

    The first ten differ in colour; the next ten have the same colours with other styles and markers.
    """
    turned = place + place // len(PALETTE)
    return {
        "color": PALETTE[place % len(PALETTE)],
        "linestyle": LINE_STYLES[turned % len(LINE_STYLES)],
        "marker": MARKERS[turned % len(MARKERS)],
    }


def plain(text: str) -> str:
    """Escape dollar signs in outside text, because matplotlib reads text between them as mathematics."""
    return text.replace("$", r"\$")


def folded(name: str, width: int = _NAME_WIDTH) -> str:
    """A variant's name in lines of at most ``width`` characters, broken after an option or a part of a path."""
    lines = [""]
    for part in re.findall(rf"[^,:+/]{{1,{width - 1}}}[,:+/]?|[,:+/]", name):
        if len(lines[-1]) + len(part) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def legend_below(figure: Figure, handles: Sequence[Artist], names: Sequence[str], title: str | None = None) -> None:
    """One legend for all panels, below them, with as many columns as fit.

    The figure grows by the height of the legend, so that the panels keep theirs.
    """
    labels = list(map(folded, names))
    lines = [line for label in labels for line in label.splitlines()]
    needed = _HANDLE + _SMALL_CHARACTER * max(map(len, lines), default=0)
    columns = max(1, min(4, len(labels), int(figure.get_figwidth() / needed)))
    figure.legend(
        handles,
        list(map(plain, labels)),
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        fontsize="small",
        title=title,
        title_fontsize="small",
        handlelength=4.5,  # long enough to recognise a line style
    )
    rows = -(-len(lines) // columns) + (title is not None)
    figure.set_figheight(figure.get_figheight() + LEGEND_ROW * rows)


def heading(figure: Figure, text: str) -> None:
    """Write a figure's title at its left edge, folded if it is longer than the figure is wide."""
    characters = max(20, int(8.5 * figure.get_figwidth()))
    figure.suptitle(plain(textwrap.fill(text, characters)), x=0.01, ha="left", fontweight="bold")


class Figures(dict[str, Figure]):
    """Figures by name; a notebook shows them one below the other."""

    def _repr_html_(self) -> str:
        return "".join(_as_image(name, figure) for name, figure in self.items())


def _as_image(name: str, figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return f'<img alt="{name}" src="data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"/>'


def tidy(axes: Axes, *, counts: bool = True) -> None:
    """Remove the frame at the top and right; with ``counts``, only whole numbers on the x-axis (steps, cut-offs)."""
    axes.spines[["top", "right"]].set_visible(False)
    if not counts:
        return
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    low, high = axes.get_xlim()
    if high - low < 1:  # a single point
        axes.set_xlim(low - 0.5, high + 0.5)


def save_figure(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write PNG (200 dpi) and SVG; returns their paths. RunError if they cannot be written."""
    if folder.is_symlink():
        raise RunError(f"{folder} is a link; figures are not written through links")
    make_folders(folder)
    paths = []
    for kind in ("png", "svg"):
        content = io.BytesIO()
        with rc_context({"svg.hashsalt": name}):  # so that the same figure gives the same file
            figure.savefig(content, format=kind, dpi=200, metadata={"Date": None} if kind == "svg" else None)
        paths.append(folder / f"{name}.{kind}")
        write_atomically(paths[-1], content.getvalue())
    return paths
