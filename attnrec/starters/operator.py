r"""Your own attention variant: softmax attention with a learned sharpness of the scores for each head.

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

    paper = ""  # the paper that the idea comes from, in one line; `attnrec variants` shows it

    # The trunk passes the first four arguments. Arguments after * are the variant's options on the command line: each
    # needs a type and a default.
    def __init__(self, num_heads: int, head_dim: int, max_len: int, dropout: float, *, sharpness: float = 1.0) -> None:
        super().__init__(num_heads, head_dim, max_len, dropout)
        if not sharpness > 0:
            raise ValueError(f"sharpness={sharpness:g} must be above 0")
        # every parameter must get a gradient. Batches are trimmed on the left: if a parameter has a row for each of the
        # max_len slots, take the rows of the batch by self.table[ctx.offset : ctx.offset + ctx.width]
        self.log_sharpness = nn.Parameter(torch.full((num_heads, 1, 1), math.log(sharpness)))

    def weights(self, q: Tensor, k: Tensor, ctx: SequenceContext) -> Tensor:
        """[B, H, T, T] for q, k [B, H, T, D], without dropout; for plots, and for `forward` below."""
        # histories are at the right end of the T slots; ctx.lengths says how many slots are real; ctx.mask() is True
        # [B, 1, T, T] where a query (row) may see a key (column): one that is not later, and both are real
        scores = q @ k.transpose(-1, -2) * self.head_dim**-0.5
        return masked_softmax(scores * self.log_sharpness.exp().to(q.dtype), ctx.mask())

    def forward(self, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
        """The mixed values [B, H, T, Dv], for v [B, H, T, Dv]; zero at padding."""
        weights = F.dropout(self.weights(q, k, ctx), self.dropout, self.training)
        return weights.to(v.dtype) @ v
