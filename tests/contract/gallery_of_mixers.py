"""Wrong mixers, one fault each."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attnrec.attention import Packing
from attnrec.attention.operator import masked_softmax
from attnrec.attention.packing import Group
from attnrec.mixers import MixerShape
from tests.contract.gallery import Wrong
from tests.contract.right_mixers import RightMixer, Told

# -- shape, finite, modes --------------------------------------------------------------------------------


class LastRowsAlone(RightMixer):
    def forward(self, x: Tensor, source: Tensor, packing: Packing) -> Tensor:
        return super().forward(x, source, packing)[: len(packing.groups[0].ctx.lengths), :1]


class OverflowsForLargeRows(RightMixer):
    def weights(self, q: Tensor, k: Tensor, group: Group) -> Tensor:
        exponential = self.scores(q, k, group).exp() * group.ctx.mask()
        return exponential / exponential.sum(-1, keepdim=True).clamp(min=1e-6)


class NoLossOfItsOwn(RightMixer):
    def own_loss(self) -> Tensor | None:
        return self.query.weight.sum() / 0.0


class DropsInEval(RightMixer):
    def dropped(self, weights: Tensor) -> Tensor:
        return F.dropout(weights, self.shape.dropout)


class ForgetsToDrop(RightMixer):
    def dropped(self, weights: Tensor) -> Tensor:
        return weights


class DrawsFromItsOwn(RightMixer):
    def __init__(self, shape: MixerShape) -> None:
        super().__init__(shape)
        self.generator = torch.Generator()

    def dropped(self, weights: Tensor) -> Tensor:
        if not self.training or self.shape.dropout == 0:
            return weights
        return weights * (torch.rand(weights.shape, generator=self.generator) >= self.shape.dropout)


# -- influence -------------------------------------------------------------------------------------------


class SeesLaterRows(RightMixer):
    def weights(self, q: Tensor, k: Tensor, group: Group) -> Tensor:
        real = group.ctx.real()[:, None]
        return masked_softmax(self.scores(q, k, group), real[..., None, :] & real[..., None])


class SeesLaterItems(Told):
    """Through the numbers of the items, which have no gradient."""

    def bias(self, packing: Packing) -> Tensor:
        assert packing.items is not None
        return super().bias(packing) * (1 + packing.items.max().to(self.query.weight.dtype) / 30)


class SumsOverAllRows(RightMixer):
    """A running sum that begins with the batch and not with the history."""

    def forward(self, x: Tensor, source: Tensor, packing: Packing) -> Tensor:
        return super().forward(x, source, packing) + 0.1 * x.cumsum(0)


class NormsOverTheBatchInTraining(RightMixer):
    def forward(self, x: Tensor, source: Tensor, packing: Packing) -> Tensor:
        out = super().forward(x, source, packing)
        return out - out.mean(0).detach() if self.training else out


class ScaledByTheWidth(RightMixer):
    def scores(self, q: Tensor, k: Tensor, group: Group) -> Tensor:
        return super().scores(q, k, group) / group.ctx.width


class BiasOfTheGroup(RightMixer):
    def mix(self, q: Tensor, k: Tensor, v: Tensor, group: Group) -> Tensor:
        return super().mix(q, k, v, group) + (0.1 if group.rows.start else 0.0)


class ReturnsItsValues(RightMixer):
    def mix(self, q: Tensor, k: Tensor, v: Tensor, group: Group) -> Tensor:
        super().mix(q, k, v, group)
        return v + 0 * (q + k)


# -- gradients, weights, surroundings ----------------------------------------------------------------------


class DetachedKeys(RightMixer):
    def scores(self, q: Tensor, k: Tensor, group: Group) -> Tensor:
        return super().scores(q, k + k.detach(), group)


class UnusedParameter(RightMixer):
    def __init__(self, shape: MixerShape) -> None:
        super().__init__(shape)
        self.gain = nn.Parameter(torch.ones(()))


class WeightsWithoutMask(RightMixer):
    def named_weights(self, x: Tensor, source: Tensor, packing: Packing) -> dict[str, Tensor]:
        (group,) = packing.groups
        q, k, _ = self.padded(x, source, group)
        return {"attention": self.scores(q, k, group).softmax(-1)}


class WeightsOfRows(RightMixer):
    def named_weights(self, x: Tensor, source: Tensor, packing: Packing) -> dict[str, Tensor]:
        return {"attention": x @ source.T}


class TwoMixers(RightMixer):
    def __init__(self, shape: MixerShape, *, impl: Literal["fast", "reference"] = "fast") -> None:
        super().__init__(shape)
        self.factor = 1.0 if impl == "reference" else 1.1

    def scores(self, q: Tensor, k: Tensor, group: Group) -> Tensor:
        return super().scores(q, k, group) * self.factor


class SinglePrecisionAlways(RightMixer):
    def forward(self, x: Tensor, source: Tensor, packing: Packing) -> Tensor:
        return super().forward(x, source, packing).float()


class MixesUnderAutocast(RightMixer):
    def forward(self, x: Tensor, source: Tensor, packing: Packing) -> Tensor:
        rows = torch.arange(len(x), device=x.device)
        return torch.zeros_like(x).index_copy_(0, rows, super().forward(x, source, packing))


class DeviceForgotten(RightMixer):
    def scores(self, q: Tensor, k: Tensor, group: Group) -> Tensor:
        return super().scores(q, k, group) + torch.zeros(group.ctx.width, dtype=q.dtype)


class DefaultDtype(RightMixer):
    def scores(self, q: Tensor, k: Tensor, group: Group) -> Tensor:
        slots = torch.arange(group.ctx.width, device=q.device)
        return super().scores(q, k, group) - ((slots[:, None] - slots).abs() / 3).to(q.dtype)


class StateOutside(RightMixer):
    def __init__(self, shape: MixerShape) -> None:
        super().__init__(shape)
        self.register_buffer("scale", torch.rand(shape.dim), persistent=False)

    def scores(self, q: Tensor, k: Tensor, group: Group) -> Tensor:
        return super().scores(q * self.get_buffer("scale").to(q.dtype), k, group)


class WritesIntoItsInput(RightMixer):
    def forward(self, x: Tensor, source: Tensor, packing: Packing) -> Tensor:
        return super().forward(x.mul_(2.0), source, packing)


class ViewsItsInput(RightMixer):
    def forward(self, x: Tensor, source: Tensor, packing: Packing) -> Tensor:
        return super().forward(x.view(-1).view(x.shape), source, packing)


class CompiledOtherwise(RightMixer):
    def scores(self, q: Tensor, k: Tensor, group: Group) -> Tensor:
        return super().scores(q, k, group) * (2.0 if torch.compiler.is_compiling() else 1.0)


WRONG = (
    Wrong(LastRowsAlone, "shape", "the output is [1, 1], not [1, 4]"),
    Wrong(OverflowsForLargeRows, "finite", "with large scores"),
    Wrong(NoLossOfItsOwn, "finite", "own_loss is"),
    Wrong(DropsInEval, "eval mode", "with dropout=0.5"),
    Wrong(SeesLaterRows, "no future leak", "output 1 changes with item 2", also=("weights",)),
    Wrong(SeesLaterItems, "no future leak", "when later items change", also=("batch independence", "other lengths")),
    Wrong(SumsOverAllRows, "batch independence", "when computed alone", also=("no future leak",)),
    Wrong(NormsOverTheBatchInTraining, "batch independence", "in training", also=("dropout",)),
    Wrong(ScaledByTheWidth, "other lengths", "next to a history of", also=("batch independence", "groups")),
    Wrong(BiasOfTheGroup, "groups", "in 2 groups outputs move"),
    Wrong(ReturnsItsValues, "history", "output 2 stays", also=("parameters", "dropout")),
    Wrong(DetachedKeys, "gradcheck", "the gradient w.r.t."),
    Wrong(UnusedParameter, "parameters", "no gradient for gain"),
    Wrong(WeightsWithoutMask, "weights", "on a later item or on padding"),
    Wrong(WeightsOfRows, "weights", "attention is [2, 2], not [1, H, 2, 2]"),
    Wrong(ForgetsToDrop, "dropout", "gives the same output in training"),
    Wrong(DrawsFromItsOwn, "dropout", "draws differently after the same torch.manual_seed"),
    Wrong(TwoMixers, "implementations", "the output of impl=fast differs"),
    Wrong(SinglePrecisionAlways, "dtype", "float64 comes back as float32"),
    Wrong(MixesUnderAutocast, "autocast", "raised RuntimeError"),
    Wrong(DeviceForgotten, "device", "raised RuntimeError"),
    Wrong(DefaultDtype, "global state", "with torch.set_default_dtype(bfloat16) outputs move"),
    Wrong(StateOutside, "state dict", "a mixer that loads the state dict of another differs"),
    Wrong(WritesIntoItsInput, "inputs kept", "forward writes into x"),
    Wrong(ViewsItsInput, "memory layout", "raised RuntimeError"),
    Wrong(CompiledOtherwise, "torch.compile", "compiled, the output moves"),
)
