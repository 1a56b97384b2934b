"""What a comparison tells a worker, and what that says: a line of JSON each.

A variant of one's own may print, too; a line that is none of these is passed over.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from attnrec.core.plain import from_plain


@dataclass(frozen=True)
class Task:
    """What a worker is to train.

    Attributes:
        options: of the run by name, as `TrainConfig.to_mapping` gives them.
        trust_code: whether a variant kept in a run that somebody else wrote may be executed.
    """

    options: Mapping[str, Any]
    trust_code: bool


@dataclass(frozen=True)
class Progress:
    """Where a training stands.

    Attributes:
        epoch: in progress, from 1.
        done: share of all its steps, from 0 to 1.
        loss, grad_norm: of the last step.
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
        event: how.
        message: its score, or why it failed; "" for one that was interrupted.
    """

    event: Literal["finished", "interrupted", "failed"]
    message: str = ""


def as_line(message: Task | Progress | Ended) -> str:
    """A line of JSON, without its end."""
    return json.dumps(asdict(message))


def read_task(line: str) -> Task:
    """What `as_line` made of a task."""
    return from_plain(Task, json.loads(line))


def read_message(line: str) -> Progress | Ended | None:
    """What a worker says in a line of its output; None for a line that somebody else printed."""
    try:
        values = json.loads(line)
        is_progress = isinstance(values, dict) and values.get("event") == "progress"
        return from_plain(Progress, values) if is_progress else from_plain(Ended, values)
    except (ValueError, RecursionError):
        return None
