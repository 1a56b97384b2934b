r"""Talking-heads attention: heads mixed before and after the softmax.

Shazeer, Lan, Cheng, Ding & Hou, "Talking-Heads Attention" (arXiv 2003.02436). With J_g = Q_g K_g^T / sqrt(d), the
scores of head g, and learned H x H matrices P (for scores) and R (for weights):

    W_h = softmax(causal(sum_g J_g P_gh)),   A_h = sum_g W_g R_gh,   output_h = A_h V_h

P and R start as the identity, so the operator starts as `sdpa`; the paper's three numbers of heads are the same here.
Rows of A_h sum to sum_g R_gh, which is one only at the start. Dropout of attention weights acts on A.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from attnrec.attention.dense import DenseAttention
from attnrec.attention.operator import masked_softmax, register_attention
from attnrec.attention.packing import SequenceContext


@register_attention("talking-heads")
class TalkingHeadsAttention(DenseAttention):
    """Causal softmax attention whose heads are mixed, before the softmax and after it, by learned matrices."""

    paper = "Shazeer et al., Talking-Heads Attention, 2020 (arXiv 2003.02436)"

    weights_sum_to_one = False

    def __init__(self, num_heads: int, head_dim: int, max_len: int, dropout: float) -> None:
        super().__init__(num_heads, head_dim, max_len, dropout)
        self.mix_scores = nn.Parameter(torch.eye(num_heads))
        self.mix_weights = nn.Parameter(torch.eye(num_heads))

    def causal_weights(self, q: Tensor, k: Tensor, ctx: SequenceContext) -> Tensor:
        scores = _mixed(q @ k.transpose(-1, -2) * self.head_dim**-0.5, self.mix_scores)
        return _mixed(masked_softmax(scores, ctx.mask()), self.mix_weights)


def _mixed(x: Tensor, mix: Tensor) -> Tensor:
    """sum_g x_g mix_gh over the heads of x [B, H, T, T]."""
    return torch.einsum("bgij,gh->bhij", x, mix.to(x.dtype))
