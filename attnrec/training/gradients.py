"""The global gradient norm of every step, and its summary over a run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypedDict

import torch
from torch import Tensor, nn

_SMALL = 1 << 17


def global_gradient_norm(parameters: Iterable[nn.Parameter], clip: float = 0.0) -> Tensor:
    """Euclidean norm of all gradients together, before clipping them to ``clip`` (0: no clipping); a scalar."""
    present = [parameter for parameter in parameters if parameter.grad is not None]
    flat = [parameter.grad.reshape(-1) for parameter in present if parameter.grad is not None]
    # join the many small gradients: a call for each would take longer than the arithmetic
    small = torch.cat([gradient for gradient in flat if len(gradient) < _SMALL] or [flat[0][:0]])
    vectors = [small, *(gradient for gradient in flat if len(gradient) >= _SMALL)]
    norm = torch.stack([torch.dot(vector, vector) for vector in vectors]).sum().sqrt()
    if clip > 0:
        torch.nn.utils.clip_grads_with_norm_(present, clip, norm)
    return norm


class GradientSummary(TypedDict):
    """The global gradient norm before clipping, over steps; ``last`` is that of the last step."""

    mean: float
    max: float
    last: float


@dataclass
class GradientNormStatistics:
    """Mean, largest and last norm over the steps of a run, computed as they come."""

    steps: int = 0
    total: float = 0.0
    max: float = 0.0
    last: float = 0.0

    def add(self, norm: float) -> None:
        self.steps += 1
        self.total += norm
        self.max = max(self.max, norm)
        self.last = norm

    def summary(self) -> GradientSummary:
        return {"mean": self.total / max(1, self.steps), "max": self.max, "last": self.last}
