"""Observers of a training, and the progress that they see."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attnrec.training.loop import Trainer

Metrics = dict[str, dict[str, float]]


@dataclass
class Progress:
    """How far a training has got.

    Attributes:
        epoch: the epoch in progress, counted from 1.
        step: steps done in this epoch.
        loss: loss of the last step that was read.
        grad_norm: gradient norm of the last step that was read.
        positions_per_second: speed in the current epoch.
        seconds_per_epoch: seconds of each complete epoch of this session, without evaluations.
        training_seconds: seconds of all steps so far, including sessions before a resume, without evaluations.
        best_epoch: 0 before the first evaluation.
        best_score: validation NDCG@10 at the best epoch.
        waited: evaluations since the best one.
        falls: how often the learning rate was lowered because validation stalled.
        skipped: steps skipped because their loss or gradient was not finite.
    """

    epoch: int = 1
    step: int = 0
    loss: float = math.nan
    grad_norm: float = math.nan
    positions_per_second: float = 0.0
    seconds_per_epoch: list[float] = field(default_factory=list)
    training_seconds: float = 0.0
    best_epoch: int = 0
    best_score: float = -1.0
    waited: int = 0
    falls: int = 0
    skipped: int = 0


class Observer:
    """Called during a training. Override any of the methods; by default they do nothing."""

    def started(self, trainer: Trainer) -> None: ...

    def stepped(self, trainer: Trainer) -> None: ...

    def evaluated(self, trainer: Trainer, metrics: Metrics) -> None: ...

    def testing(self, trainer: Trainer, interrupted: bool) -> None: ...
