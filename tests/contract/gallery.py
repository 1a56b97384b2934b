"""Wrong operators, one fault each, and a right one: what may influence what, and what must be finite.

`gallery_of_surroundings` has the rest: gradients, weights, dropout, state, precisions, other ways to the output.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attnrec.attention import AttentionOperator, Component, SequenceContext
from attnrec.attention.operator import masked_softmax


@dataclass(frozen=True)
class Wrong:
    """A wrong operator, mixer or model.

    Attributes:
        component: its class.
        check: the check that must name the fault.
        says: part of what it must say.
        also: other checks that fail as a consequence.
    """

    component: type[Component]
    check: str
    says: str
    also: tuple[str, ...] = ()


class Right(AttentionOperator):
    """Masked softmax attention, in parts that the wrong ones replace."""

    def scores(self, q: Tensor, k: Tensor, ctx: SequenceContext) -> Tensor:
        return q @ k.transpose(-1, -2) * self.head_dim**-0.5

    def mask(self, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
        return ctx.mask()

    def dropped(self, weights: Tensor) -> Tensor:
        return F.dropout(weights, self.dropout, self.training)

    def weights(self, q: Tensor, k: Tensor, ctx: SequenceContext) -> Tensor:
        return masked_softmax(self.scores(q, k, ctx), self.mask(q, k, k, ctx))

    def forward(self, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
        return self.dropped(self.weights(q, k, ctx)) @ v


def real_slots(ctx: SequenceContext) -> Tensor:
    return ctx.real()[:, None, :, None]


# -- the future ----------------------------------------------------------------------------------------


class NoCausalMask(Right):
    def mask(self, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
        return real_slots(ctx) & real_slots(ctx).transpose(-1, -2)


class AttendsToTheNextItem(Right):
    def mask(self, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
        real = real_slots(ctx)
        return real & real.transpose(-1, -2) & torch.ones_like(ctx.mask()).tril(1)


class SpanOfTheWholeHistory(Right):
    """Scales scores by the time until the last item, which an earlier item cannot know."""

    def scores(self, q: Tensor, k: Tensor, ctx: SequenceContext) -> Tensor:
        scores = super().scores(q, k, ctx)
        if ctx.timestamps is None:
            return scores
        first = ctx.timestamps.masked_fill(~ctx.real(), torch.inf).amin(1)
        span = (ctx.timestamps.amax(1) - first).clamp(min=0.0, max=1e6) / 3600
        return scores * (1 / (1 + span)).to(scores.dtype)[:, None, None, None]


class ExcludesItself(Right):
    def mask(self, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
        return ctx.mask().tril(-1)


class LeaksUnderDropout(Right):
    """Another path in training, without the mask: values of eval mode are right."""

    def mask(self, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
        real = real_slots(ctx)
        return real & real.transpose(-1, -2) if self.training and self.dropout > 0 else ctx.mask()


# -- padding -------------------------------------------------------------------------------------------


class PaddingAttended(Right):
    def mask(self, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
        return real_slots(ctx) & torch.ones_like(ctx.mask()).tril()


class PaddingInTheMean(Right):
    """Keys are centred by a running mean that counts padding."""

    def scores(self, q: Tensor, k: Tensor, ctx: SequenceContext) -> Tensor:
        mean = k.cumsum(2) / torch.arange(1, ctx.width + 1, dtype=k.dtype, device=k.device)[:, None]
        return super().scores(q, k - mean, ctx)


class SomethingAtPadding(Right):
    def forward(self, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
        return torch.where(real_slots(ctx), super().forward(q, k, v, ctx), v)


class SlotsFromTheLeft(Right):
    """A bias by slot, of which a trimmed batch gets the first rows rather than the last."""

    def __init__(self, num_heads: int, head_dim: int, max_len: int, dropout: float) -> None:
        super().__init__(num_heads, head_dim, max_len, dropout)
        self.bias = nn.Parameter(torch.zeros(max_len))

    def scores(self, q: Tensor, k: Tensor, ctx: SequenceContext) -> Tensor:
        return super().scores(q, k, ctx) + self.bias[: ctx.width].to(q.dtype)


class ScaledByTheSlots(Right):
    def scores(self, q: Tensor, k: Tensor, ctx: SequenceContext) -> Tensor:
        return super().scores(q, k, ctx) / ctx.width


class MaskFromValues(Right):
    """Takes an item for padding when its value is zero."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
        item = (v != 0).any(-1)
        mask = item[..., None, :] & item[..., None] & torch.ones_like(ctx.mask()).tril()
        return self.dropped(masked_softmax(self.scores(q, k, ctx), mask)) @ v


class MaskFromKeys(Right):
    def mask(self, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
        return ctx.mask() & (k.abs().sum(-1) > 1e-8)[..., None, :]


class MaskFromQueries(Right):
    def mask(self, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
        return ctx.mask() & (q.abs().sum(-1) > 1e-8)[..., None]


# -- not finite ----------------------------------------------------------------------------------------


class InfiniteMask(Right):
    def weights(self, q: Tensor, k: Tensor, ctx: SequenceContext) -> Tensor:
        return self.scores(q, k, ctx).masked_fill(~ctx.mask(), -torch.inf).softmax(-1)


class NaNHiddenInForward(Right):
    """A mask is added, and the NaN rows are overwritten; their gradient is not."""

    def weights(self, q: Tensor, k: Tensor, ctx: SequenceContext) -> Tensor:
        scores = self.scores(q, k, ctx)
        added = torch.zeros_like(scores).masked_fill(~ctx.mask(), -torch.inf)
        return (scores + added).softmax(-1).masked_fill(~ctx.mask(), 0.0)


class ZeroTimesNaN(Right):
    """Attends twice; the first pass gives NaN at padding, and a weight of zero does not keep it out."""

    weights_give_output = False

    def forward(self, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
        causal = torch.ones_like(ctx.mask()).tril() & ctx.real()[:, None, None, :]
        first = self.scores(q, k, ctx).masked_fill(~causal, -torch.inf).softmax(-1)
        return self.dropped(self.weights(q, k, ctx)) @ (first @ v)


class OverflowsForLargeScores(Right):
    def weights(self, q: Tensor, k: Tensor, ctx: SequenceContext) -> Tensor:
        exponential = self.scores(q, k, ctx).exp().masked_fill(~ctx.mask(), 0.0)
        return exponential / exponential.sum(-1, keepdim=True).clamp(min=1e-30)


# -- other sequences, and none at all ------------------------------------------------------------------


class CentredOverTheBatch(Right):
    """Subtracts the mean query of the batch at each slot."""

    def scores(self, q: Tensor, k: Tensor, ctx: SequenceContext) -> Tensor:
        real = real_slots(ctx).to(q.dtype)
        mean = (q * real).sum(0, keepdim=True) / real.sum(0, keepdim=True).clamp(min=1)
        return super().scores(q - mean, k, ctx)


class CentredOverTheBatchInTraining(CentredOverTheBatch):
    def scores(self, q: Tensor, k: Tensor, ctx: SequenceContext) -> Tensor:
        return super().scores(q, k, ctx) if self.training else Right.scores(self, q, k, ctx)


class ReturnsItsInput(Right):
    """Attends, and passes on what it was given."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
        super().forward(q, k, v, ctx)
        return v.masked_fill(~real_slots(ctx), 0.0)


class ReturnsTheMeanOfItsInput(Right):
    """Has learned weights and does not use them."""

    def __init__(self, num_heads: int, head_dim: int, max_len: int, dropout: float) -> None:
        super().__init__(num_heads, head_dim, max_len, dropout)
        self.gain = nn.Parameter(torch.ones(()))

    def scores(self, q: Tensor, k: Tensor, ctx: SequenceContext) -> Tensor:
        return super().scores(q, k, ctx) * self.gain

    def forward(self, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
        return self.dropped(masked_softmax(torch.zeros_like(q @ k.transpose(-1, -2)), ctx.mask())) @ v


class WithoutWeights(Right):
    """Mixes something other than the values, and keeps to itself the weights that would show it."""

    has_weights = False

    def instead(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return v

    def forward(self, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
        return self.dropped(self.weights(q, k, ctx)) @ self.instead(q, k, v)


class KeysForValues(WithoutWeights):
    def instead(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return k


class QueriesForValues(WithoutWeights):
    def instead(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return q


class KeysForValuesWithoutSoftmax(KeysForValues):
    """What a lone item gives is scaled by its query too."""

    def weights(self, q: Tensor, k: Tensor, ctx: SequenceContext) -> Tensor:
        return F.silu(self.scores(q, k, ctx)) * ctx.mask()


class ValuesIgnored(WithoutWeights):
    def instead(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return torch.ones_like(v)

    def weights(self, q: Tensor, k: Tensor, ctx: SequenceContext) -> Tensor:
        return F.silu(self.scores(q, k, ctx)) * ctx.mask()


FROM_VALUES = ("padding", "zeros at padding", "gradcheck")

WRONG = (
    Wrong(NoCausalMask, "no future leak", "output 1 changes with item 2", also=("weights",)),
    Wrong(AttendsToTheNextItem, "no future leak", "output 1 changes with item 2", also=("weights",)),
    Wrong(SpanOfTheWholeHistory, "no future leak", "moves by"),
    Wrong(LeaksUnderDropout, "no future leak", "changes with item", also=("weights",)),
    Wrong(ExcludesItself, "weights sum", "a row sums to 0, not 1"),
    Wrong(PaddingAttended, "padding", "when padding holds other values", also=("trimming", "weights")),
    Wrong(PaddingInTheMean, "padding", "when padding holds other values", also=("trimming",)),
    Wrong(SomethingAtPadding, "zeros at padding", "an empty slot has the output"),
    Wrong(SlotsFromTheLeft, "trimming", "1 more padding before it"),
    Wrong(ScaledByTheSlots, "trimming", "1 more padding before it"),
    Wrong(MaskFromValues, "zero items", "counts as padding when it has v = 0", also=FROM_VALUES),
    Wrong(MaskFromKeys, "zero items", "counts as padding when it has k = 0"),
    Wrong(MaskFromQueries, "zero items", "counts as padding when it has q = 0"),
    Wrong(InfiniteMask, "finite", "the output of an empty slot is not finite"),
    Wrong(NaNHiddenInForward, "finite", "the gradient w.r.t. q is not finite"),
    Wrong(ZeroTimesNaN, "finite", "is not finite"),
    Wrong(OverflowsForLargeScores, "finite", "with large scores"),
    Wrong(CentredOverTheBatch, "batch independence", "when computed alone"),
    Wrong(CentredOverTheBatchInTraining, "batch independence", "in training", also=("dropout", "weights")),
    Wrong(ReturnsItsInput, "history", "output 2 stays", also=("weights output", "dropout")),
    Wrong(KeysForValues, "values", "v is not used: outputs stay the same when all values change; k is used instead"),
    Wrong(QueriesForValues, "values", "outputs stay the same when all values change; q is used instead"),
    Wrong(KeysForValuesWithoutSoftmax, "values", "; k is used instead"),
    Wrong(ValuesIgnored, "values", "v is not used: outputs stay the same when all values change"),
    Wrong(ReturnsTheMeanOfItsInput, "weights output", "weights @ v differs", also=("parameters",)),
)
