"""CoPE: Golovneva et al., "Contextual Position Encoding" (arXiv 2405.18719, 2024)."""

import torch
import torch.nn.functional as F
from torch import nn

from attnrec.attention import AttentionOperator, masked_softmax


class Cope(AttentionOperator):
    """A key's position is the sum of the gates sigmoid(q k) from it to the query; its vector is interpolated."""

    replaces_position = True
    takes_any_value_width = True
    paper = "Golovneva et al., Contextual Position Encoding, arXiv 2405.18719"

    def __init__(self, num_heads, head_dim, max_len, dropout):
        super().__init__(num_heads, head_dim, max_len, dropout)
        self.positions = nn.Parameter(0.02 * torch.randn(num_heads, max_len + 1, head_dim))

    def weights(self, q, k, ctx):
        scores = q @ k.transpose(-1, -2)
        gates = scores.sigmoid().masked_fill(~ctx.mask(), 0.0)
        place = gates.flip(-1).cumsum(-1).flip(-1)  # in 0..T
        below = place.detach().floor().clamp(max=self.max_len - 1).long()
        of_place = q @ self.positions.to(q.dtype).transpose(-1, -2)  # [B, H, T, max_len + 1]
        low, high = of_place.gather(-1, below), of_place.gather(-1, below + 1)
        bias = low + (place - below) * (high - low)
        return masked_softmax((scores + bias) * self.head_dim**-0.5, ctx.mask())

    def forward(self, q, k, v, ctx):
        q, k, v = (x.masked_fill(~ctx.real()[:, None, :, None], 0.0) for x in (q, k, v))
        return F.dropout(self.weights(q, k, ctx), self.dropout, self.training).to(v.dtype) @ v
