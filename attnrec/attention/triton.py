r"""Vanilla causal attention with attnrec's Triton kernels: the mathematics of `sdpa`, on an NVIDIA GPU.

    A = softmax(causal(Q K^T / sqrt(d))),   output = A V

The kernels (`attnrec.kernels.causal_attention`) work on packed histories: nothing is computed, loaded or stored for
padding.
"""

from __future__ import annotations

import torch
from torch import Tensor

from attnrec.attention.operator import register_attention
from attnrec.attention.packing import Packing, SequenceContext
from attnrec.attention.sdpa import ScaledDotProductAttention
from attnrec.core.errors import InputError
from attnrec.core.options import named


def require_kernels(variant: str, device: torch.device, *widths: int) -> None:
    """Raise InputError if Triton is not installed, or its kernels cannot run on ``device`` or with ``widths``."""
    try:
        from attnrec.kernels.shared.launch import require_device  # triton may not be installed
        from attnrec.kernels.shared.tiles import padded_width
    except ImportError as error:
        raise InputError(f"{named('attention', variant)} needs the package triton ({error}); use sdpa") from error
    try:
        require_device(device)
        for width in widths:
            padded_width(width)
    except (RuntimeError, ValueError) as error:
        raise InputError(f"{named('attention', variant)}: {error}") from error


def sequence_rows(packing: Packing) -> tuple[Tensor, Tensor, int]:
    """First row and length of each history in a packed batch, both int64 [B], and the longest length."""
    lengths = torch.cat([group.ctx.lengths for group in packing.groups])
    return lengths.cumsum(0) - lengths, lengths, max(group.ctx.width for group in packing.groups)


@register_attention("triton")
class TritonAttention(ScaledDotProductAttention):
    """Causal softmax attention through fused Triton kernels; needs an NVIDIA GPU."""

    paper = "Dao, FlashAttention-2, ICLR 2024 (the method); the mathematics is that of sdpa"

    def check_device(self, device: torch.device) -> None:
        require_kernels("triton", device, self.head_dim)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
        from attnrec.kernels import causal_attention

        return causal_attention(q, k, v, ctx.lengths, dropout_p=self.dropout if self.training else 0.0)

    def forward_packed(self, q: Tensor, k: Tensor, v: Tensor, packing: Packing) -> Tensor:
        from attnrec.kernels import packed_causal_attention

        dropout = self.dropout if self.training else 0.0
        return packed_causal_attention(q, k, v, *sequence_rows(packing), dropout_p=dropout)
