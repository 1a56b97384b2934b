"""Attention weight refinement in plain torch, the reference for the kernels."""

from __future__ import annotations

import torch
from torch import Tensor

_EPSILON = 1e-12


def awr_attention_reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    w_q: Tensor,
    w_k: Tensor,
    lengths: Tensor | None = None,
    *,
    temperature: Tensor | float = 1.0,
    refinement: str = "value",
    mix: str = "mean",
    normalize: bool = True,
    scale: float | None = None,
    weight_factors: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """The formulas of `awr_attention` with the T x T matrices A and B.

    Args:
        as in `awr_attention`, and
        weight_factors: [B, H, T, T] each, multiplied into A and B, to apply given dropout masks.

    Returns:
        [B, H, T, E], zeros at padding.
    """
    width, rank = q.shape[2], w_q.shape[-1]
    columns = torch.arange(width, device=q.device)
    real = columns >= (0 if lengths is None else width - lengths[:, None, None, None])
    real = real.expand(len(q), 1, 1, width)
    allowed = (columns <= columns[:, None]) & real & real.transpose(2, 3)

    def weights(scores: Tensor, place: int) -> Tensor:
        scores = scores.masked_fill(~allowed, torch.finfo(scores.dtype).min)
        found = scores.softmax(-1).masked_fill(~allowed, 0.0)
        return found if weight_factors is None else found * weight_factors[place]

    first = weights(q @ k.transpose(-1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale), 0)
    a_q, a_k = first @ w_q[:, w_q.shape[1] - width :], first @ w_k[:, w_k.shape[1] - width :]
    if normalize:
        a_q, a_k = (x * (x.square().mean(-1, keepdim=True) + _EPSILON).rsqrt() for x in (a_q, a_k))
    tau = torch.as_tensor(temperature, dtype=q.dtype, device=q.device).expand(q.shape[1])
    second = weights(a_q @ a_k.transpose(-1, -2) * (tau * rank**-0.5)[:, None, None], 1)
    if refinement == "simple":
        return second @ v
    if refinement == "value":
        return second @ (first @ v)
    total = first @ v + second @ v
    return total if mix == "sum" else total / 2
