"""Causal attention in plain torch, the reference for the kernels."""

from __future__ import annotations

import torch
from torch import Tensor


def causal_attention_reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    lengths: Tensor | None = None,
    *,
    scale: float | None = None,
    weight_factors: Tensor | None = None,
) -> Tensor:
    """softmax(causal(scale q k^T)) v over left-padded sequences, with the T x T matrix of weights.

    Args:
        q, k: [B, H, T, D].
        v: [B, H, T, E].
        lengths: int [B], real items of each sequence at the right end; None for T everywhere.
        scale: scale of the scores, D**-0.5 by default.
        weight_factors: [B, H, T, T], multiplied into the weights, to apply a given dropout mask.

    Returns:
        [B, H, T, E], zeros at padding.
    """
    width = q.shape[2]
    columns = torch.arange(width, device=q.device)
    real = columns >= (0 if lengths is None else width - lengths[:, None, None, None])
    real = real.expand(len(q), 1, 1, width)
    allowed = (columns <= columns[:, None]) & real & real.transpose(2, 3)
    scores = q @ k.transpose(-1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)
    scores = scores.masked_fill(~allowed, torch.finfo(scores.dtype).min)
    weights = scores.softmax(-1).masked_fill(~allowed, 0.0)
    if weight_factors is not None:
        weights = weights * weight_factors
    return weights @ v
