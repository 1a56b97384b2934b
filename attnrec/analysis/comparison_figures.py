"""Figures of a comparison: NDCG against N, differences, validation by epoch and time, gradient norm by step and epoch.

Every variant has its own colour, line style and marker in all figures, so that they are readable in print. With few
variants, a band around the mean spans the seeds from the lowest to the highest; with many, bands would cover each other
and the lines.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from attnrec.analysis.forest import forest_figure
from attnrec.analysis.running_mean import reach_of, running_mean
from attnrec.analysis.style import heading, legend_below, line_look, tidy
from attnrec.core.errors import InputError
from attnrec.experiments.compare import PROTOCOLS, Comparison
from attnrec.experiments.cost import time_curve
from attnrec.experiments.differences import differences_from_first, headline_metric
from attnrec.experiments.report import epoch_means
from attnrec.experiments.result import Differences
from attnrec.training.run_directory import RunDirectory
from attnrec.training.summary import Summary

_TIME = "seconds of training"
_MOST_WITH_BANDS = 5  # variants
_MOST_WITH_STEPS = 3  # variants whose single steps can be told apart
_MARKS = 12  # markers on a line of very many points
_Curve = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]


@dataclass(frozen=True)
class _Run:
    """What the figures need from a finished run, read once."""

    summary: Summary
    log: list[dict[str, Any]]


def _read(run: RunDirectory) -> _Run:
    return _Run(run.result(), run.log())


def comparison_figures(comparison: Comparison, differences: Differences | None = None) -> dict[str, Figure]:
    """Every figure by name; the one of the differences only if they have intervals, so not with one seed.

    Args:
        comparison: its finished runs are drawn.
        differences: of the same runs, if already known; otherwise computed.

    Raises:
        InputError: no run is finished.
        RunError: a file of a run is corrupt.
    """
    runs = {
        variant: [_read(comparison.run(variant, seed)) for seed in comparison.finished_seeds(variant)]
        for variant in comparison.variants
    }
    runs = {variant: found for variant, found in runs.items() if found}
    if not runs:
        raise InputError(f"{comparison.path} has no finished run to plot yet")
    figures = {
        "ndcg-by-cutoff": _by_protocol(runs, _ndcg_by_cutoff, "N", "test NDCG@N"),
        **_differences(comparison, list(runs), differences),
        "validation-by-epoch": _by_protocol(runs, _validation, "epoch", "validation NDCG@10"),
        **_validation_by_time(runs),
        "gradient-norm-by-step": _norms_by_step(runs),
        "gradient-norm-by-epoch": _norms_by_epoch(runs),
    }
    for figure in figures.values():
        heading(figure, f"{Path(comparison.config.data.dataset).stem}, loss {comparison.config.training.loss}")
    return figures


def _differences(comparison: Comparison, variants: Sequence[str], differences: Differences | None) -> dict[str, Figure]:
    """The forest plot by its name; empty if no difference has an adjusted interval.

    ``variants``: those of the other figures, so that the colours are the same.
    """
    metric = headline_metric(comparison)
    if differences is None:
        seeds = {name: comparison.finished_seeds(name) for name in comparison.variants}
        differences = differences_from_first(comparison, seeds, metric)
    figure = forest_figure(variants, differences, metric)
    return {} if figure is None else {"ndcg-differences": figure}


def _by_protocol(runs: dict[str, list[_Run]], curve: Callable[[_Run, str], _Curve], xlabel: str, ylabel: str) -> Figure:
    figure = Figure(figsize=(9.5, 3.9), layout="constrained")
    panels = figure.subplots(1, 2)
    few = len(runs) <= _MOST_WITH_BANDS
    for axes, (protocol, words) in zip(panels, PROTOCOLS.items(), strict=True):
        for place, (variant, found) in enumerate(runs.items()):
            _draw(axes, place, variant, [curve(run, protocol) for run in found], bands=few)
        axes.set(xlabel=xlabel, ylabel=ylabel, title=words)
    _finish(figure, panels, runs, counts=xlabel != _TIME)
    if xlabel == "N":
        for axes in panels:
            _cutoff_ticks(axes)
    return figure


def _validation_by_time(runs: dict[str, list[_Run]]) -> dict[str, Figure]:
    """The figure of scores by time, without runs that did not log their seconds; empty if no run did."""
    timed = {variant: [run for run in found if len(_by_time(run, "full")[0])] for variant, found in runs.items()}
    timed = {variant: found for variant, found in timed.items() if found}
    if not timed:
        return {}
    return {"validation-by-time": _by_protocol(timed, _by_time, _TIME, "validation NDCG@10")}


def _norms_by_step(runs: dict[str, list[_Run]]) -> Figure:
    figure = Figure(figsize=(7.5, 3.9), layout="constrained")
    axes = figure.subplots()
    reach = reach_of(min(len(_norms(run)[0]) for found in runs.values() for run in found))
    for place, (variant, found) in enumerate(runs.items()):
        each = [_norms(run) for run in found]
        if len(runs) <= _MOST_WITH_STEPS:
            _draw_steps(axes, place, each)
        smooth = [(steps, running_mean(norms, reach)) for steps, norms in each]
        _draw(axes, place, variant, smooth, bands=len(runs) <= _MOST_WITH_BANDS)
    axes.set(xlabel="step", ylabel="global gradient norm")
    note = f"mean over ±{reach} steps"
    axes.set_title(note + ("; faint: each step" if len(runs) <= _MOST_WITH_STEPS else ""), fontsize="small", loc="left")
    _finish(figure, [axes], runs)
    return figure


def _draw_steps(axes: Axes, place: int, curves: Sequence[_Curve]) -> None:
    """Mean over the seeds at every step, drawn below all other lines."""
    length = min(len(values) for _, values in curves)
    mean = np.mean([values[:length] for _, values in curves], 0)
    axes.plot(curves[0][0][:length], mean, color=line_look(place)["color"], alpha=0.45, linewidth=0.7, zorder=1)


def _norms_by_epoch(runs: dict[str, list[_Run]]) -> Figure:
    figure = Figure(figsize=(7.5, 3.9), layout="constrained")
    axes = figure.subplots()
    for place, (variant, found) in enumerate(runs.items()):
        _draw(axes, place, variant, [_norm_by_epoch(run) for run in found], bands=len(runs) <= _MOST_WITH_BANDS)
    axes.set(xlabel="epoch", ylabel="global gradient norm")
    axes.set_title("mean over the steps of the epoch", fontsize="small", loc="left")
    _finish(figure, [axes], runs)
    return figure


def _draw(axes: Axes, place: int, label: str, curves: Sequence[_Curve], *, bands: bool) -> None:
    """Mean over seeds as a line, and with ``bands`` their range, up to the end of the shortest run."""
    length = min(len(values) for _, values in curves)
    if not length:
        return
    x = np.mean([x[:length] for x, _ in curves], 0)  # seconds differ between seeds; steps and epochs do not
    values = np.stack([y[:length] for _, y in curves])
    look = line_look(place)
    every = -(-length // _MARKS)  # variants get their markers at different places if points are close
    axes.plot(
        x,
        values.mean(0),
        **look,
        markersize=4.5,
        markevery=(place * every // _MARKS % every, every),
        linewidth=1.8,
        label=label,
    )
    if bands and len(values) > 1:
        axes.fill_between(x, values.min(0), values.max(0), color=look["color"], alpha=0.15, linewidth=0)


def _finish(figure: Figure, panels: Sequence[Axes], runs: dict[str, list[_Run]], *, counts: bool = True) -> None:
    """Remove unneeded frames, and add one legend below."""
    for axes in panels:
        tidy(axes, counts=counts)
    seeds = max(len(found) for found in runs.values())
    drawn = "mean and range" if len(runs) <= _MOST_WITH_BANDS else "mean"
    legend_below(figure, *panels[0].get_legend_handles_labels(), f"{drawn} of {seeds} seeds" if seeds > 1 else None)


def _cutoff_ticks(axes: Axes) -> None:
    places = sorted({float(x) for line in axes.get_lines() for x in np.asarray(line.get_xdata())})
    axes.set_xticks(places, [f"{place:g}" for place in places])


# -- curves of one run -------------------------------------------------------------------------------------


def _ndcg_by_cutoff(run: _Run, protocol: str) -> _Curve:
    test = run.summary["test"][protocol]
    found = {int(name.split("@")[1]): value for name, value in test.items() if name.startswith("NDCG@")}
    return np.array(list(found), dtype=np.float64), np.array(list(found.values()))


def _validation(run: _Run, protocol: str) -> _Curve:
    lines = [line for line in run.log if "NDCG@10" in line.get("valid", {}).get(protocol, {})]
    epochs = np.array([line["epoch"] for line in lines], dtype=np.float64)
    return epochs, np.array([line["valid"][protocol]["NDCG@10"] for line in lines])


def _by_time(run: _Run, protocol: str) -> _Curve:
    points = time_curve(run.log, protocol, "NDCG@10")
    return np.array([seconds for seconds, _ in points]), np.array([score for _, score in points])


def _norms(run: _Run) -> _Curve:
    lines = [line for line in run.log if "grad_norm" in line]
    return np.array([line["step"] for line in lines], dtype=np.float64), np.array([line["grad_norm"] for line in lines])


def _norm_by_epoch(run: _Run) -> _Curve:
    means = np.array(epoch_means(run.log))
    return np.arange(1, len(means) + 1, dtype=np.float64), means
