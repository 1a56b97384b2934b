r"""An attention variant of one's own: softmax attention whose scores have a learned sharpness for each head.

    A = softmax(causal(s Q K^T / sqrt(d))),   output = A V          s > 0, learned, 1 at the start

Change the mathematics, then:

    NEXT_STEPS
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attnrec.attention import AttentionOperator, SequenceContext, masked_softmax


class StarterAttention(AttentionOperator):
    """Softmax attention with a learned sharpness.

    Args:
        sharpness: initial s, above 0.
    """

    paper = ""  # whose idea it is, in a line; `attnrec variants` shows it

    # The trunk gives the first four arguments. Those after * are the variant's options on the command line: each
    # needs a type and a default.
    def __init__(self, num_heads: int, head_dim: int, max_len: int, dropout: float, *, sharpness: float = 1.0) -> None:
        super().__init__(num_heads, head_dim, max_len, dropout)
        if not sharpness > 0:
            raise ValueError(f"sharpness={sharpness:g} must be above 0")
        # every parameter must get a gradient; one with a row for each of the max_len slots would be cut to the batch by
        # self.table[ctx.offset : ctx.offset + ctx.width], because padding on the left is trimmed
        self.log_sharpness = nn.Parameter(torch.full((num_heads, 1, 1), math.log(sharpness)))

    def weights(self, q: Tensor, k: Tensor, ctx: SequenceContext) -> Tensor:
        """[B, H, T, T] for q, k [B, H, T, D], without dropout; for plots, and for `forward` below."""
        # histories stand at the right end of the T slots; ctx.lengths says how many slots are real, and ctx.mask() is
        # True [B, 1, T, T] where a query (row) may see a key (column): not later, and real on both sides
        scores = q @ k.transpose(-1, -2) * self.head_dim**-0.5
        return masked_softmax(scores * self.log_sharpness.exp().to(q.dtype), ctx.mask())

    def forward(self, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
        """The mixed values [B, H, T, Dv] of v [B, H, T, Dv], zero at padding."""
        weights = F.dropout(self.weights(q, k, ctx), self.dropout, self.training)
        return weights.to(v.dtype) @ v
