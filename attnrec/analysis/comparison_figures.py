"""Figures of a comparison: NDCG against N, validation by epoch and by time, gradient norm by step and by epoch.

Every variant has its own colour and line style, so that a figure reads in print; a band spans the seeds from
the lowest to the highest, around their mean.
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

from attnrec.analysis.style import PALETTE, line_look, plain, tidy
from attnrec.errors import InputError
from attnrec.experiments.compare import PROTOCOLS, Comparison
from attnrec.experiments.cost import time_curve
from attnrec.experiments.report import epoch_means
from attnrec.training.run_directory import RunDirectory

_TIME = "seconds of training"
_WINDOW = 50  # steps of the running mean, at most a fifth of the run
_Curve = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]


@dataclass(frozen=True)
class _Run:
    """What the figures need of a finished run, read once."""

    summary: dict[str, Any]
    log: list[dict[str, Any]]


def _read(run: RunDirectory) -> _Run:
    return _Run(run.summary() or {}, run.log())


def comparison_figures(comparison: Comparison) -> dict[str, Figure]:
    """Every figure by name; InputError if no run is finished."""
    runs = {
        variant: [
            _read(comparison.run(variant, seed)) for seed in comparison.seeds if comparison.finished(variant, seed)
        ]
        for variant in comparison.variants
    }
    runs = {variant: found for variant, found in runs.items() if found}
    if not runs:
        raise InputError(f"{comparison.path} has no finished run to plot yet")
    figures = {
        "ndcg-by-cutoff": _by_protocol(runs, _ndcg_by_cutoff, "N", "test NDCG@N"),
        "validation-by-epoch": _by_protocol(runs, _validation, "epoch", "validation NDCG@10"),
        **_validation_by_time(runs),
        "gradient-norm-by-step": _norms_by_step(runs),
        "gradient-norm-by-epoch": _norms_by_epoch(runs),
    }
    for figure in figures.values():
        title = f"{Path(comparison.config.dataset).stem}, loss {comparison.config.loss}"
        figure.suptitle(plain(title), x=0.01, ha="left", fontweight="bold")
    return figures


def _by_protocol(runs: dict[str, list[_Run]], curve: Callable[[_Run, str], _Curve], xlabel: str, ylabel: str) -> Figure:
    figure = Figure(figsize=(9.5, 4.2), layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, (protocol, words) in zip(panels, PROTOCOLS.items(), strict=True):
        for place, (variant, found) in enumerate(runs.items()):
            _draw(axes, place, variant, [curve(run, protocol) for run in found], marked=True)
        axes.set(xlabel=xlabel, ylabel=ylabel, title=words)
    _finish(figure, panels, runs, counts=xlabel != _TIME)
    if xlabel == "N":
        for axes in panels:
            _cutoff_ticks(axes)
    return figure


def _validation_by_time(runs: dict[str, list[_Run]]) -> dict[str, Figure]:
    """The figure of the scores at equal time, without the runs that did not log their seconds; none without any."""
    timed = {variant: [run for run in found if len(_by_time(run, "full")[0])] for variant, found in runs.items()}
    timed = {variant: found for variant, found in timed.items() if found}
    if not timed:
        return {}
    return {"validation-by-time": _by_protocol(timed, _by_time, _TIME, "validation NDCG@10")}


def _norms_by_step(runs: dict[str, list[_Run]]) -> Figure:
    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axes = figure.subplots()
    for place, (variant, found) in enumerate(runs.items()):
        each = [_norms(run) for run in found]
        length = min(map(len, each))
        window = max(1, min(_WINDOW, length // 5))
        axes.plot(
            np.arange(1, length + 1),
            np.mean([norms[:length] for norms in each], 0),
            color=PALETTE[place % len(PALETTE)],
            alpha=0.12,
            linewidth=0.5,
        )
        smooth = [np.convolve(norms, np.ones(window) / window, mode="valid") for norms in each]
        steps = np.arange(window, length + 1, dtype=np.float64) - (window - 1) / 2  # the middle of what is averaged
        _draw(axes, place, variant, [(steps, norms[: len(steps)]) for norms in smooth], marked=False)
    axes.set(xlabel="step", ylabel=f"global gradient norm\n(faint: each step; line: mean of {window})")
    _finish(figure, [axes], runs)
    return figure


def _norms_by_epoch(runs: dict[str, list[_Run]]) -> Figure:
    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axes = figure.subplots()
    for place, (variant, found) in enumerate(runs.items()):
        _draw(axes, place, variant, [_norm_by_epoch(run) for run in found], marked=True)
    axes.set(xlabel="epoch", ylabel="global gradient norm\n(mean over the epoch)")
    _finish(figure, [axes], runs)
    return figure


def _draw(axes: Axes, place: int, label: str, curves: Sequence[_Curve], *, marked: bool) -> None:
    """Mean over seeds as a line and their range as a band, as far as every seed goes."""
    length = min(len(values) for _, values in curves)
    if not length:
        return
    x = np.mean([x[:length] for x, _ in curves], 0)  # seconds differ between seeds; steps and epochs do not
    values = np.stack([y[:length] for _, y in curves])
    look = line_look(place)
    axes.plot(
        x,
        values.mean(0),
        **(look if marked else look | {"marker": ""}),
        markersize=4,
        linewidth=1.6,
        label=label,
    )
    if len(values) > 1:
        axes.fill_between(x, values.min(0), values.max(0), color=look["color"], alpha=0.15, linewidth=0)


def _finish(figure: Figure, panels: Sequence[Axes], runs: dict[str, list[_Run]], *, counts: bool = True) -> None:
    """No needless frames, and one legend below."""
    for axes in panels:
        tidy(axes, counts=counts)
    handles, names = panels[0].get_legend_handles_labels()
    labels = list(map(plain, names))
    seeds = max(len(found) for found in runs.values())
    title = f"mean and range of {seeds} seeds" if seeds > 1 else None
    figure.legend(
        handles,
        list(map(plain, labels)),
        loc="outside lower center",
        ncols=2,
        frameon=False,
        title=title,
        title_fontsize="small",
    )


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


def _norms(run: _Run) -> npt.NDArray[np.float64]:
    return np.array([line["grad_norm"] for line in run.log if "grad_norm" in line])


def _norm_by_epoch(run: _Run) -> _Curve:
    means = np.array(epoch_means(run.log))
    return np.arange(1, len(means) + 1, dtype=np.float64), means
