"""Right operators that leave rounding where there should be nothing, and the same with a real leak."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from attnrec.attention import AttentionOperator, SequenceContext
from attnrec.attention.dense import without_padding


class Convolved(AttentionOperator):
    """A causal convolution of the values by FFT, with a learned kernel a head."""

    has_weights = False
    takes_any_value_width = True

    def __init__(self, num_heads: int, head_dim: int, max_len: int, dropout: float) -> None:
        super().__init__(num_heads, head_dim, max_len, dropout)
        self.kernel = nn.Parameter(torch.randn(num_heads, max_len))

    def points(self, ctx: SequenceContext) -> int:
        return 2 * ctx.width

    def mixed(self, v: Tensor, ctx: SequenceContext) -> Tensor:
        points = self.points(ctx)
        kernel = torch.fft.rfft(self.kernel[:, : ctx.width].to(v.dtype), points)
        together = torch.fft.rfft(v, points, dim=2) * kernel[..., None]
        return torch.fft.irfft(together, points, dim=2)[:, :, : ctx.width]

    def forward(self, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
        (values,) = without_padding(ctx, v)
        with torch.autocast(v.device.type, enabled=False):
            out = self.mixed(values.to(torch.promote_types(v.dtype, torch.float32)), ctx)
        return out.to(v.dtype)  # what stands at padding is rounding alone


class ConvolvedInSinglePrecision(Convolved):
    """As one that only float32 can be computed in."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
        if v.dtype == torch.float64:
            raise TypeError("float64 is not taken")
        return super().forward(q, k, v, ctx)


class WrapsAround(Convolved):
    """Too few points: the last items come in again at the first."""

    def points(self, ctx: SequenceContext) -> int:
        return ctx.width

    def mixed(self, v: Tensor, ctx: SequenceContext) -> Tensor:
        if ctx.width == 1:
            return v
        return super().mixed(v, ctx).masked_fill(~ctx.real()[:, None, :, None], 0.0)


class ConvolvedWithALeak(Convolved):
    """A millionth of all values in every output."""

    def mixed(self, v: Tensor, ctx: SequenceContext) -> Tensor:
        return super().mixed(v, ctx) + 1e-6 * v.sum(2, keepdim=True) * ctx.real()[:, None, :, None]


class ConvolvedWithAHiddenLeak(Convolved):
    """The same without a gradient."""

    def mixed(self, v: Tensor, ctx: SequenceContext) -> Tensor:
        leak = 1e-6 * v.detach().sum(2, keepdim=True) * ctx.real()[:, None, :, None]
        return super().mixed(v, ctx) + leak


class TotalLessTheRest(AttentionOperator):
    """Gated values of the items so far, as the sum of all less the sum of what comes later."""

    has_weights = False
    left = 1.0
    """How much of what comes later is taken off again."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
        q, k, v = without_padding(ctx, q, k, v)
        gated = k.sigmoid() * v
        later = gated.flip(2).cumsum(2).flip(2) - gated
        so_far = gated.sum(2, keepdim=True) - self.left * later
        return (q.sigmoid() * so_far).masked_fill(~ctx.real()[:, None, :, None], 0.0)


class LeavesALittleOfTheRest(TotalLessTheRest):
    left = 1 - 1e-6


class SumLessThePadding(AttentionOperator):
    """As the above, as a running sum over all slots less that of the padding before the history."""

    has_weights = False
    left = 1.0

    def forward(self, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
        sums = (k.sigmoid() * v).cumsum(2)
        real = ctx.real()[:, None, :, None]
        sums = sums - self.left * (k.sigmoid() * v * ~real).sum(2, keepdim=True)
        return (q.sigmoid() * sums).masked_fill(~real, 0.0)


class LeavesALittleOfThePadding(SumLessThePadding):
    left = 1 - 1e-6


class WeightsLeftAtPadding(TotalLessTheRest):
    """Its weights are right but for what rounding leaves outside the mask."""

    has_weights = True
    weights_sum_to_one = weights_give_output = False
    residue = 1e-16

    def weights(self, q: Tensor, k: Tensor, ctx: SequenceContext) -> Tensor:
        return ctx.mask().to(q.dtype) / self.max_len + self.residue * torch.ones_like(q @ k.transpose(-1, -2))

    def forward(self, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
        weights = torch.dropout(self.weights(q, k, ctx), self.dropout, self.training).to(v.dtype)
        return (weights * ctx.mask()) @ v


class WeightsLeak(WeightsLeftAtPadding):
    residue = 1e-6


RIGHT = (Convolved, ConvolvedInSinglePrecision, TotalLessTheRest, SumLessThePadding, WeightsLeftAtPadding)
LEAKING: dict[type[AttentionOperator], set[str]] = {
    WrapsAround: {"no future leak", "trimming"},
    ConvolvedWithALeak: {"no future leak"},
    ConvolvedWithAHiddenLeak: {"no future leak", "gradcheck"},
    LeavesALittleOfTheRest: {"no future leak"},
    LeavesALittleOfThePadding: {"padding"},
    WeightsLeak: {"weights"},
}
"""The checks that must fail."""
