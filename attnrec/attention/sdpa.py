r"""Vanilla causal scaled dot-product attention.

    A = softmax(causal(Q K^T / sqrt(d))),   output = A V

Vaswani et al., "Attention Is All You Need" (NeurIPS 2017), equation 1; as in Kang & McAuley,
"Self-Attentive Sequential Recommendation" (ICDM 2018), section III.B.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from attnrec.attention.operator import AttentionOperator, register_attention
from attnrec.attention.packing import Packing, SequenceContext, pack, pad


@register_attention("sdpa")
class ScaledDotProductAttention(AttentionOperator):
    """Causal softmax attention through torch's fused kernels, with no mask tensor.

    With its histories moved to the left end, a real query sees real keys alone under the causal rule, so
    the padding, then on the right, needs no mask and the fused path is never left. (torch's fused kernel
    on the CPU does not support dropout of attention weights; with it, torch computes the T x T weights.)
    """

    def forward(self, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
        columns = torch.arange(ctx.width, device=q.device)
        padding = (ctx.width - ctx.lengths)[:, None]
        to_start = (columns + padding) % ctx.width
        to_end = (columns - padding) % ctx.width
        mixed = self._causal(*(_rotate(x, to_start) for x in (q, k, v)))
        return _rotate(mixed, to_end).masked_fill(~ctx.real()[:, None, :, None], 0.0)

    def forward_packed(self, q: Tensor, k: Tensor, v: Tensor, packing: Packing) -> Tensor:
        mixed = []
        for group in packing.groups:
            padded = [pad(x[group.rows], group, start=True) for x in (q, k, v)]
            mixed.append(pack(self._causal(*padded), group, start=True))
        return mixed[0] if len(mixed) == 1 else torch.cat(mixed)

    def weights(self, q: Tensor, k: Tensor, ctx: SequenceContext) -> Tensor:
        scores = q @ k.transpose(-1, -2) * self.head_dim**-0.5
        mask = ctx.mask()
        # a finite sentinel: a row without a real item would give NaN with -inf
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
        return scores.softmax(dim=-1).masked_fill(~mask, 0.0)

    def _causal(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout if self.training else 0.0, is_causal=True)


def _rotate(x: Tensor, index: Tensor) -> Tensor:
    """Permute the slots of ``x`` [B, H, T, D] row by row; ``index`` is int64 [B, T]."""
    return x.gather(2, index[:, None, :, None].expand_as(x))
