r"""Vanilla causal scaled dot-product attention.

    A = softmax(causal(Q K^T / sqrt(d))),   output = A V

Vaswani et al., "Attention Is All You Need" (NeurIPS 2017), equation 1; as in Kang & McAuley,
"Self-Attentive Sequential Recommendation" (ICDM 2018), section III.B.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from attnrec.attention.operator import AttentionOperator, masked_softmax, register_attention
from attnrec.attention.packing import Packing, SequenceContext, mix_at_start, mix_packed_at_start


@register_attention("sdpa")
class ScaledDotProductAttention(AttentionOperator):
    """Causal softmax attention through torch's fused kernels, with no mask tensor.

    With histories moved to the left end, the causal rule shows a real query only real keys. The padding, now on the
    right, needs no mask, so torch always takes its fused path. (torch's fused kernel on the CPU does not support
    dropout of attention weights; with dropout, torch computes the T x T weights.)
    """

    paper = "Vaswani et al., Attention Is All You Need, NeurIPS 2017; in SASRec, Kang & McAuley, ICDM 2018"

    takes_any_value_width = True

    def forward(self, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
        return mix_at_start(self._causal, (q, k, v), ctx)

    def forward_packed(self, q: Tensor, k: Tensor, v: Tensor, packing: Packing) -> Tensor:
        return mix_packed_at_start(self._causal, (q, k, v), packing)

    def weights(self, q: Tensor, k: Tensor, ctx: SequenceContext) -> Tensor:
        return masked_softmax(q @ k.transpose(-1, -2) * self.head_dim**-0.5, ctx.mask())

    def _causal(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout if self.training else 0.0, is_causal=True)
