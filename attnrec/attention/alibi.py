r"""Attention with linear biases: scores fall with distance, at a fixed slope per head.

Press, Smith & Lewis, "Train Short, Test Long: Attention with Linear Biases Enables Input Length Extrapolation"
(ICLR 2022, arXiv 2108.12409), section 3. For head h of H, query in slot i and key in slot j <= i:

    A = softmax(causal(Q K^T / sqrt(d) - m_h (i - j))),   output = A V

The slopes are a geometric sequence: m_h = 2^(-8 h / H), h = 1..H, if H is a power of two. Otherwise, as in the authors'
code, they are the slopes for P heads, P being the largest power of two below H, followed by every second slope for 2 P
heads, starting with the first. The bias is neither divided by sqrt(d) nor learned.

A single head has the slope 1/256, which is 0.2 over 50 slots: almost nothing. `scale` multiplies the slopes (1 is the
paper's). The paper's model has no position embedding as well: `position=False`.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from attnrec.attention.dense import without_padding
from attnrec.attention.operator import AttentionOperator, masked_softmax, register_attention
from attnrec.attention.packing import Packing, SequenceContext, mix_at_start, mix_packed_at_start


def alibi_slopes(heads: int) -> list[float]:
    """The paper's slope of each head."""
    power = 1 << (heads.bit_length() - 1)
    slopes = [2 ** (-8 * number / power) for number in range(1, power + 1)]
    if power < heads:
        slopes += alibi_slopes(2 * power)[::2][: heads - power]
    return slopes


@register_attention("alibi")
class AlibiAttention(AttentionOperator):
    """Causal softmax attention whose scores fall linearly with distance.

    Computed by torch's fused attention with one [H, T, T] bias for the whole batch.

    Args:
        scale: multiplies the paper's slopes.
    """

    paper = "Press, Smith & Lewis, Train Short, Test Long, ICLR 2022"

    takes_any_value_width = True

    slopes: Tensor

    def __init__(self, num_heads: int, head_dim: int, max_len: int, dropout: float, *, scale: float = 1.0) -> None:
        super().__init__(num_heads, head_dim, max_len, dropout)
        if not (math.isfinite(scale) and scale > 0):
            raise ValueError(f"scale={scale:g} must be above 0")
        slopes = scale * torch.tensor(alibi_slopes(num_heads), dtype=torch.float64)
        self.register_buffer("slopes", slopes, persistent=False)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
        return mix_at_start(self._biased, without_padding(ctx, q, k, v), ctx)

    def forward_packed(self, q: Tensor, k: Tensor, v: Tensor, packing: Packing) -> Tensor:
        return mix_packed_at_start(self._biased, (q, k, v), packing)

    def weights(self, q: Tensor, k: Tensor, ctx: SequenceContext) -> Tensor:
        q, k = without_padding(ctx, q, k)
        return masked_softmax(q @ k.transpose(-1, -2) * self.head_dim**-0.5 + self._bias(q), ctx.mask())

    def _biased(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        dropout = self.dropout if self.training else 0.0
        return F.scaled_dot_product_attention(q, k, v, attn_mask=self._bias(q), dropout_p=dropout)

    def _bias(self, q: Tensor) -> Tensor:
        """-m_h (i - j), and -inf where the key comes later, [H, T, T]."""
        slots = torch.arange(q.shape[2], device=q.device)
        distance = slots[:, None] - slots
        return (-self.slopes[:, None, None] * distance).masked_fill(distance < 0, -torch.inf).to(q.dtype)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, slopes={[round(slope, 6) for slope in self.slopes.tolist()]}"
