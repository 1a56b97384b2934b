"""The tensors of a case: the inputs of a component, as padded rectangles with histories at the right end.

The rows of mixers and models are packed from them, so all kinds share the same ways to change a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from attnrec.attention import Packing, SequenceContext
from attnrec.attention.packing import make_packing
from attnrec.contract.cases import Case
from attnrec.data.catalogue import ItemFeatures

NUM_ITEMS = 30
"""Items of the catalogue; no other size in a case is 31, so tables with 31 rows are tables of items."""
NUM_USERS = 8
FEATURES = ItemFeatures.of(
    {
        "category": [(f"category {item % 5}",) for item in range(NUM_ITEMS)],
        "tags": [("new", "sold out")[: item % 3] for item in range(NUM_ITEMS)],
    }
)
"""A feature with one value per item, and one with none to two."""
INPUTS = "inputs"
"""The sub-layer's input, for operators that ask for it; always zero at padding, unlike queries, keys and values."""


@dataclass(frozen=True)
class Batch:
    """The inputs of a component.

    Attributes:
        floats: tensors [B, H, T, D] by name, zero at padding unless filled: q, k, v (and inputs) for an operator, x
            (and source) for a mixer, none for a model.
        ctx: lengths, slots, timestamps, item numbers and features.
        counts: the lengths on the host, int64 [B].
        users, targets: only for a model, int64 [B, T].
    """

    floats: Mapping[str, Tensor]
    ctx: SequenceContext
    counts: npt.NDArray[np.int64]
    users: Tensor | None = None
    targets: Tensor | None = None

    @property
    def slots(self) -> Tensor:
        """bool [B, T], True where a slot holds an item."""
        return self.ctx.real()

    @property
    def real(self) -> Tensor:
        """The same as [B, 1, T, 1]."""
        return self.slots[:, None, :, None]

    @property
    def context(self) -> SequenceContext:
        """The operator's context, with the sub-layer's input if the batch has one."""
        return replace(self.ctx, inputs=self.floats[INPUTS][:, 0]) if INPUTS in self.floats else self.ctx

    # -- changed ---------------------------------------------------------------------------------------

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """``change`` applied to the floats."""
        return replace(self, floats={name: change(x) for name, x in self.floats.items()})

    def with_floats(self, **floats: Tensor) -> Batch:
        """Some of the floats replaced."""
        return replace(self, floats={**self.floats, **floats})

    def where(self, slots: Tensor, other: Batch) -> Batch:
        """The batch with ``other``'s floats, items and features where ``slots`` [B or 1, T] is True."""

        def chosen(ours: Tensor, theirs: Tensor) -> Tensor:
            return torch.where(slots.view(*slots.shape, *[1] * (ours.ndim - 2)), theirs, ours)

        ctx = self.ctx
        if ctx.items is not None and other.ctx.items is not None:
            ctx = replace(ctx, items=chosen(ctx.items, other.ctx.items))
        if ctx.features is not None and other.ctx.features is not None:
            ctx = replace(ctx, features={name: chosen(x, other.ctx.features[name]) for name, x in ctx.features.items()})
        floats = {name: torch.where(slots[:, None, :, None], other.floats[name], x) for name, x in self.floats.items()}
        return replace(self, floats=floats, ctx=ctx)

    def scaled(self, factor: float) -> Batch:
        return self.mapped(lambda x: x * factor)

    def rows(self, index: Tensor) -> Batch:
        """The sequences at ``index``, int64."""
        picked = self._everywhere(lambda x: x[index], lambda x: x[index], lengths=self.ctx.lengths[index])
        return replace(picked, counts=self.counts[index.cpu().numpy()])

    def trimmed(self, width: int) -> Batch:
        """The last ``width`` columns; longer histories lose their first items."""
        trimmed = self._everywhere(
            lambda x: x[:, :, -width:],
            lambda x: x[:, -width:],
            lengths=self.ctx.lengths.clamp(max=width),
            width=width,
            offset=self.ctx.offset + self.ctx.width - width,
        )
        return replace(trimmed, counts=np.minimum(self.counts, width))

    def to(self, dtype: torch.dtype, device: torch.device) -> Batch:
        """The floats in another precision; everything on ``device``."""
        lengths = self.ctx.lengths.to(device)
        return self._everywhere(lambda x: x.to(dtype=dtype, device=device), lambda x: x.to(device), lengths=lengths)

    def _everywhere(
        self, of_floats: Callable[[Tensor], Tensor], of_slots: Callable[[Tensor], Tensor], **ctx: Any
    ) -> Batch:
        """Apply one change to the floats [B, H, T, D], another to all else [B, T, ...], and replace context fields."""

        def changed(x: Tensor | None) -> Tensor | None:
            return None if x is None else of_slots(x)

        features = self.ctx.features
        features = None if features is None else {name: of_slots(x) for name, x in features.items()}
        told: dict[str, Any] = {"timestamps": changed(self.ctx.timestamps), "items": changed(self.ctx.items)}
        return replace(
            self.mapped(of_floats),
            ctx=replace(self.ctx, features=features, **told, **ctx),
            users=changed(self.users),
            targets=changed(self.targets),
        )

    # -- packed ----------------------------------------------------------------------------------------

    def cells(self, device: torch.device) -> Tensor:
        """int64 [N], the cell of each item in the flattened rectangle; computed on the host, without a device sync."""
        real = np.arange(self.ctx.width) >= self.ctx.width - self.counts[:, None]
        return torch.from_numpy(np.flatnonzero(real)).to(device)

    def packed(self, x: Tensor) -> Tensor:
        """Turn [B, T, ...] into the rows of items [N, ...]."""
        return x.flatten(0, 1).index_select(0, self.cells(x.device))

    def padded(self, rows: Tensor) -> Tensor:
        """Turn rows of items [N, D] into [B, 1, T, D], zero at padding."""
        flat = rows.new_zeros(len(self.counts) * self.ctx.width, rows.shape[-1])
        filled = flat.index_copy(0, self.cells(rows.device), rows)
        return filled.view(len(self.counts), 1, self.ctx.width, rows.shape[-1])

    def packing(self, max_len: int, groups: int = 1) -> Packing:
        """The layout of the packed rows, with items and features if the batch has them."""
        ctx = self.ctx
        times = None if ctx.timestamps is None else self.packed(ctx.timestamps)
        packing = make_packing(self.counts, max_len, groups, times, device=ctx.lengths.device)
        return replace(
            packing,
            items=None if ctx.items is None else self.packed(ctx.items),
            features=None if ctx.features is None else {name: self.packed(own) for name, own in ctx.features.items()},
        )


def make_batch(
    case: Case,
    floats: Mapping[str, tuple[int, int]],
    told: Collection[str] = (),
    seed: int = 0,
    *,
    filled: bool = False,
) -> Batch:
    """Standard normal floats in float64 on the CPU; padding is zero, or also normal if ``filled``.

    Args:
        case: the shape.
        floats: heads and width of each float tensor by name.
        told: what else the batch has: ``items``, ``features``, ``users`` (with targets).
        seed: seed of all random numbers.
        filled: whether padding holds values, except in inputs that are always zero there.
    """
    generator = torch.Generator().manual_seed(seed)
    count, width = len(case.lengths), case.width
    drawn = {
        name: torch.randn(count, heads, width, size, generator=generator, dtype=torch.float64)
        for name, (heads, size) in floats.items()
    }
    ctx = SequenceContext(torch.tensor(case.lengths), width, case.max_len - width)
    real = ctx.real()
    if case.timestamps:
        # hours, with ties
        steps = torch.randint(0, 4, (count, width), generator=generator).double() * 3600
        ctx = replace(ctx, timestamps=(1.5e9 + steps.cumsum(1)).masked_fill(~real, 0.0))
    items = torch.randint(1, NUM_ITEMS + 1, (count, width), generator=generator).masked_fill(~real, 0)
    if "items" in told:
        ctx = replace(ctx, items=items)
    if "features" in told:
        ctx = replace(ctx, features={name: torch.from_numpy(own)[items] for name, own in FEATURES.numbers.items()})
    kept = {name: x if filled and name != INPUTS else x * real[:, None, :, None] for name, x in drawn.items()}
    batch = Batch(kept, ctx, np.array(case.lengths))
    if "users" not in told:
        return batch
    users = torch.arange(count)[:, None].expand(count, width) % NUM_USERS
    last = torch.randint(1, NUM_ITEMS + 1, (count, 1), generator=generator)
    return replace(batch, users=users.contiguous(), targets=torch.cat([items[:, 1:], last], 1))
