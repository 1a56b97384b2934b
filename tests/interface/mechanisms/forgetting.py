"""Forgetting attention: Lin et al., "Forgetting Transformer" (ICLR 2025), equation 4, with f_t = sigmoid(w x_t + b)."""

import torch
import torch.nn.functional as F
from torch import nn

from attnrec.attention import AttentionOperator, masked_softmax


class Forgetting(AttentionOperator):
    """softmax(q k / sqrt(d) + sum of log f over the items after the key, up to the query); f from the layer's input."""

    needs_inputs = True
    takes_any_value_width = True
    paper = "Lin et al., Forgetting Transformer, ICLR 2025"

    def __init__(self, num_heads, head_dim, max_len, dropout):
        super().__init__(num_heads, head_dim, max_len, dropout)
        self.gate = nn.Linear(num_heads * head_dim, num_heads)

    def weights(self, q, k, ctx):
        inputs = ctx.inputs.masked_fill(~ctx.real()[..., None], 0.0)
        kept = F.logsigmoid(self.gate(inputs)).transpose(1, 2).cumsum(-1)  # [B, H, T]
        scores = q @ k.transpose(-1, -2) * self.head_dim**-0.5
        return masked_softmax(scores + kept[..., None] - kept[..., None, :], ctx.mask())

    def forward(self, q, k, v, ctx):
        real = ctx.real()[:, None, :, None]
        q, k, v = (x.masked_fill(~real, 0.0) for x in (q, k, v))
        weights = F.dropout(self.weights(q, k, ctx), self.dropout, self.training)
        return torch.matmul(weights.to(v.dtype), v)
