"""How a training went: loss and gradient norm by step, validation NDCG@10 by epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from attnrec.analysis.running_mean import reach_of, running_mean
from attnrec.analysis.style import GREY, PALETTE, heading, tidy
from attnrec.core.errors import InputError
from attnrec.training.run_directory import METRICS, RunDirectory

_BLUE, _ORANGE = PALETTE[:2]


def training_figure(run: str | Path) -> Figure:
    """Three panels: loss by step, global gradient norm by step (each with a running mean), validation NDCG@10 by epoch.

    Raises:
        InputError: ``run`` is not a run directory, or nothing is logged yet.
        RunError: the log is corrupt.
    """
    directory = RunDirectory.open(run)
    steps, evaluations = _read(directory)
    figure = Figure(figsize=(11, 3.2), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    for axes, key, label in ((left, "loss", "loss"), (middle, "grad_norm", "global gradient norm")):
        _draw_steps(axes, np.array([line["step"] for line in steps]), np.array([line[key] for line in steps]), label)
    _draw_evaluations(right, evaluations, directory.config().evaluation.select)
    config = directory.config()
    heading(figure, f"{Path(config.data.dataset).stem}, {config.model.variant}, loss {config.training.loss}")
    return figure


def _read(run: RunDirectory) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    lines = run.log()
    steps = [line for line in lines if "loss" in line]
    if not steps:
        raise InputError(f"{run} has nothing to plot yet: {METRICS} has no step")
    return steps, [line for line in lines if "valid" in line]


def _draw_steps(axes: Axes, steps: npt.NDArray[np.int64], values: npt.NDArray[np.float64], label: str) -> None:
    reach = reach_of(len(values))
    axes.plot(steps, values, color=_BLUE, alpha=0.5, linewidth=0.7, label="each step")
    mean = running_mean(values, reach)
    axes.plot(steps, mean, color=_BLUE, linewidth=1.8, label=f"mean over ±{reach} steps")
    axes.set(xlabel="step", ylabel=label)
    axes.legend(frameon=False, fontsize="small")
    tidy(axes)


def _draw_evaluations(axes: Axes, evaluations: list[dict[str, Any]], select: str) -> None:
    epochs = [line["epoch"] for line in evaluations]
    for protocol, color, label in (("full", _BLUE, "full ranking"), ("sampled", _ORANGE, "sampled-100")):
        values = [line["valid"][protocol]["NDCG@10"] for line in evaluations if "NDCG@10" in line["valid"][protocol]]
        if len(values) != len(epochs) or not values:
            continue
        axes.plot(epochs, values, color=color, linewidth=1.6, marker=".", label=label)
        if protocol == select:
            best = int(np.argmax(values))
            axes.axvline(epochs[best], color=GREY, linewidth=0.8, linestyle="--")
            axes.annotate(
                f"chosen: epoch {epochs[best]}",
                (epochs[best], 0.2),
                xycoords=("data", "axes fraction"),
                xytext=(-4, 0),
                textcoords="offset points",
                ha="right",
                fontsize="small",
                color=GREY,
            )
    axes.set(xlabel="epoch", ylabel="validation NDCG@10")
    axes.set_ylim(bottom=0)
    if evaluations:
        axes.legend(frameon=False, fontsize="small", loc="best")
    tidy(axes)
