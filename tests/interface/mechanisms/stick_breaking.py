"""Stick-breaking attention: Tan et al., "Scaling Stick-Breaking Attention" (ICLR 2025), equation 1."""

import torch.nn.functional as F

from attnrec.attention import AttentionOperator


class StickBreaking(AttentionOperator):
    """A_ij = beta_ij prod of (1 - beta_ik) over k between j and i; beta = sigmoid(q k / sqrt(d)), j < i."""

    weights_sum_to_one = False
    takes_any_value_width = True
    paper = "Tan et al., Scaling Stick-Breaking Attention, ICLR 2025"

    def weights(self, q, k, ctx):
        scores = q @ k.transpose(-1, -2) * self.head_dim**-0.5
        earlier = ctx.mask().tril(-1)
        left = F.logsigmoid(-scores).masked_fill(~earlier, 0.0)  # log of what a key leaves of the stick
        after = left.flip(-1).cumsum(-1).flip(-1) - left  # by the keys nearer to the query
        return (F.logsigmoid(scores) + after).masked_fill(~earlier, float("-inf")).exp()

    def forward(self, q, k, v, ctx):
        q, k, v = (x.masked_fill(~ctx.real()[:, None, :, None], 0.0) for x in (q, k, v))
        return F.dropout(self.weights(q, k, ctx), self.dropout, self.training).to(v.dtype) @ v
