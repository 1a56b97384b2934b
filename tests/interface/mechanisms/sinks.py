"""Attention with a learned sink: Xiao et al., "Efficient Streaming Language Models with Attention Sinks" (ICLR 2024).

A key without a value adds exp(s) to each row's sum, with s learned per head, so a row may attend to nothing.
"""

import torch
import torch.nn.functional as F
from torch import nn

from attnrec.attention import AttentionOperator, masked_softmax


class Sinks(AttentionOperator):
    """softmax over the keys and the sink, whose weight is dropped."""

    weights_sum_to_one = False
    takes_any_value_width = True
    paper = "Xiao et al., Efficient Streaming Language Models with Attention Sinks, ICLR 2024"

    def __init__(self, num_heads, head_dim, max_len, dropout):
        super().__init__(num_heads, head_dim, max_len, dropout)
        self.sink = nn.Parameter(torch.zeros(num_heads))

    def weights(self, q, k, ctx):
        scores = q @ k.transpose(-1, -2) * self.head_dim**-0.5
        sink = self.sink.to(q.dtype)[:, None, None].expand(*scores.shape[:3], 1)
        mask = F.pad(ctx.mask(), (0, 1), value=True)
        return masked_softmax(torch.cat([scores, sink], -1), mask)[..., :-1].masked_fill(~ctx.mask(), 0.0)

    def forward(self, q, k, v, ctx):
        q, k, v = (x.masked_fill(~ctx.real()[:, None, :, None], 0.0) for x in (q, k, v))
        return F.dropout(self.weights(q, k, ctx), self.dropout, self.training).to(v.dtype) @ v
