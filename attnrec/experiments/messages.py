"""The messages between a comparison and its workers, one line of JSON each.

A user's variant may print as well; lines that are not messages are skipped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from attnrec.core.plain import from_plain


@dataclass(frozen=True)
class Task:
    """What a worker should train.

    Attributes:
        options: the run's options by name, as `TrainConfig.to_mapping` returns them.
        trust_code: whether code of a variant may be executed that is stored in a run that somebody else wrote.
    """

    options: Mapping[str, Any]
    trust_code: bool


@dataclass(frozen=True)
class Progress:
    """The progress of a training.

    Attributes:
        epoch: the current epoch, from 1.
        done: share of all steps that are done, from 0 to 1.
        loss, grad_norm: values of the last step.
        best: best validation score so far, from 0 to 1; 0 before the first evaluation.
    """

    epoch: int
    done: float
    loss: float
    grad_norm: float
    best: float
    event: Literal["progress"] = "progress"


@dataclass(frozen=True)
class Ended:
    """How a training ended.

    Attributes:
        event: how it ended.
        message: the score, or why it failed; "" if it was interrupted.
    """

    event: Literal["finished", "interrupted", "failed"]
    message: str = ""


def as_line(message: Task | Progress | Ended) -> str:
    """A line of JSON, without a newline."""
    return json.dumps(asdict(message))


def read_task(line: str) -> Task:
    """Read a task that `as_line` wrote."""
    return from_plain(Task, json.loads(line))


def read_message(line: str) -> Progress | Ended | None:
    """The message in a line of a worker's output; None if the line is something else."""
    try:
        values = json.loads(line)
        is_progress = isinstance(values, dict) and values.get("event") == "progress"
        return from_plain(Progress, values) if is_progress else from_plain(Ended, values)
    except (ValueError, RecursionError):
        return None
