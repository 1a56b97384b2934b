"""The forest plot of a comparison: every variant's difference from the first, with its interval."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from attnrec.analysis.style import GREY, folded, line_look, plain
from attnrec.experiments.compare import PROTOCOLS
from attnrec.experiments.result import Differences, StatedDifference


def forest_figure(variants: Sequence[str], differences: Differences, metric: str) -> Figure | None:
    """One panel per protocol, one row per variant: the difference as a point, its adjusted interval as a line.

    A filled point is a difference that is shown (its interval excludes 0), a hollow one is not. Variants have
    the colours and markers of the comparison's other figures.

    Args:
        variants: labels; the others are compared with the first.
        differences: the differences from the first; variants without one are left out.
        metric: metric of the differences, such as ``NDCG@10``.

    Returns:
        None if no difference has an adjusted interval, as with one seed.
    """
    shown = [found for of in differences.values() for found in of.values()]
    tested = sum(found.p_holm is not None for found in shown)
    if not tested:
        return None
    rows = [(place, label) for place, label in enumerate(variants) if label in differences]
    labels = [folded(label) for _, label in rows]
    lines = sum(label.count("\n") + 1 for label in labels)
    figure = Figure(figsize=(9.5, 1.7 + 0.27 * lines), layout="constrained")
    panels = figure.subplots(1, len(PROTOCOLS), sharey=True)
    for axes, (protocol, words) in zip(panels, PROTOCOLS.items(), strict=True):
        axes.axvline(0, color=GREY, linewidth=0.9, zorder=1)
        for height, (place, label) in enumerate(rows):
            _draw(axes, height, place, differences[label][protocol])
        axes.set_title(words, fontsize="medium", loc="left")
        _finish(axes, len(rows))
    panels[0].set_yticks(range(len(rows)), list(map(plain, labels)), fontsize="small")
    words = _explained(metric, folded(variants[0], 80), tested, one_seed=tested < len(shown))
    figure.supxlabel(words, fontsize="small")
    return figure


def _draw(axes: Axes, height: int, place: int, found: StatedDifference) -> None:
    """One difference; with one seed only the point, because its interval applies only to two trained models."""
    look = line_look(place)
    ends = None
    if found.adjusted_low is not None and found.adjusted_high is not None:
        ends = [[found.mean - found.adjusted_low], [found.adjusted_high - found.mean]]
    axes.errorbar(
        [found.mean],
        [height],
        xerr=ends,
        color=look["color"],
        marker=look["marker"],
        markersize=5.5,
        markerfacecolor=look["color"] if found.verdict in ("better", "worse") else "white",
        elinewidth=1.6,
        capsize=2.5,
    )


def _finish(axes: Axes, rows: int) -> None:
    """The first variant on top, signed numbers, no frame."""
    axes.set_ylim(rows - 0.4, -0.6)
    axes.xaxis.set_major_locator(MaxNLocator(5, symmetric=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:+.3g}" if abs(value) > 1e-12 else "0"))
    axes.tick_params(axis="x", labelsize="small")
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", color=GREY, alpha=0.2, linewidth=0.6)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _explained(metric: str, reference: str, tested: int, *, one_seed: bool) -> str:
    together = (
        f"intervals adjusted for the {tested} differences shown together (Holm)" if tested > 1 else "95 % interval"
    )
    text = f"test {metric} minus that of {plain(reference)}\n{together}; filled: a difference is shown"
    if one_seed:
        text += "; no interval: one seed"
    return text
