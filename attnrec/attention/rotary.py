r"""Rotary position embedding: queries and keys turned by their slot, so that scores depend on distance.

Su, Lu, Pan, Murtadha, Wen & Liu, "RoFormer: Enhanced Transformer with Rotary Position Embedding" (arXiv 2104.09864),
equations 14 and 15. R_s turns each pair of adjacent coordinates (2i - 1, 2i) of a head by the angle s theta_i,
theta_i = base^(-2 (i - 1) / d), i = 1..d/2:

    A = softmax(causal((R_s q_s) . (R_t k_t) / sqrt(d))),   output = A V

As R_s^T R_t = R_(t - s), positions enter a score only through the distance of the slots.

The paper has even d. If a head's width is odd, its last coordinate is not rotated, in queries and keys; a width of 1
has no pair and is rejected. The paper's model has no position embedding as well: `position=False`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from attnrec.attention.dense import without_padding
from attnrec.attention.operator import register_attention
from attnrec.attention.packing import Packing, SequenceContext
from attnrec.attention.sdpa import ScaledDotProductAttention


@register_attention("rotary")
class RotaryAttention(ScaledDotProductAttention):
    """Causal softmax attention of queries and keys rotated by their slot.

    Angles, sines and cosines are computed in float64, the rotation in float32 or wider.

    Args:
        base: base of the frequencies; the larger it is, the slower the last pairs turn.
    """

    paper = "Su et al., RoFormer, 2021 (arXiv 2104.09864)"

    cos: Tensor
    sin: Tensor

    def __init__(self, num_heads: int, head_dim: int, max_len: int, dropout: float, *, base: float = 10000.0) -> None:
        super().__init__(num_heads, head_dim, max_len, dropout)
        if not (math.isfinite(base) and base > 1):
            raise ValueError(f"base={base:g} must be above 1")
        if head_dim < 2:
            raise ValueError(
                "a head of width 1 has no pair of coordinates to rotate; use a larger `dim` or fewer `heads`"
            )
        self.base = base
        frequencies = base ** (-2 * torch.arange(head_dim // 2, dtype=torch.float64) / head_dim)
        angles = torch.arange(max_len, dtype=torch.float64)[:, None] * frequencies
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
        q, k, v = without_padding(ctx, q, k, v)
        return super().forward(self._rotated(q, ctx), self._rotated(k, ctx), v, ctx)

    def forward_packed(self, q: Tensor, k: Tensor, v: Tensor, packing: Packing) -> Tensor:
        kind = torch.promote_types(q.dtype, torch.float32)
        cos, sin = (table.to(kind).index_select(0, packing.slots)[:, None] for table in (self.cos, self.sin))
        return super().forward_packed(_turned(q, cos, sin), _turned(k, cos, sin), v, packing)

    def weights(self, q: Tensor, k: Tensor, ctx: SequenceContext) -> Tensor:
        q, k = without_padding(ctx, q, k)
        return super().weights(self._rotated(q, ctx), self._rotated(k, ctx), ctx)

    def _rotated(self, x: Tensor, ctx: SequenceContext) -> Tensor:
        slots = slice(ctx.offset, ctx.offset + ctx.width)
        return _turned(x, self.cos[slots], self.sin[slots])

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, base={self.base:g}"


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Pairs of adjacent coordinates of x [..., D], turned by angles [..., D // 2]; an odd last one stays as it is."""
    precise = x.to(torch.promote_types(x.dtype, torch.float32))
    cos, sin = cos.to(precise.dtype), sin.to(precise.dtype)
    paired = 2 * cos.shape[-1]
    first, second = precise[..., :paired].unflatten(-1, (-1, 2)).unbind(-1)
    turned = torch.stack([first * cos - second * sin, first * sin + second * cos], -1).flatten(-2)
    if paired < x.shape[-1]:
        turned = torch.cat([turned, precise[..., paired:]], -1)
    return turned.to(x.dtype)
