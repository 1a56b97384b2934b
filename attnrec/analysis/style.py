"""How figures look: colours that colour-blind readers can tell apart (Okabe & Ito, 2008), and saving them."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from attnrec.errors import RunError
from attnrec.files import make_folders, write_atomically

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#444444")
LINE_STYLES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
GREY = "#8a8a8a"


def line_look(place: int) -> dict[str, Any]:
    """Colour, line style and marker of the line at ``place``, so that no two look alike."""
    return {
        "color": PALETTE[place % len(PALETTE)],
        "linestyle": LINE_STYLES[place % len(LINE_STYLES)],
        "marker": MARKERS[(place + place // len(PALETTE)) % len(MARKERS)],
    }


def plain(text: str) -> str:
    """A text from outside as matplotlib must get it to show it as it is: between dollars it would read mathematics."""
    return text.replace("$", r"\$")


class Figures(dict[str, Figure]):
    """Figures by name, which a notebook shows one below the other."""

    def _repr_html_(self) -> str:
        return "".join(_as_image(name, figure) for name, figure in self.items())


def _as_image(name: str, figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return f'<img alt="{name}" src="data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"/>'


def tidy(axes: Axes, *, counts: bool = True) -> None:
    """No frame where there is no axis, and with ``counts`` whole numbers on the horizontal one (steps, cut-offs)."""
    axes.spines[["top", "right"]].set_visible(False)
    if not counts:
        return
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    low, high = axes.get_xlim()
    if high - low < 1:  # a single point
        axes.set_xlim(low - 0.5, high + 0.5)


def save_figure(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write PNG (200 dots an inch) and SVG; returns their paths. RunError if they cannot be written."""
    if folder.is_symlink():
        raise RunError(f"{folder} is a link, and figures are not written through one")
    make_folders(folder)
    paths = []
    for kind in ("png", "svg"):
        content = io.BytesIO()
        with rc_context({"svg.hashsalt": name}):  # the same figure is the same file
            figure.savefig(content, format=kind, dpi=200, metadata={"Date": None} if kind == "svg" else None)
        paths.append(folder / f"{name}.{kind}")
        write_atomically(paths[-1], content.getvalue())
    return paths
