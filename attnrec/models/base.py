"""What a sequential model is: states at every position, item vectors, and a score that is their product.

    score(t, i) = <state_t, vector_i> + bias_i

for every model, so that evaluation, recommending, the losses and the contract are written once. A squared distance fits
this form up to a term that is constant per position: -|s - v|^2 = 2 <s, v> - |v|^2 - |s|^2. A cosine fits it with
vectors of length one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor, nn

from attnrec.attention.component import Component
from attnrec.core.errors import InputError
from attnrec.core.registry import Registry
from attnrec.data.batches import SequenceBatch
from attnrec.data.catalogue import Catalogue
from attnrec.data.splits import Split
from attnrec.models.options import ModelOptions


class SequentialModel(Component, ABC):
    """Scores every item as the next one, at every position of a history.

    A model defines `forward` and `item_vectors`, and if it needs them `item_bias`, `auxiliary_loss` and `fit_counts`.
    Its own options are keyword-only arguments of ``__init__``, with a type and a default.

    Args:
        catalogue: how many items and users there are.
        config: the shared model options; a model uses those named in ``uses``.
    """

    uses: ClassVar[frozenset[str]] = frozenset({"max_len", "dim", "dropout"})
    """The options of `ModelOptions` that the model uses; setting any other is an error."""

    knows_users: bool = False
    """Whether the model has parameters per user: the run then keeps their ids, and `recommend` asks for one."""

    def __init__(self, catalogue: Catalogue, config: ModelOptions) -> None:
        super().__init__()
        self.catalogue, self.config = catalogue, config
        self.keeps_features = False
        if self.needs_features:
            self.keep_features()

    @abstractmethod
    def forward(self, batch: SequenceBatch) -> Tensor:
        """States at every position of the batch, [N, e]; each may only depend on the items up to its own."""

    @property
    @abstractmethod
    def item_vectors(self) -> Tensor:
        """The vectors that states are compared with, [num_items + 1, e]; row 0 is padding and is never scored."""

    @property
    def item_bias(self) -> Tensor | None:
        """What is added to an item's score, [num_items + 1]; None for nothing."""
        return None

    def auxiliary_loss(self, states: Tensor, batch: SequenceBatch) -> Tensor | None:
        """A scalar to be added to the training loss; None for nothing.

        By default the sum of the components' own losses (`Component.own_loss`). ``states`` [N, e] are the output of
        `forward` on ``batch``, which has targets.
        """
        losses = [loss for part in self._with_own_loss if (loss := part.own_loss()) is not None]
        return torch.stack(losses).sum() if losses else None

    @cached_property
    def _with_own_loss(self) -> list[Component]:
        return [part for part in self.components() if type(part).own_loss is not Component.own_loss]

    def fit_counts(self, split: Split) -> None:
        """Count what the model needs from the training part and does not learn; called once, before training.

        Keep the results in buffers, which are saved with the weights.
        """

    def attention_weights(self, batch: SequenceBatch) -> list[dict[str, Tensor]]:
        """The weights of every block by name, each [B, H, T, T], without dropout, histories at the right end.

        Raises NotImplementedError if the model has none.
        """
        raise NotImplementedError(f"model {self.config.model} has no attention weights")

    def keep_features(self) -> None:
        """Store the catalogue's features in the model, for `features_of`; a model that uses features calls this."""
        self.keeps_features = True
        known = self.catalogue.features
        for place, numbers in enumerate(() if known is None else known.numbers.values()):
            self.register_buffer(f"feature_{place}", torch.from_numpy(numbers), persistent=False)

    def kept_features(self) -> dict[str, list[list[str]]]:
        """The values of each item by feature, if the model keeps them; a run needs them to rebuild the model."""
        known = self.catalogue.features
        return {} if known is None or not self.keeps_features else known.texts()

    def features_of(self, items: Tensor) -> dict[str, Tensor]:
        """For items int64 [N], the numbers of their values by feature, int64 [N, K], 0 where there are fewer than K."""
        names = () if self.catalogue.features is None else self.catalogue.features.numbers
        return {name: self.get_buffer(f"feature_{place}")[items] for place, name in enumerate(names)}

    def components(self) -> Iterator[Component]:
        """The operators and mixers inside."""
        return (part for part in self.modules() if isinstance(part, Component) and part is not self)

    def last_output(self, batch: SequenceBatch) -> Tensor:
        """State at the last item of each history, [B, e]."""
        return self.states(batch)[batch.last_rows]

    def states(self, batch: SequenceBatch) -> Tensor:
        """The output of `forward`, [N, e]; InputError if it has another shape."""
        states, wanted = self(batch), (len(batch.items), self._width)
        if not isinstance(states, Tensor) or states.shape != wanted:
            found = list(states.shape) if isinstance(states, Tensor) else type(states).__name__
            raise InputError(f"{type(self).__name__}.forward returned {found}, not {list(wanted)}; see `attnrec check`")
        return states

    @cached_property
    def _width(self) -> int:
        # cached, as some models recompute their vectors on every access
        return self.item_vectors.shape[1]


def item_table(catalogue: Catalogue, dim: int) -> nn.Embedding:
    """Item vectors [num_items + 1, dim]; row 0 is padding, stays zero and is never trained."""
    return nn.Embedding(catalogue.num_items + 1, dim, padding_idx=0)


def with_bias(states: Tensor, vectors: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """States [N, e] and item vectors [I + 1, e] with the bias as one more column, so that their product is the score.

    Without a bias, both are returned unchanged.
    """
    if bias is None:
        return states, vectors
    return with_one(states), torch.cat([vectors, bias[:, None]], 1)


def with_one(states: Tensor) -> Tensor:
    """States [N, e] with a column of ones for the bias, [N, e + 1]."""
    return torch.cat([states, torch.ones_like(states[:, :1])], 1)


MODELS: Registry[SequentialModel] = Registry(
    "model",
    "model",
    SequentialModel,  # type: ignore[type-abstract]
    "SequentialModel (attnrec.models.base)",
)
"""The names that ``model`` accepts."""
register_model = MODELS.register
