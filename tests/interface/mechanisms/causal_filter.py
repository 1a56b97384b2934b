"""BSARec's frequency layer next to attention, made causal: Shin et al., "An Attentive Inductive Bias" (AAAI 2024).

Low frequencies are a mean over the last items instead of a Fourier transform of the whole history.
"""

import torch
import torch.nn.functional as F
from torch import nn

from attnrec.attention.packing import pack, pad
from attnrec.mixers import AttentionMixer


class CausalFilter(AttentionMixer):
    """share (low + beta^2 (x - low)) + (1 - share) attention(x), beta learned."""

    paper = "Shin et al., An Attentive Inductive Bias beyond Self-Attention (BSARec), AAAI 2024"

    def __init__(self, shape, *, width: int = 5, share: float = 0.7):
        super().__init__(shape)
        self.width, self.share = width, share
        self.beta = nn.Parameter(torch.randn(shape.dim))

    def forward(self, x, source, packing):
        low = torch.cat(
            [pack(self._mean(pad(x[group.rows, None], group), group.ctx), group) for group in packing.groups]
        )
        filtered = low[:, 0] + self.beta**2 * (x - low[:, 0])
        return self.share * filtered + (1 - self.share) * super().forward(x, source, packing)

    def _mean(self, x, ctx):  # [B, 1, T, d], histories at the right end, zeros before them
        total = F.pad(x, (0, 0, self.width - 1, 0)).unfold(2, self.width, 1).sum(-1)
        place = torch.arange(ctx.width, device=x.device) - (ctx.width - ctx.lengths[:, None])
        return total / (place + 1).clamp(1, self.width)[:, None, :, None].to(x.dtype)
