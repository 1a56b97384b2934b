r"""Differential attention: the difference of two softmax maps, so that what both attend to cancels.

Ye, Dong, Xia, Sun, Zhu, Huang & Wei, "Differential Transformer" (ICLR 2025, arXiv 2410.05258), equations 1 to 3. The
queries and keys of a head are split into halves, of width d/2 each:

    A      = softmax(causal(Q_1 K_1^T / sqrt(d/2))) - lambda softmax(causal(Q_2 K_2^T / sqrt(d/2)))
    lambda = exp(lambda_q1 . lambda_k1) - exp(lambda_q2 . lambda_k2) + lambda_init
    output = (1 - lambda_init) RMSNorm(A V)

The four vectors of width d/2 are learned and shared by the heads of a block. RMSNorm (Zhang & Sennrich, NeurIPS 2019)
acts on each head separately; its gain, of width d, is shared by the heads as in the authors' code. So rows of A sum to
1 - lambda rather than to one, and A V is not yet the output.

The paper has lambda_init = 0.8 - 0.6 exp(-0.3 (l - 1)) in layer l. An operator does not know its layer, so the default
is the value of layer 1, 0.2; layers 2 and 3 would have 0.356 and 0.471. To set it for each block:
`attention='differential+differential:lambda_init=0.356'`.

Dropout of attention weights acts on each of the two softmax maps. The paper also rotates queries and keys by their
slots; here, positions come from the trunk.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attnrec.attention.dense import without_padding
from attnrec.attention.operator import AttentionOperator, masked_softmax, register_attention
from attnrec.attention.packing import Packing, SequenceContext, mix_at_start, mix_packed_at_start

_EPSILON = 1e-5  # under the root of the root mean square, as in the authors' code


@register_attention("differential")
class DifferentialAttention(AttentionOperator):
    """Difference of two causal softmax maps, each of half the width, then a norm on each head.

    Two passes of torch's fused attention; values must have the head's width.

    Args:
        lambda_init: initial value of lambda, at least 0 and below 1.
    """

    paper = "Ye et al., Differential Transformer, ICLR 2025"

    weights_sum_to_one = False
    weights_give_output = False

    def __init__(
        self, num_heads: int, head_dim: int, max_len: int, dropout: float, *, lambda_init: float = 0.2
    ) -> None:
        super().__init__(num_heads, head_dim, max_len, dropout)
        if not 0 <= lambda_init < 1:
            raise ValueError(f"lambda_init={lambda_init:g} must be at least 0 and below 1")
        if head_dim % 2:
            raise ValueError(
                f"a head of width {head_dim} cannot be halved; choose `dim` and `heads` so that their quotient is even"
            )
        self.lambda_init = lambda_init
        self.lambda_q1, self.lambda_k1, self.lambda_q2, self.lambda_k2 = (
            nn.Parameter(0.1 * torch.randn(head_dim // 2)) for _ in range(4)
        )
        self.gain = nn.Parameter(torch.ones(head_dim))

    def forward(self, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
        self._check_width(v)
        return mix_at_start(self._difference, without_padding(ctx, q, k, v), ctx)

    def forward_packed(self, q: Tensor, k: Tensor, v: Tensor, packing: Packing) -> Tensor:
        self._check_width(v)
        return mix_packed_at_start(self._difference, (q, k, v), packing)

    def named_weights(self, q: Tensor, k: Tensor, ctx: SequenceContext) -> dict[str, Tensor]:
        """The ``first`` and the ``second`` softmax map and their ``difference`` A, [B, H, T, T] each."""
        halves = zip(*(x.chunk(2, dim=-1) for x in without_padding(ctx, q, k)), strict=True)
        scale = (self.head_dim // 2) ** -0.5
        first, second = (masked_softmax(a @ b.transpose(-1, -2) * scale, ctx.mask()) for a, b in halves)
        return {"first": first, "second": second, "difference": first - self._lambda().to(q.dtype) * second}

    def weights(self, q: Tensor, k: Tensor, ctx: SequenceContext) -> Tensor:
        return self.named_weights(q, k, ctx)["difference"]

    def _lambda(self) -> Tensor:
        first, second = (self.lambda_q1 * self.lambda_k1).sum(), (self.lambda_q2 * self.lambda_k2).sum()
        return first.exp() - second.exp() + self.lambda_init

    def _difference(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        dropout = self.dropout if self.training else 0.0
        half = self.head_dim // 2
        maps = []
        for queries, keys in zip(q.chunk(2, dim=-1), k.chunk(2, dim=-1), strict=True):
            # torch's fused kernel on the CPU needs queries as wide as values; zeros change no product
            queries, keys = F.pad(queries, (0, half)), F.pad(keys, (0, half))
            maps.append(
                F.scaled_dot_product_attention(queries, keys, v, dropout_p=dropout, is_causal=True, scale=half**-0.5)
            )
        mixed = maps[0] - self._lambda().to(v.dtype) * maps[1]
        precise = mixed.to(torch.promote_types(v.dtype, torch.float32))
        normed = precise * (precise.square().mean(-1, keepdim=True) + _EPSILON).rsqrt()
        return (normed * (1 - self.lambda_init) * self.gain).to(v.dtype)

    def _check_width(self, v: Tensor) -> None:
        if v.shape[-1] != self.head_dim:
            raise ValueError(
                f"differential attention needs values of the head's width {self.head_dim}, not {v.shape[-1]}"
            )

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, lambda_init={self.lambda_init}"
