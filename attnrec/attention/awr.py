r"""Attention weight refinement: attention over attention weights.

The idea is that of Liu, Liu & Liu, "Pay Attention to Attention for Sequential Recommendation" (RecSys 2024,
arXiv 2410.21048): attention weights are moved into a correlation space by learned matrices, and weights of a
higher order are computed there. We did not have the paper's printed equations: the formulas below are our
formulation of its description, and every choice in them is a named option.

For each head, with n slots and refinement width m:

    A   = softmax(causal(Q K^T / sqrt(d)))              first-order weights
    Q_A = norm(A W_q),  K_A = norm(A W_k)               W_q, W_k in R^{n x m}, learned, one row per slot
    B   = softmax(causal(tau Q_A K_A^T / sqrt(m)))      higher-order weights, tau learned

| refinement | refined weights | output |
|---|---|---|
| `simple` | B | B V |
| `value` | B A | B (A V) |
| `additive` | (A + B) / 2, with mix=sum A + B | the same mean or sum of A V and B V |

All are causal, and all but mix=sum have rows that sum to one. norm divides a row by its root mean square
(Zhang & Sennrich, NeurIPS 2019, without a gain). Without it, the logits of B shrink with the number of
keys, because A averages the rows of W, and B starts uniform; `docs/awr.md` has the figures.

No n x n matrix is needed: A W_q, A W_k and A V are one causal attention with the values [W_q | W_k | V],
and B times anything is a second one with queries Q_A and keys K_A. `impl=torch` computes these two
passes with torch's fused attention; `impl=reference` forms A and B.

Dropout of attention weights acts on A, before anything is computed from A, and on B. It has the same
distribution in both implementations. (torch's fused kernel on the CPU has no dropout: with dropout, torch
forms the n x n matrices there.)

Slots are aligned at the right end (the last item of a history is in the last slot), so trimming left
padding changes nothing.
"""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attnrec.attention.operator import AttentionOperator, masked_softmax, register_attention
from attnrec.attention.packing import Packing, SequenceContext, mix_at_start, mix_packed_at_start
from attnrec.attention.triton import require_kernels, sequence_rows

Refinement = Literal["simple", "value", "additive"]
Mix = Literal["mean", "sum"]
Impl = Literal["torch", "reference", "triton"]
_EPSILON = 1e-12  # under the root of the root mean square


@register_attention("awr")
class AttentionWeightRefinement(AttentionOperator):
    """Attention over attention weights, in three forms (`docs/awr.md`).

    Args:
        refinement: `simple`, `value` or `additive`.
        width: m, at least 2 with ``normalize``; 0 means the head's width.
        mix: how `additive` joins A and B, `mean` or `sum`.
        normalize: divide rows of A W_q and A W_k by their root mean square.
        init_scale: standard deviation of the initial W_q and W_k. With ``normalize`` it does not change the
            initial outputs, but sets how fast an optimiser's steps turn the rows.
        temperature: initial tau.
        learn_temperature: train tau, one per head.
        impl: `torch` (two fused passes), `triton` (the same with attnrec's kernels, on an NVIDIA GPU) or
            `reference` (n x n matrices).
    """

    paper = "Liu, Liu & Liu, Pay Attention to Attention for Sequential Recommendation, RecSys 2024"

    takes_any_value_width = True

    def __init__(
        self,
        num_heads: int,
        head_dim: int,
        max_len: int,
        dropout: float,
        *,
        refinement: Refinement = "value",
        width: int = 32,
        mix: Mix = "mean",
        normalize: bool = True,
        init_scale: float = 1.0,
        temperature: float = 1.0,
        learn_temperature: bool = True,
        impl: Impl = "torch",
    ) -> None:
        super().__init__(num_heads, head_dim, max_len, dropout)
        for name, value, kind in (("refinement", refinement, Refinement), ("mix", mix, Mix), ("impl", impl, Impl)):
            if value not in get_args(kind):
                raise ValueError(f"{name}={value} is not one of {', '.join(get_args(kind))}")
        if width < 0:
            raise ValueError(f"width={width} must be 1 or more, or 0 for the head's width")
        for name, number in (("init_scale", init_scale), ("temperature", temperature)):
            if not (math.isfinite(number) and number > 0):
                raise ValueError(f"{name}={number:g} must be above 0")
        self.refinement, self.mix, self.normalize, self.impl = refinement, mix, normalize, impl
        self.weights_sum_to_one = not (refinement == "additive" and mix == "sum")
        self.width = width or head_dim
        if normalize and self.width == 1:
            raise ValueError("width=1 with normalize=true leaves nothing but signs; use width=2 or more")
        self.w_q = nn.Parameter(init_scale * torch.randn(num_heads, max_len, self.width))
        self.w_k = nn.Parameter(init_scale * torch.randn(num_heads, max_len, self.width))
        start = torch.full((num_heads,), math.log(temperature))
        self.log_temperature = nn.Parameter(start, requires_grad=learn_temperature)

    def check_device(self, device: torch.device) -> None:
        if self.impl == "triton":
            require_kernels("awr:impl=triton", device, self.head_dim, self.width)

    # -- the two passes --------------------------------------------------------------------------------

    def forward(self, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
        if self.impl == "reference":
            return self._reference(q, k, v, ctx)
        slots = slice(ctx.offset, ctx.offset + ctx.width)
        w_q, w_k = self.w_q[:, slots], self.w_k[:, slots]
        if self.impl == "triton":
            from attnrec.kernels import awr_attention

            return awr_attention(q, k, v, w_q, w_k, ctx.lengths, **self._kernel_options())
        values = torch.cat([torch.cat([w_q, w_k], -1).to(v.dtype).expand(len(v), -1, -1, -1), v], -1)
        mixed = mix_at_start(self._two_passes, _of_equal_width(q, k, values), ctx)
        return mixed[..., : v.shape[-1]]

    def forward_packed(self, q: Tensor, k: Tensor, v: Tensor, packing: Packing) -> Tensor:
        if self.impl == "reference":
            return super().forward_packed(q, k, v, packing)
        if self.impl == "triton":
            from attnrec.kernels import packed_awr_attention

            rows = sequence_rows(packing)
            return packed_awr_attention(q, k, v, self.w_q, self.w_k, *rows, **self._kernel_options())
        w = torch.cat([self.w_q, self.w_k], -1).transpose(0, 1).to(v.dtype).index_select(0, packing.slots)
        values = torch.cat([w, v], -1)
        width = max(q.shape[-1], values.shape[-1])
        mixed = mix_packed_at_start(self._two_passes, (q, k, values), packing, width)
        return mixed[..., : v.shape[-1]]

    def _two_passes(self, q: Tensor, k: Tensor, values: Tensor) -> Tensor:
        """q, k [B, H, T, D] and values [W_q | W_k | V], [B, H, T, 2m + Dv]; each may be widened with zeros."""
        m = self.width
        first = self._causal(q, k, values, self.head_dim**-0.5)
        a_q, a_k, averaged = first.split([m, m, first.shape[-1] - 2 * m], dim=-1)
        q_a, k_a = self._correlation_space(a_q, a_k)
        mixed = averaged if self.refinement == "value" else values.split([2 * m, averaged.shape[-1]], dim=-1)[1]
        refined = self._causal(*_of_equal_width(q_a, k_a, mixed.contiguous()), 1.0)[..., : mixed.shape[-1]]
        return self._mixed(averaged, refined) if self.refinement == "additive" else refined

    def _causal(self, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        dropout = self.dropout if self.training else 0.0
        return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True, scale=scale)

    def _kernel_options(self) -> dict[str, Any]:
        return {
            "temperature": self.log_temperature.exp(),
            "refinement": self.refinement,
            "mix": self.mix,
            "normalize": self.normalize,
            "dropout_p": self.dropout if self.training else 0.0,
        }

    def _correlation_space(self, a_q: Tensor, a_k: Tensor) -> tuple[Tensor, Tensor]:
        """Turn A W_q and A W_k, [B, H, T, m], into factors whose inner products are the logits of B."""
        if self.normalize:
            a_q, a_k = _divided_by_rms(a_q), _divided_by_rms(a_k)
        factor = (self.log_temperature.exp() * self.width**-0.5).to(a_q.dtype)
        return a_q * factor[:, None, None], a_k

    def _mixed(self, first: Tensor, second: Tensor) -> Tensor:
        total = first + second
        return total if self.mix == "sum" else total / 2

    # -- the n x n form --------------------------------------------------------------------------------

    def _matrices(self, q: Tensor, k: Tensor, ctx: SequenceContext, dropout: float) -> tuple[Tensor, Tensor]:
        """A and B, [B, H, T, T] each."""
        mask = ctx.mask()
        first = F.dropout(masked_softmax(q @ k.transpose(-1, -2) * self.head_dim**-0.5, mask), dropout)
        slots = slice(ctx.offset, ctx.offset + ctx.width)
        q_a, k_a = self._correlation_space(first @ self.w_q[:, slots], first @ self.w_k[:, slots])
        return first, F.dropout(masked_softmax(q_a @ k_a.transpose(-1, -2), mask), dropout)

    def _reference(self, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
        first, second = self._matrices(q, k, ctx, self.dropout if self.training else 0.0)
        return self._refined(first, second) @ v

    def _refined(self, first: Tensor, second: Tensor) -> Tensor:
        if self.refinement == "simple":
            return second
        return second @ first if self.refinement == "value" else self._mixed(first, second)

    def named_weights(self, q: Tensor, k: Tensor, ctx: SequenceContext) -> dict[str, Tensor]:
        """``first-order`` A, ``higher-order`` B and the ``refined`` weights, each [B, H, T, T], without dropout."""
        first, second = self._matrices(q, k, ctx, 0.0)
        return {"first-order": first, "higher-order": second, "refined": self._refined(first, second)}

    def weights(self, q: Tensor, k: Tensor, ctx: SequenceContext) -> Tensor:
        return self.named_weights(q, k, ctx)["refined"]

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, refinement={self.refinement}, width={self.width}, impl={self.impl}"


def _divided_by_rms(x: Tensor) -> Tensor:
    return x * (x.square().mean(-1, keepdim=True) + _EPSILON).rsqrt()


def _of_equal_width(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pad the narrower ones with zeros, as torch's fused kernel on the CPU needs equal widths; no product changes."""
    width = max(q.shape[-1], v.shape[-1])
    q, k, v = (x if x.shape[-1] == width else F.pad(x, (0, width - x.shape[-1])) for x in (q, k, v))
    return q, k, v
