r"""Time-interval aware attention: keys and values know how long ago they were, in units of the user's own pace.

Li, Wang & McAuley, "Time Interval Aware Self-Attention for Sequential Recommendation" (WSDM 2020), section 3. For
query in slot i and key in slot j <= i:

    r_ij   = min(k, floor(|t_i - t_j| / r_min)),   r_min: the user's smallest interval other than 0
    A_ij   = softmax_j(q_i . (k_j + E^K[r_ij] + P^K_j) / sqrt(d))
    output = sum_j A_ij (v_j + E^V[r_ij] + P^V_j)

E are learned vectors for the intervals 0..k and P for the slots, for keys and for values. They have the head's width,
so values must have it too. A V is not the output, because E^V and P^V are added to the values.

r_min is taken over the items up to i. The paper takes it over the user's whole sequence, which would leak the future to
earlier positions. At the last item of a history, where the prediction is made, both are the same as long as the model
sees the whole history. Without any interval other than 0, all r_ij are 0.

Memory is T (T + k) per head: q_i . E^K[r] is computed for every interval r and looked up at r_ij, and A is summed by
interval before the product with E^V. Nothing of the shape [T, T, d] is formed.

Differences from the authors' model: each block has its own E and P (theirs share them), and there is neither dropout
nor weight decay on them. Theirs has no position embedding as well: `position=False`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attnrec.attention.dense import without_padding
from attnrec.attention.operator import AttentionOperator, masked_softmax, register_attention
from attnrec.attention.packing import SequenceContext
from attnrec.attention.times import elapsed, timestamps_for


@register_attention("ti")
class TimeIntervalAttention(AttentionOperator):
    """Causal softmax attention with embeddings of personalised time intervals; the data must have timestamps.

    Args:
        max_interval: k, where intervals are clipped, in units of the user's smallest one.
    """

    paper = "Li, Wang & McAuley, Time Interval Aware Self-Attention (TiSASRec), WSDM 2020"

    weights_give_output = False
    needs_timestamps = True

    def __init__(self, num_heads: int, head_dim: int, max_len: int, dropout: float, *, max_interval: int = 256) -> None:
        super().__init__(num_heads, head_dim, max_len, dropout)
        if max_interval < 1:
            raise ValueError(f"max_interval={max_interval} must be 1 or more")
        self.max_interval = max_interval
        self.interval_keys, self.interval_values = (_table(num_heads, max_interval + 1, head_dim) for _ in range(2))
        self.slot_keys, self.slot_values = (_table(num_heads, max_len, head_dim) for _ in range(2))

    def forward(self, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
        if v.shape[-1] != self.head_dim:
            raise ValueError(f"ti needs values of the head's width {self.head_dim}, not {v.shape[-1]}")
        q, k, v = without_padding(ctx, q, k, v)
        intervals = self._intervals(ctx).expand(-1, self.num_heads, -1, -1)
        weights = F.dropout(self._weights(q, k, ctx, intervals), self.dropout, self.training)
        precise = weights.to(torch.promote_types(weights.dtype, torch.float32))  # many small weights are added up
        by_interval = precise.new_zeros(*weights.shape[:3], self.max_interval + 1).scatter_add(-1, intervals, precise)
        values = v + self.slot_values[:, _slots(ctx)].to(v.dtype)
        return weights.to(v.dtype) @ values + by_interval.to(v.dtype) @ self.interval_values.to(v.dtype)

    def weights(self, q: Tensor, k: Tensor, ctx: SequenceContext) -> Tensor:
        q, k = without_padding(ctx, q, k)
        return self._weights(q, k, ctx, self._intervals(ctx).expand(-1, self.num_heads, -1, -1))

    def _weights(self, q: Tensor, k: Tensor, ctx: SequenceContext, intervals: Tensor) -> Tensor:
        keys = k + self.slot_keys[:, _slots(ctx)].to(k.dtype)
        of_intervals = q @ self.interval_keys.transpose(-1, -2).to(q.dtype)
        scores = q @ keys.transpose(-1, -2) + of_intervals.gather(-1, intervals)
        return masked_softmax(scores * self.head_dim**-0.5, ctx.mask())

    def _intervals(self, ctx: SequenceContext) -> Tensor:
        """r, int64 [B, 1, T, T]; meaningless for pairs that the mask excludes."""
        times = timestamps_for("ti", ctx)
        real = ctx.real()
        gaps = times.diff(dim=1).abs()
        # in order of time, the smallest interval is one between neighbours
        known = F.pad(gaps.masked_fill(~(real[:, :-1] & (gaps > 0)), torch.inf), (1, 0), value=torch.inf)
        smallest = known.cummin(dim=1).values
        return (elapsed(times) / smallest[:, :, None]).clamp(max=self.max_interval).long()[:, None]

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, max_interval={self.max_interval}"


def _slots(ctx: SequenceContext) -> slice:
    return slice(ctx.offset, ctx.offset + ctx.width)


def _table(heads: int, rows: int, dim: int) -> nn.Parameter:
    """Vectors [H, rows, D], initialised like a table [rows, H D] with Glorot's variance, as in the authors' code."""
    return nn.Parameter(torch.randn(heads, rows, dim) * (2 / (rows + heads * dim)) ** 0.5)
