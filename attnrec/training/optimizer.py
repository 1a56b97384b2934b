"""The optimiser, and the learning rate of each step."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from attnrec.training.options import TrainingOptions


def build_optimizer(options: TrainingOptions, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Adam or AdamW as ``options`` say, over the parameters that are trained."""
    optimizer = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[options.optimizer]
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    return optimizer(
        trained or [nn.Parameter(torch.empty(0))],  # a model that only counts has no parameters; torch needs one
        options.lr,
        betas=(0.9, options.beta2),
        weight_decay=options.weight_decay,
        fused=True,
    )


def learning_rate(options: TrainingOptions, step: int, steps: int, falls: int) -> float:
    """The learning rate of a step.

    Args:
        options: the options, with the schedule.
        step: number of the step, counted from 0 over the whole training.
        steps: number of steps if the training runs for all its epochs.
        falls: how often the rate was lowered because validation stalled (``schedule='plateau'``).
    """
    rate = options.lr * min(1.0, (step + 1) / max(1, options.warmup))
    if options.schedule == "plateau":
        rate *= options.lr_factor**falls
    if options.schedule == "cosine":
        rate *= 0.5 * (1 + math.cos(math.pi * step / steps))
    return rate
