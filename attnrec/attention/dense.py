"""Shared by the variants that form their T x T weights: padding set to zero, dropout, the product with the values."""

from __future__ import annotations

from abc import abstractmethod

import torch.nn.functional as F
from torch import Tensor

from attnrec.attention.operator import AttentionOperator
from attnrec.attention.packing import SequenceContext


class DenseAttention(AttentionOperator):
    """output = Drop(A) V, where the whole of A is formed; a variant defines `causal_weights`."""

    takes_any_value_width = True

    @abstractmethod
    def causal_weights(self, q: Tensor, k: Tensor, ctx: SequenceContext) -> Tensor:
        """A [B, H, T, T] for q and k [B, H, T, D] that are zero at padding; zero outside ``ctx.mask()``."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
        q, k, v = without_padding(ctx, q, k, v)
        weights = F.dropout(self.causal_weights(q, k, ctx), self.dropout, self.training)
        return weights.to(v.dtype) @ v

    def weights(self, q: Tensor, k: Tensor, ctx: SequenceContext) -> Tensor:
        q, k = without_padding(ctx, q, k)
        return self.causal_weights(q, k, ctx)


def without_padding(ctx: SequenceContext, *tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors [B, H, T, *] with padding set to zero, even where it was NaN."""
    padding = ~ctx.real()[:, None, :, None]
    return tuple(x.masked_fill(padding, 0.0) for x in tensors)
