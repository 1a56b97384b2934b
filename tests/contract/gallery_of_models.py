"""Wrong models, one fault each."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attnrec.data.batches import SequenceBatch
from attnrec.data.catalogue import Catalogue
from attnrec.data.splits import Split
from attnrec.models.options import ModelOptions
from tests.contract.gallery import Wrong
from tests.contract.right_models import Popularity, RightModel, WithWeights

# -- shape, finite, modes --------------------------------------------------------------------------------


class VectorsWithoutPadding(RightModel):
    @property
    def item_vectors(self) -> Tensor:
        return self.items.weight[1:]


class NoVectors(RightModel):
    @property
    def item_vectors(self) -> Tensor:
        return None  # type: ignore[return-value]


class StatesOfAnotherWidth(RightModel):
    def forward(self, batch: SequenceBatch) -> Tensor:
        return super().forward(batch)[:, :-1]


class LastStatesAlone(RightModel):
    def forward(self, batch: SequenceBatch) -> Tensor:
        return super().forward(batch)[batch.last_rows]


class BiasOfTheItemsAlone(RightModel):
    @property
    def item_bias(self) -> Tensor:
        return self.items.weight[1:, 0]


class DividesByNothing(RightModel):
    """The mean of the items before the last one, of which the first has none."""

    def mean(self, x: Tensor, batch: SequenceBatch) -> Tensor:
        numbers = self.numbers(batch, x)
        return (super().mean(x, batch) * numbers - x) / (numbers - 1)


class DropsInEval(RightModel):
    def embedded(self, batch: SequenceBatch) -> Tensor:
        return F.dropout(self.items(batch.items), self.config.dropout)


class RemembersTheLastCall(RightModel):
    calls = 0

    def embedded(self, batch: SequenceBatch) -> Tensor:
        self.calls += 1
        return super().embedded(batch) * (1 + 0.1 * self.calls)


class ForgetsToDrop(RightModel):
    def embedded(self, batch: SequenceBatch) -> Tensor:
        return self.items(batch.items)


class DrawsFromItsOwn(RightModel):
    def __init__(self, catalogue: Catalogue, config: ModelOptions) -> None:
        super().__init__(catalogue, config)
        self.generator = torch.Generator()

    def embedded(self, batch: SequenceBatch) -> Tensor:
        x = self.items(batch.items)
        if not self.training or self.config.dropout == 0:
            return x
        return x * (torch.rand(x.shape, generator=self.generator) >= self.config.dropout)


# -- influence -------------------------------------------------------------------------------------------


class MeanOfTheWholeHistory(RightModel):
    def mean(self, x: Tensor, batch: SequenceBatch) -> Tensor:
        parts = x.split(batch.lengths.tolist())
        return torch.cat([part.mean(0, keepdim=True).expand_as(part) for part in parts])


class SeesTheTarget(RightModel):
    def mean(self, x: Tensor, batch: SequenceBatch) -> Tensor:
        found = super().mean(x, batch)
        return found if batch.targets is None else found + 0.01 * self.items(batch.targets)


class LeaksInTraining(MeanOfTheWholeHistory):
    def mean(self, x: Tensor, batch: SequenceBatch) -> Tensor:
        leaks = self.training and self.config.dropout > 0
        return super().mean(x, batch) if leaks else RightModel.mean(self, x, batch)


class NormsOverTheBatch(RightModel):
    """Statistics of the batch, kept for later, as a batch normalisation has them."""

    def __init__(self, catalogue: Catalogue, config: ModelOptions) -> None:
        super().__init__(catalogue, config)
        self.register_buffer("running", torch.zeros(()))

    def mean(self, x: Tensor, batch: SequenceBatch) -> Tensor:
        found = super().mean(x, batch)
        if self.training:
            self.get_buffer("running").mul_(0.9).add_(found.detach().mean(), alpha=0.1)
            return found - found.detach().mean()
        return found - self.get_buffer("running")


class BiasByPlaceInTheBatch(RightModel):
    def mean(self, x: Tensor, batch: SequenceBatch) -> Tensor:
        places = np.repeat(np.arange(len(batch.lengths)), batch.lengths)
        return super().mean(x, batch) + 0.1 * torch.from_numpy(places).to(x)[:, None]


class DividedByTheLongest(RightModel):
    def mean(self, x: Tensor, batch: SequenceBatch) -> Tensor:
        return super().mean(x, batch) / int(batch.lengths.max())


class TrainsThePaddingRow(RightModel):
    """Begins every history with item 0, and lets its row be trained."""

    def __init__(self, catalogue: Catalogue, config: ModelOptions) -> None:
        super().__init__(catalogue, config)
        self.items = nn.Embedding(catalogue.num_items + 1, config.dim)

    def mean(self, x: Tensor, batch: SequenceBatch) -> Tensor:
        return super().mean(x, batch) + self.items.weight[0]


# -- gradients and surroundings ----------------------------------------------------------------------------


class DetachedItems(RightModel):
    def embedded(self, batch: SequenceBatch) -> Tensor:
        return super().embedded(batch) + self.items(batch.items).detach()


class UnusedParameter(RightModel):
    def __init__(self, catalogue: Catalogue, config: ModelOptions) -> None:
        super().__init__(catalogue, config)
        self.users = nn.Embedding(8, config.dim)


class LossOfEachState(RightModel):
    def auxiliary_loss(self, states: Tensor, batch: SequenceBatch) -> Tensor | None:
        return states.square().mean(1)


class LossIsNaN(RightModel):
    def auxiliary_loss(self, states: Tensor, batch: SequenceBatch) -> Tensor | None:
        return (states.mean() - states.mean()) / 0.0


class MixesUnderAutocast(RightModel):
    def mean(self, x: Tensor, batch: SequenceBatch) -> Tensor:
        rows = torch.arange(len(x), device=x.device)
        return torch.zeros_like(x).index_copy_(0, rows, self.map(super().mean(x, batch)))


class DeviceForgotten(RightModel):
    def mean(self, x: Tensor, batch: SequenceBatch) -> Tensor:
        return super().mean(x, batch) + torch.zeros(len(x), 1, dtype=x.dtype)


class DefaultDtype(RightModel):
    def mean(self, x: Tensor, batch: SequenceBatch) -> Tensor:
        return super().mean(x, batch) + (batch.users / 3).to(x.dtype)[:, None]


class CountsOutside(Popularity):
    """Its counts are lost when a run is opened again."""

    def fit_counts(self, split: Split) -> None:
        super().fit_counts(split)
        self.seen = self.get_buffer("counts").clone()
        self.get_buffer("counts").zero_()

    @property
    def item_vectors(self) -> Tensor:
        return getattr(self, "seen", self.get_buffer("counts")).to(self.get_buffer("counts"))[:, None]


class WritesIntoItems(RightModel):
    def embedded(self, batch: SequenceBatch) -> Tensor:
        batch.items.clamp_(max=7)
        return super().embedded(batch)


class WeightsWithoutHeads(WithWeights):
    def attention_weights(self, batch: SequenceBatch) -> list[dict[str, Tensor]]:
        return [{"mean": super().attention_weights(batch)[0]["mean"][:, 0]}]


class WeightsAtTheLeftEnd(WithWeights):
    """As `SequenceBatch.rectangle` has the histories."""

    def attention_weights(self, batch: SequenceBatch) -> list[dict[str, Tensor]]:
        found = super().attention_weights(batch)[0]["mean"]
        width = found.shape[-1]
        left = [own.roll((n - width, n - width), (1, 2)) for own, n in zip(found, batch.lengths.tolist(), strict=True)]
        return [{"mean": torch.stack(left)}]


WRONG = (
    Wrong(VectorsWithoutPadding, "shape", "item_vectors are [30, 4], not 31 rows for 30 items and padding"),
    Wrong(NoVectors, "shape", "item_vectors are NoneType, not 31 rows"),
    Wrong(StatesOfAnotherWidth, "shape", "states are [1, 3], not [1, 4] for 1 items"),
    Wrong(LastStatesAlone, "shape", "states are [1, 4], not [2, 4]"),
    Wrong(BiasOfTheItemsAlone, "shape", "item_bias is [30], not [31]"),
    Wrong(DividesByNothing, "finite", "the output of an item is not finite"),
    Wrong(DropsInEval, "eval mode", "with dropout=0.5"),
    Wrong(RemembersTheLastCall, "eval mode", "two calls differ by"),
    Wrong(MeanOfTheWholeHistory, "no future leak", "output 1 moves by"),
    Wrong(SeesTheTarget, "no future leak", "when later items and the targets change"),
    Wrong(LeaksInTraining, "no future leak", "in training"),
    Wrong(NormsOverTheBatch, "batch independence", "in training", also=("no future leak", "dropout")),
    Wrong(BiasByPlaceInTheBatch, "batch independence", "when computed alone"),
    Wrong(DividedByTheLongest, "other lengths", "next to a history of", also=("batch independence",)),
    Wrong(TrainsThePaddingRow, "padding row", "row 0 of items.weight gets a gradient"),
    Wrong(DetachedItems, "gradcheck", "the gradient w.r.t. items.weight is"),
    Wrong(UnusedParameter, "parameters", "no gradient for users.weight"),
    Wrong(WeightsWithoutHeads, "attention weights", "mean of block 1 is [1, 2, 2], not [1, H, 2, 2]"),
    Wrong(WeightsAtTheLeftEnd, "attention weights", "mean of block 1 has 1 on a later item or on padding"),
    Wrong(LossOfEachState, "auxiliary loss", "auxiliary_loss returns [1], not a scalar"),
    Wrong(LossIsNaN, "auxiliary loss", "auxiliary_loss is nan"),
    Wrong(ForgetsToDrop, "dropout", "gives the same output in training"),
    Wrong(DrawsFromItsOwn, "dropout", "draws differently after the same torch.manual_seed"),
    Wrong(MixesUnderAutocast, "autocast", "raised RuntimeError"),
    Wrong(DeviceForgotten, "device", "raised RuntimeError"),
    Wrong(DefaultDtype, "global state", "with torch.set_default_dtype(bfloat16) outputs move"),
    Wrong(CountsOutside, "state dict", "a model that loads the state dict of another differs"),
    Wrong(WritesIntoItems, "inputs kept", "forward writes into items"),
)
