"""The log of a training as columns."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from attnrec.core.arguments import path
from attnrec.training.run_directory import RunDirectory

Column = npt.NDArray[np.int64] | npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class History:
    """The log of a run as columns; ``pandas.DataFrame(history.steps)`` makes a table of them.

    Attributes:
        steps: ``step`` and ``epoch`` (int64), ``loss`` and ``grad_norm``, the norm of all gradients before clipping
            (float64; NaN for a step that was skipped because they were not finite).
        evaluations: ``epoch`` (int64), ``seconds`` of training until then, and each metric on validation, such as
            ``full NDCG@10`` and ``sampled NDCG@10`` (float64).
    """

    steps: dict[str, Column]
    evaluations: dict[str, Column]


def history(run: str | Path) -> History:
    """The log of a run; it may still be training.

    Raises:
        InputError: it is not a run directory.
        RunError: the log is damaged.
    """
    return history_of(RunDirectory.open(path("run", run)))


def history_of(run: RunDirectory) -> History:
    """As `history`."""
    lines = run.log()
    steps = [line for line in lines if "step" in line]
    evaluations = [line for line in lines if "valid" in line]
    found = {name: _whole(steps, name) for name in ("step", "epoch")}
    found |= {name: _numbers([line.get(name, math.nan) for line in steps]) for name in ("loss", "grad_norm")}
    valid = {"epoch": _whole(evaluations, "epoch"), "seconds": _numbers([line["seconds"] for line in evaluations])}
    for protocol, metrics in evaluations[0]["valid"].items() if evaluations else ():
        for name in metrics:
            values = [line["valid"][protocol].get(name, math.nan) for line in evaluations]
            valid[f"{protocol} {name}"] = _numbers(values)
    return History(found, valid)


def _whole(lines: list[dict[str, Any]], name: str) -> Column:
    return np.array([line[name] for line in lines], dtype=np.int64)


def _numbers(values: list[float]) -> Column:
    return np.array(values, dtype=np.float64)
