"""What an observer of a training is told: where it stands, and what its evaluations gave."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attnrec.training.loop import Trainer

Metrics = dict[str, dict[str, float]]


@dataclass
class Progress:
    """Where a training stands; what an observer is shown.

    Attributes:
        epoch: the epoch in progress, from 1.
        step: steps done in it.
        loss: of the last step read.
        grad_norm: of the last step read.
        positions_per_second: of the current epoch.
        seconds_per_epoch: of the epochs done in this session (training alone).
        training_seconds: of all steps so far, sessions before a resume included; evaluations are not.
        best_epoch: 0 before the first evaluation.
        best_score: validation NDCG@10 at the best epoch.
        waited: evaluations since then.
        falls: how often a stalled validation has lowered the learning rate.
        skipped: steps left out because their loss or gradient was not finite.
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
    """Is told what happens during a training; every method may be overridden, none has to be."""

    def started(self, trainer: Trainer) -> None: ...

    def stepped(self, trainer: Trainer) -> None: ...

    def evaluated(self, trainer: Trainer, metrics: Metrics) -> None: ...

    def testing(self, trainer: Trainer, interrupted: bool) -> None: ...
