"""Right models: the contract finds no fault in them."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attnrec.attention.packing import make_packing, pack, pad
from attnrec.data.batches import SequenceBatch
from attnrec.data.catalogue import Catalogue
from attnrec.data.splits import Split
from attnrec.models.base import SequentialModel, item_table
from attnrec.models.options import ModelOptions


class RightModel(SequentialModel):
    """States are a map of the mean of the items so far, in parts that the wrong ones replace."""

    def __init__(self, catalogue: Catalogue, config: ModelOptions) -> None:
        super().__init__(catalogue, config)
        self.items = item_table(catalogue, config.dim)
        self.map = nn.Linear(config.dim, config.dim)

    @property
    def item_vectors(self) -> Tensor:
        return self.items.weight

    def embedded(self, batch: SequenceBatch) -> Tensor:
        return F.dropout(self.items(batch.items), self.config.dropout, self.training)

    def numbers(self, batch: SequenceBatch, like: Tensor) -> Tensor:
        """How many items each position has before it and itself, [N, 1]."""
        counted = np.concatenate([np.arange(1, length + 1) for length in batch.lengths])
        return torch.from_numpy(counted).to(like)[:, None]

    def mean(self, x: Tensor, batch: SequenceBatch) -> Tensor:
        sums = torch.cat([part.cumsum(0) for part in x.split(batch.lengths.tolist())])
        return sums / self.numbers(batch, x)

    def forward(self, batch: SequenceBatch) -> Tensor:
        return self.map(self.mean(self.embedded(batch), batch))


class WithWeights(RightModel):
    """Says with which weights it takes the mean."""

    def attention_weights(self, batch: SequenceBatch) -> list[dict[str, Tensor]]:
        width = int(batch.lengths.max())
        real = torch.arange(width) >= width - torch.from_numpy(batch.lengths)[:, None]
        seen = (real[:, :, None] & real[:, None, :]).tril().to(self.items.weight)
        return [{"mean": (seen / seen.sum(-1, keepdim=True).clamp(min=1))[:, None]}]


class Recurrent(RightModel):
    """GRU4Rec's trunk."""

    def __init__(self, catalogue: Catalogue, config: ModelOptions) -> None:
        super().__init__(catalogue, config)
        self.trunk = nn.GRU(config.dim, config.dim, batch_first=True)

    def mean(self, x: Tensor, batch: SequenceBatch) -> Tensor:
        (group,) = make_packing(batch.lengths, self.config.max_len, device=x.device).groups
        out, _ = self.trunk(pad(x[:, None], group, start=True)[:, 0])
        return pack(out[:, None], group, start=True)[:, 0]


class Popularity(SequentialModel):
    """How often an item was seen; nothing is trained."""

    uses = frozenset({"max_len"})

    def __init__(self, catalogue: Catalogue, config: ModelOptions) -> None:
        super().__init__(catalogue, config)
        self.register_buffer("counts", torch.zeros(catalogue.num_items + 1))

    def fit_counts(self, split: Split) -> None:
        seen = split.data.items[split.stages == 0]
        self.get_buffer("counts").copy_(torch.from_numpy(np.bincount(seen, minlength=self.catalogue.num_items + 1)))

    @property
    def item_vectors(self) -> Tensor:
        return self.get_buffer("counts").log1p()[:, None]

    def forward(self, batch: SequenceBatch) -> Tensor:
        return torch.ones(len(batch.items), 1, device=batch.items.device, dtype=self.get_buffer("counts").dtype)


class LastItemAndUser(RightModel):
    """As FPMC: of the last item and the user, with biases, and more than item vectors to be trained."""

    knows_users = True

    def __init__(self, catalogue: Catalogue, config: ModelOptions) -> None:
        super().__init__(catalogue, config)
        self.users = nn.Embedding(catalogue.num_users, config.dim)
        self.bias = nn.Parameter(torch.zeros(catalogue.num_items + 1))

    @property
    def item_bias(self) -> Tensor:
        return self.bias

    def mean(self, x: Tensor, batch: SequenceBatch) -> Tensor:
        return x + self.users(batch.users)


class Told(RightModel):
    """Needs features and times, and adds to the loss."""

    needs_timestamps = needs_features = True

    def __init__(self, catalogue: Catalogue, config: ModelOptions) -> None:
        super().__init__(catalogue, config)
        assert catalogue.features is not None
        self.values = nn.ModuleDict(
            {name: nn.Embedding(size + 1, config.dim, padding_idx=0) for name, size in catalogue.features.sizes.items()}
        )

    def embedded(self, batch: SequenceBatch) -> Tensor:
        assert batch.timestamps is not None
        of_features = [self.values[name](numbers).sum(1) for name, numbers in self.features_of(batch.items).items()]
        hour = (batch.timestamps / 3600 % 24).to(self.items.weight.dtype)[:, None] / 24
        return super().embedded(batch) * (1 + hour) + torch.stack(of_features).sum(0)

    def auxiliary_loss(self, states: Tensor, batch: SequenceBatch) -> Tensor | None:
        assert batch.targets is not None
        return (states - self.items(batch.targets)).square().mean()


RIGHT = (RightModel, WithWeights, Recurrent, Popularity, LastItemAndUser, Told)
