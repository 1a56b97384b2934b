"""A model under test: its scores of all items, computed from states and item vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attnrec.attention import ATTENTION, Component
from attnrec.contract.batches import FEATURES, NUM_ITEMS, NUM_USERS, Batch
from attnrec.contract.cases import Case, Layout, without_padding
from attnrec.contract.comparing import require_scalar
from attnrec.contract.factory import Factory
from attnrec.contract.faults import Fault, NotRun, Unusable
from attnrec.contract.mixers import require_matrices
from attnrec.contract.subject import Place, Subject, as_is
from attnrec.core.spec import Spec
from attnrec.data.batches import SequenceBatch
from attnrec.data.catalogue import Catalogue
from attnrec.data.interactions import from_codes
from attnrec.data.splits import Split, leave_one_out
from attnrec.models.base import MODELS, SequentialModel
from attnrec.models.options import ModelOptions

_DROPOUTS = ("dropout", "attention_dropout", "feed_forward_dropout")


class ModelSubject(Subject):
    """Items of histories to scores [B, 1, T, num_items], in the rectangle of the histories.

    Args:
        options: the shared model options; those that depend on the size of a case are replaced.
        factory, heads, head_dim, device, backend: as `Subject`.
    """

    noun = "model"
    option = "model"
    narrow = (1, 4)  # a LayerNorm of two values leaves only signs
    entries = 8  # few, because a model has many tensors and each is checked in every case
    arguments = ("batch",)

    def __init__(
        self,
        options: ModelOptions,
        factory: Factory,
        heads: int,
        head_dim: int,
        device: torch.device,
        backend: str | None = None,
    ) -> None:
        named = replace(options, model=factory.source) if isinstance(factory.source, Spec) else options
        self.options = named
        self.knows_users = factory.declared("knows_users", False)
        self.uses = factory.declared("uses", SequentialModel.uses)
        declared = [ATTENTION.find(part.name) for part in options.attention.parts] if "attention" in self.uses else []
        self.with_features = factory.declared("needs_features", False) or any(cls.needs_features for cls in declared)
        super().__init__(factory, heads, head_dim, device, backend)

    @cached_property
    def split(self) -> Split:
        """Interactions that a model may count: every item at least once."""
        draws = np.random.default_rng(0).integers(1, NUM_ITEMS + 1, 4 * NUM_ITEMS)
        items = np.concatenate([np.arange(1, NUM_ITEMS + 1), draws])
        users = np.arange(len(items)) % NUM_USERS
        names = tuple(map(str, range(NUM_USERS))), tuple(map(str, range(NUM_ITEMS)))
        return leave_one_out(from_codes("contract", users, items, *names, np.arange(len(items), dtype=np.float64)))

    # -- building --------------------------------------------------------------------------------------

    def _shared(self, case: Case, dropout: float) -> tuple[Catalogue, ModelOptions]:
        """The constructor arguments that all models share."""
        sizes: dict[str, Any] = {"dim": case.heads * case.dim, "heads": case.heads, "max_len": case.max_len}
        sizes |= dict.fromkeys(_DROPOUTS, dropout)
        config = replace(self.options, **{name: value for name, value in sizes.items() if name in self.uses})
        users = NUM_USERS if self.knows_users else 0
        return Catalogue(NUM_ITEMS, users, True, FEATURES if self.with_features else None), config

    def example(self, case: Case) -> Component:
        shared = self._shared(case, 0.0)
        if isinstance(self.factory.source, Spec):
            return MODELS.build(self.factory.source, *shared, called_with="(catalogue, config)")
        built: SequentialModel = self.factory(*shared)
        return built

    def made(self, case: Case, dropout: float, impl: str | None) -> SequentialModel:
        built = self._fresh(case, dropout, impl)
        built.fit_counts(self.split)
        return built

    def _fresh(self, case: Case, dropout: float, impl: str | None = None) -> SequentialModel:
        built: SequentialModel = self.factory(*self._shared(case, dropout), impl=impl)
        return built

    def another(self, case: Case) -> Component:
        torch.manual_seed(1)
        return self._fresh(case, 0.0).to(device=self.device, dtype=self.dtype).eval()

    def layouts(self, layouts: Sequence[Layout]) -> Sequence[Layout]:
        return without_padding(layouts)

    def _case(self, layout: Layout, heads: int, dim: int, **sizes: int) -> Case:
        return replace(super()._case(layout, heads, dim, **sizes), packed=True)

    # -- running ---------------------------------------------------------------------------------------

    def floats(self, case: Case) -> dict[str, tuple[int, int]]:
        return {}

    def told_of(self) -> set[str]:
        return {"items", "users"}

    def given(self, batch: Batch, place: Place = as_is) -> tuple[Any, ...]:
        ctx = batch.ctx
        assert ctx.items is not None
        assert batch.users is not None
        assert batch.targets is not None
        return (
            SequenceBatch(
                batch.packed(ctx.items),
                batch.counts,
                batch.packed(batch.users),
                batch.packed(batch.targets),
                None if ctx.timestamps is None else batch.packed(ctx.timestamps),
            ),
        )

    def out_shape(self, batch: Batch) -> tuple[int, ...]:
        return len(batch.counts), 1, batch.ctx.width, NUM_ITEMS

    def result(self, component: Component, out: Any, batch: Batch) -> Tensor:
        assert isinstance(component, SequentialModel)
        vectors, bias = vectors_of(component)
        count = int(batch.counts.sum())
        if not isinstance(out, Tensor) or list(out.shape) != [count, vectors.shape[1]]:
            wide = f"[{count}, {vectors.shape[1]}] for {count} items and item vectors of width {vectors.shape[1]}"
            raise Unusable(f"states are {_shown(out)}, not {wide}", "shape")
        with torch.autocast(self.device.type, enabled=False):
            scores = out.to(vectors.dtype) @ vectors[1:].T
            return batch.padded(scores if bias is None else scores + bias[1:])

    def must_drop(self, component: Component) -> bool:
        return "dropout" in self.uses and any(parameter.requires_grad for parameter in component.parameters())

    def matrices(self, component: Component, batch: Batch) -> dict[str, Tensor]:
        """The weights of all blocks; a Fault if they are not [B, H, T, T], `NotRun` if there are none."""
        assert isinstance(component, SequentialModel)
        try:
            with torch.no_grad():
                blocks = component.attention_weights(*self.given(batch.mapped(torch.clone)))
        except NotImplementedError as error:
            raise NotRun("the model has none") from error
        if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
            raise Fault("attention_weights does not return a list of dicts")
        named = {
            f"{name} of block {place}": matrix
            for place, block in enumerate(blocks, 1)
            for name, matrix in block.items()
        }
        return require_matrices(named, batch)

    def own_loss(self, component: Component, batch: Batch) -> Tensor | None:
        assert isinstance(component, SequentialModel)
        (given,) = self.given(batch)
        loss = component.auxiliary_loss(component(given), given)
        require_scalar(loss, "auxiliary_loss")
        return loss


def vectors_of(model: SequentialModel) -> tuple[Tensor, Tensor | None]:
    """Item vectors [num_items + 1, e] and the bias [num_items + 1]; Unusable if they have another shape or type."""
    rows = f"{NUM_ITEMS + 1} rows for {NUM_ITEMS} items and padding"
    vectors: Any = model.item_vectors
    if not isinstance(vectors, Tensor) or vectors.ndim != 2 or len(vectors) != NUM_ITEMS + 1:
        raise Unusable(f"item_vectors are {_shown(vectors)}, not {rows}", "shape")
    bias: Any = model.item_bias
    if bias is not None and (not isinstance(bias, Tensor) or list(bias.shape) != [NUM_ITEMS + 1]):
        raise Unusable(f"item_bias is {_shown(bias)}, not [{NUM_ITEMS + 1}]", "shape")
    return vectors, bias


def _shown(found: Any) -> str:
    return str(list(found.shape)) if isinstance(found, Tensor) else type(found).__name__
