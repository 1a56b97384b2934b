"""The figure of a benchmark: time against n, both on logarithmic axes, with each operator's fitted exponent."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from attnrec.analysis.style import GREY, LEGEND_ROW, Figures, folded, line_look, plain
from attnrec.core.measuring import fit_exponents
from attnrec.speed.bench import BenchmarkResult
from attnrec.speed.plan import BOTH
from attnrec.speed.report import by_panel
from attnrec.speed.runner import Measurement

_LONGEST_OF_TWO = 14  # longest operator name in characters for which a legend of two columns fits below its panel


def benchmark_figures(result: BenchmarkResult) -> Figures:
    """`time_by_length` of a benchmark; no figure if fewer than two lengths could be measured."""
    if len({m.n for m in result.measurements if m.ms is not None}) < 2:
        return Figures()
    title = f"{result.environment['device']}, {result.plan.precision}, {result.plan.workload}"
    return Figures({"time-by-length": time_by_length(result.measurements, title)})


def time_by_length(measurements: Sequence[Measurement], title: str) -> Figure:
    """One row of panels per width d, one column per pass; a thin line shows the least time by the machine's ceilings.

    Args:
        measurements: of one benchmark, with at least two lengths; failed ones are left out.
        title: what was measured, and where.
    """
    panels = by_panel(measurements)
    passes = list(dict.fromkeys(which for which, _ in panels))
    dims = list(dict.fromkeys(d for _, d in panels))
    operators = list(dict.fromkeys(m.operator for m in measurements))
    columns = 1 if max(map(len, operators)) > _LONGEST_OF_TWO else 2
    height = 3.6 + LEGEND_ROW * -(-(1 + sum(folded(name).count("\n") + 1 for name in operators)) // columns)
    figure = Figure(figsize=(1.0 + 4.6 * len(passes), 0.9 + height * len(dims)), layout="constrained")
    grid = figure.subplots(len(dims), len(passes), squeeze=False, sharey="row")
    for row, d in zip(grid, dims, strict=True):
        for axes, which in zip(row, passes, strict=True):
            panel = panels[which, d]
            _floor(axes, panel)
            for place, operator in enumerate(operators):
                _line(axes, place, [m for m in panel if m.operator == operator and m.ms is not None])
            heading = "forward and backward" if which == BOTH else "forward"
            _finish(axes, heading + (f", d = {d}" if len(dims) > 1 else ""), sorted({m.n for m in panel}), columns)
        row[0].set_ylabel("milliseconds")
    title = plain(title if len(dims) > 1 else f"{title}, d = {dims[0]}")
    figure.suptitle(title, x=0.01, ha="left", fontweight="bold", fontsize="medium")
    return figure


def _line(axes: Axes, place: int, done: Sequence[Measurement]) -> None:
    """The median against n; error bars span the quartiles."""
    if not done:
        return
    n, ms = [m.n for m in done], [m.ms or 0.0 for m in done]
    exponent = f"  n^{fit_exponents(ms, n)[0]:.2f}" if len(set(n)) > 1 else ""
    below = [(m.ms or 0.0) - (m.ms_low or 0.0) for m in done]
    above = [(m.ms_high or 0.0) - (m.ms or 0.0) for m in done]
    axes.errorbar(
        n,
        ms,
        yerr=[below, above],
        **line_look(place),
        markersize=4.5,
        linewidth=1.6,
        elinewidth=1.0,
        label=plain(folded(done[0].operator)) + exponent,
    )


def _floor(axes: Axes, panel: Sequence[Measurement]) -> None:
    floors = {m.n: m.floor_ms for m in panel if m.floor_ms is not None}
    axes.plot(list(floors), list(floors.values()), color=GREY, linewidth=0.8, label="floor (roofline)")


def _finish(axes: Axes, heading: str, lengths: Sequence[int], columns: int) -> None:
    axes.set(xscale="log", yscale="log", xlabel="n (longest history)")
    axes.set_title(heading, fontsize="medium", loc="left")
    axes.set_xticks(list(lengths), [str(n) for n in lengths])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(
        frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(0.0, -0.14), ncols=columns, handlelength=4.0
    )
