r"""Sparse attention: alpha-entmax instead of softmax, with weights that can be exactly zero.

    A = alpha-entmax(causal(Q K^T / sqrt(d))),   output = A V

Peters, Niculae & Martins, "Sparse Sequence-to-Sequence Models" (ACL 2019, arXiv 1905.05702), section 3:

    alpha-entmax(z) = argmax_p <p, z> + H_alpha(p)  =  max((alpha - 1) z - tau, 0)^(1 / (alpha - 1))

over distributions p, with Tsallis' entropy H_alpha and the tau for which p sums to one. alpha = 1 would be softmax;
alpha = 2 is sparsemax (Martins & Astudillo, ICML 2016, arXiv 1602.02068), the projection onto the simplex. Correia,
Niculae & Martins, "Adaptively Sparse Transformers" (EMNLP 2019, arXiv 1909.00015), use it for self-attention; they
also learn alpha, which this operator does not.

tau is found exactly, by sorting (the papers' algorithms). The gradient is exact too: with s = p^(2 - alpha) on the
support of p and 0 elsewhere, and g the gradient with respect to p, the one with respect to z is
s * (g - <s, g> / <s, 1>).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from attnrec.attention.dense import DenseAttention
from attnrec.attention.operator import register_attention
from attnrec.attention.packing import SequenceContext


@register_attention("entmax")
class EntmaxAttention(DenseAttention):
    """Causal attention with alpha-entmax, whose weights can be exactly zero.

    Args:
        alpha: 1.5, or 2 for sparsemax.
    """

    paper = "Peters, Niculae & Martins, Sparse Sequence-to-Sequence Models, ACL 2019"

    def __init__(self, num_heads: int, head_dim: int, max_len: int, dropout: float, *, alpha: float = 1.5) -> None:
        super().__init__(num_heads, head_dim, max_len, dropout)
        if alpha not in (1.5, 2.0):
            raise ValueError(f"alpha={alpha:g} must be 1.5 or 2, the values computed exactly (1 is sdpa)")
        self.alpha = alpha

    def causal_weights(self, q: Tensor, k: Tensor, ctx: SequenceContext) -> Tensor:
        scores = q @ k.transpose(-1, -2) * self.head_dim**-0.5
        return masked_entmax(scores, ctx.mask(), self.alpha)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, alpha={self.alpha:g}"


def masked_entmax(scores: Tensor, mask: Tensor, alpha: float) -> Tensor:
    """alpha-entmax, alpha 1.5 or 2, over the last axis where ``mask`` is True and 0 elsewhere.

    A row without any True is all 0. Computed in float32 or wider.
    """
    precise = scores.to(torch.promote_types(scores.dtype, torch.float32))
    highest = precise.detach().masked_fill(~mask, -torch.inf).amax(-1, keepdim=True)
    # tau is at least the largest entry minus 1, so an entry at -2 is never in the support
    scaled = ((alpha - 1) * (precise - highest)).masked_fill(~mask, -2.0)
    weights: Tensor = _Entmax.apply(scaled, alpha)
    return weights.masked_fill(~mask, 0.0).to(scores.dtype)


class _Entmax(torch.autograd.Function):
    """max(x - tau, 0)^(1 / (alpha - 1)) over the last axis; the largest entry of each row of x must be 0."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, alpha: float) -> Tensor:
        excess = (x - (_threshold_15(x) if alpha == 1.5 else _threshold_2(x))).clamp(min=0)
        weights = excess.square() if alpha == 1.5 else excess
        ctx.save_for_backward(weights)
        ctx.alpha = alpha
        return weights

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        (weights,) = ctx.saved_tensors
        slopes = weights.sqrt() if ctx.alpha == 1.5 else (weights > 0).to(weights.dtype)
        grad = slopes * grad_outputs[0]
        centre = grad.sum(-1, keepdim=True) / slopes.sum(-1, keepdim=True)
        # x already holds the factor alpha - 1
        return (grad - centre * slopes) / (ctx.alpha - 1), None


def _sorted_with_counts(x: Tensor) -> tuple[Tensor, Tensor]:
    descending = x.sort(dim=-1, descending=True).values
    return descending, torch.arange(1, x.shape[-1] + 1, device=x.device, dtype=x.dtype)


def _threshold_15(x: Tensor) -> Tensor:
    """tau with sum max(x - tau, 0)^2 = 1, [..., 1]."""
    ordered, count = _sorted_with_counts(x)
    mean = ordered.cumsum(-1) / count
    spread = ordered.square().cumsum(-1) - count * mean.square()
    # tau if the first `count` entries are the support; the right count is the largest whose last entry is at least tau
    tau = mean - ((1 - spread) / count).clamp(min=0).sqrt()
    size = (tau <= ordered).sum(-1, keepdim=True)
    return tau.gather(-1, size - 1)


def _threshold_2(x: Tensor) -> Tensor:
    """tau with sum max(x - tau, 0) = 1, [..., 1]."""
    ordered, count = _sorted_with_counts(x)
    tau = (ordered.cumsum(-1) - 1) / count
    size = (tau < ordered).sum(-1, keepdim=True)
    return tau.gather(-1, size - 1)
