"""Wrong operators, one fault each: gradients, weights, dropout, state, precisions, other ways to the output."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attnrec.attention import Packing, SequenceContext
from attnrec.attention.operator import masked_softmax
from tests.contract.gallery import Right, Wrong

# -- gradients -----------------------------------------------------------------------------------------


class Gained(Right):
    """Right, with a parameter."""

    def __init__(self, num_heads: int, head_dim: int, max_len: int, dropout: float) -> None:
        super().__init__(num_heads, head_dim, max_len, dropout)
        self.gain = nn.Parameter(torch.ones(()))

    def scores(self, q: Tensor, k: Tensor, ctx: SequenceContext) -> Tensor:
        return super().scores(q, k, ctx) * self.gain.to(q.dtype)


class UnusedParameter(Gained):
    def scores(self, q: Tensor, k: Tensor, ctx: SequenceContext) -> Tensor:
        return Right.scores(self, q, k, ctx)


class DetachedParameter(Gained):
    def scores(self, q: Tensor, k: Tensor, ctx: SequenceContext) -> Tensor:
        return Right.scores(self, q, k, ctx) * self.gain.detach().to(q.dtype)


class DetachedScores(Right):
    def scores(self, q: Tensor, k: Tensor, ctx: SequenceContext) -> Tensor:
        return super().scores(q, k.detach(), ctx)


class _Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        return grad_outputs[0]


class WrongBackward(Right):
    def scores(self, q: Tensor, k: Tensor, ctx: SequenceContext) -> Tensor:
        return super().scores(_Doubled.apply(q), k, ctx)


class SinglePrecisionInside(Right):
    def scores(self, q: Tensor, k: Tensor, ctx: SequenceContext) -> Tensor:
        return super().scores(q.float(), k.float(), ctx).to(q.dtype)


# -- weights -------------------------------------------------------------------------------------------


class WeightsOfAnother(Right):
    def forward(self, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
        return self.dropped(self.weights(2 * q, k, ctx)) @ v


class WeightsNotNormalised(Right):
    def weights(self, q: Tensor, k: Tensor, ctx: SequenceContext) -> Tensor:
        return self.scores(q, k, ctx).sigmoid() * ctx.mask()


class WeightsWithDropout(Right):
    def weights(self, q: Tensor, k: Tensor, ctx: SequenceContext) -> Tensor:
        return self.dropped(super().weights(q, k, ctx))

    def dropped(self, weights: Tensor) -> Tensor:
        return F.dropout(weights, self.dropout, self.training)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
        return self.weights(q, k, ctx) @ v


class WeightsPromised(Right):
    """Says that it has weights, and has none."""

    def weights(self, q: Tensor, k: Tensor, ctx: SequenceContext) -> Tensor:
        raise NotImplementedError("no weights yet")

    def forward(self, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
        return self.dropped(super().weights(q, k, ctx)) @ v


# -- dropout -------------------------------------------------------------------------------------------


class DropoutInEval(Right):
    def dropped(self, weights: Tensor) -> Tensor:
        return F.dropout(weights, self.dropout)


class DropoutForgotten(Right):
    def dropped(self, weights: Tensor) -> Tensor:
        return weights


class DropoutNotRescaled(Right):
    def dropped(self, weights: Tensor) -> Tensor:
        return super().dropped(weights) * (1 - self.dropout if self.training else 1)


class DropoutForgottenWhenPacked(Right):
    def forward_packed(self, q: Tensor, k: Tensor, v: Tensor, packing: Packing) -> Tensor:
        held, self.dropout = self.dropout, 0.0
        out = super().forward_packed(q, k, v, packing)
        self.dropout = held
        return out


class NoiseWithoutDropout(Right):
    def dropped(self, weights: Tensor) -> Tensor:
        return weights * (1 + 0.1 * torch.randn_like(weights)) if self.training else weights


class SeedsTorch(Right):
    def dropped(self, weights: Tensor) -> Tensor:
        torch.manual_seed(0)
        return super().dropped(weights)


class DrawsFromItsOwn(Right):
    def __init__(self, num_heads: int, head_dim: int, max_len: int, dropout: float) -> None:
        super().__init__(num_heads, head_dim, max_len, dropout)
        self.generator = torch.Generator()

    def dropped(self, weights: Tensor) -> Tensor:
        if not self.training or self.dropout == 0:
            return weights
        kept = torch.rand(weights.shape, generator=self.generator) >= self.dropout
        return weights * kept / (1 - self.dropout)


class RemembersTheLastCall(Right):
    calls = 0

    def scores(self, q: Tensor, k: Tensor, ctx: SequenceContext) -> Tensor:
        self.calls += 1
        return super().scores(q, k, ctx) * (1 + 0.1 * self.calls)


# -- state, inputs, precisions -------------------------------------------------------------------------


class StateOutside(Right):
    def __init__(self, num_heads: int, head_dim: int, max_len: int, dropout: float) -> None:
        super().__init__(num_heads, head_dim, max_len, dropout)
        self.register_buffer("projection", torch.randn(head_dim, head_dim), persistent=False)

    def scores(self, q: Tensor, k: Tensor, ctx: SequenceContext) -> Tensor:
        projection: Tensor = self.get_buffer("projection")
        return super().scores(q @ projection.to(q.dtype), k, ctx)


class WritesIntoQueries(Right):
    def scores(self, q: Tensor, k: Tensor, ctx: SequenceContext) -> Tensor:
        return super().scores(q.mul_(2.0), k, ctx)


class SinglePrecisionAlways(Right):
    def forward(self, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
        return super().forward(q.float(), k.float(), v.float(), ctx)


class SentinelTooLargeForHalf(Right):
    def weights(self, q: Tensor, k: Tensor, ctx: SequenceContext) -> Tensor:
        mask = ctx.mask()
        return self.scores(q, k, ctx).masked_fill(~mask, -1e9).softmax(-1).masked_fill(~mask, 0.0)


class MixesUnderAutocast(Right):
    """Writes what autocast made bfloat16 into a tensor like its inputs."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
        slots = torch.arange(ctx.width, device=v.device)
        return torch.zeros_like(v).index_copy_(2, slots, super().forward(q, k, v, ctx))


class DeviceForgotten(Right):
    def scores(self, q: Tensor, k: Tensor, ctx: SequenceContext) -> Tensor:
        return super().scores(q, k, ctx) + torch.zeros(ctx.width, dtype=q.dtype)


class DefaultDtype(Right):
    def scores(self, q: Tensor, k: Tensor, ctx: SequenceContext) -> Tensor:
        slots = torch.arange(ctx.width, device=q.device)
        return super().scores(q, k, ctx) - ((slots[:, None] - slots).abs() / 3).to(q.dtype)


class ViewsItsInputs(Right):
    def scores(self, q: Tensor, k: Tensor, ctx: SequenceContext) -> Tensor:
        return super().scores(q.view(-1, *q.shape[2:]).view(q.shape), k, ctx)


class ValuesAsWideAsQueries(Right):
    takes_any_value_width = True

    def forward(self, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
        return (super().forward(q, k, v, ctx)).reshape(len(q), -1)[:, : q[0].numel()].reshape(q.shape)


# -- other ways ----------------------------------------------------------------------------------------


class PackedOtherwise(Right):
    def forward_packed(self, q: Tensor, k: Tensor, v: Tensor, packing: Packing) -> Tensor:
        return super().forward_packed(2 * q, k, v, packing)


class PackedWithoutGradient(Right):
    def forward_packed(self, q: Tensor, k: Tensor, v: Tensor, packing: Packing) -> Tensor:
        return super().forward_packed(q, k.detach(), v, packing)


class TwoFormulas(Right):
    def __init__(
        self,
        num_heads: int,
        head_dim: int,
        max_len: int,
        dropout: float,
        *,
        impl: Literal["torch", "reference"] = "torch",
    ) -> None:
        super().__init__(num_heads, head_dim, max_len, dropout)
        self.impl = impl

    def scores(self, q: Tensor, k: Tensor, ctx: SequenceContext) -> Tensor:
        return super().scores(q, k, ctx) * (1.0 if self.impl == "torch" else 1.1)


class CompiledOtherwise(Right):
    """A shortcut for the compiler, without the mask."""

    def weights(self, q: Tensor, k: Tensor, ctx: SequenceContext) -> Tensor:
        if torch.compiler.is_compiling():
            return masked_softmax(self.scores(q, k, ctx), ctx.real()[:, None, :, None] & ctx.real()[:, None, None])
        return super().weights(q, k, ctx)


WRONG = (
    Wrong(UnusedParameter, "parameters", "no gradient for gain"),
    Wrong(DetachedParameter, "parameters", "no gradient for gain", also=("gradcheck",)),
    Wrong(DetachedScores, "gradcheck", "the gradient w.r.t. k is 0, but the difference quotient is"),
    Wrong(WrongBackward, "gradcheck", "the gradient w.r.t. q is"),
    Wrong(SinglePrecisionInside, "gradcheck", "the gradient w.r.t. q is"),
    Wrong(WeightsOfAnother, "weights output", "weights @ v differs from the output"),
    Wrong(WeightsNotNormalised, "weights sum", "a row sums to 0."),
    Wrong(WeightsWithDropout, "weights", "in training with dropout weights differ"),
    Wrong(WeightsPromised, "weights", "no weights yet", also=("weights sum", "weights output", "inputs kept")),
    Wrong(DropoutInEval, "eval mode", "with dropout=0.5"),
    Wrong(DropoutForgotten, "dropout", "forward with dropout=0.5 gives the same output in training"),
    Wrong(DropoutNotRescaled, "dropout", "dropout keeps 0.5"),
    Wrong(DropoutForgottenWhenPacked, "dropout", "forward_packed with dropout=0.5 gives the same output in training"),
    Wrong(NoiseWithoutDropout, "dropout", "with dropout=0 the output moves", also=("batch independence", "packed")),
    Wrong(SeedsTorch, "dropout", "gives the same output in training with every seed"),
    Wrong(DrawsFromItsOwn, "dropout", "draws differently after the same torch.manual_seed"),
    Wrong(RemembersTheLastCall, "eval mode", "two calls differ by"),
    Wrong(StateOutside, "state dict", "that loads the state dict of another differs"),
    Wrong(WritesIntoQueries, "inputs kept", "forward writes into q", also=("packed",)),
    Wrong(SinglePrecisionAlways, "dtype", "float64 comes back as float32"),
    Wrong(SentinelTooLargeForHalf, "dtype", "float16 raised RuntimeError at gallery_of_surroundings.py"),
    Wrong(MixesUnderAutocast, "autocast", "raised RuntimeError"),
    Wrong(DeviceForgotten, "device", "raised RuntimeError"),
    Wrong(DefaultDtype, "global state", "with torch.set_default_dtype(bfloat16) outputs move"),
    Wrong(ViewsItsInputs, "memory layout", "raised RuntimeError", also=("packed", "dropout")),
    Wrong(ValuesAsWideAsQueries, "shape", "the output is [1, 1, 1, 2], not [1, 1, 1, 3]"),
    Wrong(PackedOtherwise, "packed", "the output of forward_packed differs from forward's"),
    Wrong(PackedWithoutGradient, "packed", "the gradient w.r.t. q, k and v of forward_packed differs from forward's"),
    Wrong(TwoFormulas, "implementations", "the output of impl=torch differs from that of impl=reference"),
    Wrong(CompiledOtherwise, "torch.compile", "compiled, the output moves"),
)
