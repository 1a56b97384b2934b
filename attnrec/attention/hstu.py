r"""HSTU's pointwise attention: SiLU instead of softmax, with a relative bias.

Zhai et al., "Actions Speak Louder than Words: Trillion-Parameter Sequential Transducers for Generative Recommendations"
(ICML 2024, arXiv 2402.17152), equation 2. For query in slot i and key in slot j <= i:

    A = causal(SiLU(Q K^T + b)) / n,   b_ij = p_(i - j) + w_bucket(t_i - t_j),   output = A V

without a softmax, so a row's sum still shows how much there is to attend to, and without 1/sqrt(d). p has one entry per
distance in slots; w, with `time=true`, one per bucket of elapsed time:

    bucket(x) = min(floor(ln(max(|x|, 1)) / 0.301), buckets)      x in the data's unit, usually seconds

Both are learned and shared by the heads. As in the released code, n is the number of slots of the model (`max_len`),
not of the history or the batch, so trimming changes nothing.

There are two differences from the released code. It takes the elapsed time from key j to item i + 1, which it knows in
training; we take the time to item i, because the time of the item to be predicted is not known. And its table p has
entries for later keys, which are never used.

This is only the aggregation of HSTU's block. The rest of that block is left out: SiLU on the projections, the norm of
A V, and the gate U, which replaces SASRec's feed-forward network.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attnrec.attention.dense import DenseAttention
from attnrec.attention.operator import register_attention
from attnrec.attention.packing import SequenceContext
from attnrec.attention.times import elapsed, timestamps_for

_LOG_WIDTH = 0.301  # log-width of a bucket, as in the released code


@register_attention("hstu")
class PointwiseAttention(DenseAttention):
    """SiLU of scores with a relative bias, causal, divided by the number of slots; no softmax.

    Args:
        time: add the bias by elapsed time; the data must have timestamps.
        buckets: number of buckets of elapsed time, not counting the first.
    """

    paper = "Zhai et al., Actions Speak Louder than Words, ICML 2024"

    weights_sum_to_one = False

    def __init__(
        self, num_heads: int, head_dim: int, max_len: int, dropout: float, *, time: bool = False, buckets: int = 128
    ) -> None:
        super().__init__(num_heads, head_dim, max_len, dropout)
        if buckets < 1:
            raise ValueError(f"buckets={buckets} must be 1 or more")
        self.needs_timestamps = time
        self.buckets = buckets
        self.position_bias = nn.Parameter(0.02 * torch.randn(max_len))
        self.time_bias = nn.Parameter(0.02 * torch.randn(buckets + 1)) if time else None

    def causal_weights(self, q: Tensor, k: Tensor, ctx: SequenceContext) -> Tensor:
        slots = torch.arange(ctx.width, device=q.device)
        distance = (slots[:, None] - slots).clamp(min=0)
        scores = q @ k.transpose(-1, -2) + self.position_bias[distance].to(q.dtype)
        if self.time_bias is not None:
            chosen = self.time_bias.index_select(0, self._buckets(ctx).flatten())
            scores = scores + chosen.view(-1, 1, ctx.width, ctx.width).to(q.dtype)
        return (F.silu(scores) / self.max_len).masked_fill(~ctx.mask(), 0.0)

    def _buckets(self, ctx: SequenceContext) -> Tensor:
        """int64 [B, T, T]."""
        passed = elapsed(timestamps_for("hstu:time=true", ctx))
        return (passed.clamp(min=1).log() / _LOG_WIDTH).clamp(max=self.buckets).long()

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, time={self.time_bias is not None}"
