"""The cases that operators are tried on, smallest first, and the tensors of a case."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from attnrec.attention import Packing, SequenceContext
from attnrec.attention.packing import make_packing

MAX_LEN = 12
"""Slots of the operators under test, but for the long case."""


class Layout(NamedTuple):
    """How many items each sequence has, and in how many slots they stand."""

    lengths: tuple[int, ...]
    width: int


UNPADDED = (Layout((2,), 2), Layout((3,), 3), Layout((5, 5), 5))
PADDED = (Layout((1,), 2), Layout((2,), 3), Layout((1, 3), 4), Layout((2, 4, 7), 8))
EMPTY = (Layout((0,), 1), Layout((0,), 3), Layout((0, 1, 3), 4))
LONG = Layout((33, 70), 72)
"""More than one tile of a blocked kernel."""


@dataclass(frozen=True)
class Case:
    """A batch's shape in words that can be reported."""

    lengths: tuple[int, ...]
    width: int
    heads: int
    dim: int
    max_len: int = MAX_LEN
    value_dim: int = 0
    timestamps: bool = False

    def __str__(self) -> str:
        count = len(self.lengths)
        items = sorted(set(self.lengths))
        numbers = " and ".join(map(str, items)) if len(items) < 3 else f"{items[0]} to {items[-1]}"
        words = f"{_count(count, 'sequence')} of {numbers} item{'' if items == [1] else 's'}"
        if items != [self.width]:
            words += f" in {_count(self.width, 'slot')}"
        words += f", {_count(self.heads, 'head')}, width {self.dim}"
        if self.value_dim:
            words += f", values of width {self.value_dim}"
        return words + (", with timestamps" if self.timestamps else "")

    def output(self, row: int, slot: int) -> str:
        """How an output is called: by its item's place in the history, counted from 1."""
        return f"output {self.item(row, slot)}" + (f" of sequence {row + 1}" if len(self.lengths) > 1 else "")

    def item(self, row: int, slot: int) -> int:
        """Place of a slot's item in its history, counted from 1."""
        return slot - (self.width - self.lengths[row]) + 1


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


@dataclass(frozen=True)
class Batch:
    """Queries, keys and values [B, H, T, D], zero at padding unless filled, and their context."""

    q: Tensor
    k: Tensor
    v: Tensor
    ctx: SequenceContext

    @property
    def inputs(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.q, self.k, self.v

    @property
    def real(self) -> Tensor:
        """bool [B, 1, T, 1], True where a slot holds an item."""
        return self.ctx.real()[:, None, :, None]

    def mapped(self, change: Callable[[Tensor], Tensor], **ctx: Any) -> Batch:
        """``change`` applied to queries, keys and values, and fields of the context replaced."""
        return Batch(change(self.q), change(self.k), change(self.v), replace(self.ctx, **ctx))

    def where(self, condition: Tensor, other: Batch) -> Batch:
        """The batch with ``other``'s queries, keys and values where ``condition`` [B, 1, T, 1] is True."""
        q, k, v = (torch.where(condition, y, x) for x, y in zip(self.inputs, other.inputs, strict=True))
        return Batch(q, k, v, self.ctx)

    def scaled(self, factor: float) -> Batch:
        return self.mapped(lambda x: x * factor)

    def rows(self, index: Tensor) -> Batch:
        """The sequences at ``index``, int64."""
        times = self.ctx.timestamps
        return self.mapped(
            lambda x: x[index],
            lengths=self.ctx.lengths[index],
            timestamps=None if times is None else times[index],
        )

    def trimmed(self, width: int) -> Batch:
        """The last ``width`` columns."""
        times = self.ctx.timestamps
        return self.mapped(
            lambda x: x[:, :, -width:],
            width=width,
            offset=self.ctx.offset + self.ctx.width - width,
            timestamps=None if times is None else times[:, -width:],
        )

    def packed(self, max_len: int, groups: int = 1) -> tuple[Tensor, Packing]:
        """Queries, keys and values of the items alone, [N, 3, H, D], and their layout."""
        real = self.ctx.real()
        times = None if self.ctx.timestamps is None else self.ctx.timestamps[real]
        together = torch.stack([x.transpose(1, 2)[real] for x in self.inputs], dim=1)
        lengths = self.ctx.lengths.cpu().numpy()
        return together, make_packing(lengths, max_len, groups, times, device=real.device)

    def to(self, dtype: torch.dtype, device: torch.device) -> Batch:
        """Queries, keys and values in another precision; everything on ``device``."""
        times = self.ctx.timestamps
        return self.mapped(
            lambda x: x.to(dtype=dtype, device=device),
            lengths=self.ctx.lengths.to(device),
            timestamps=None if times is None else times.to(device),
        )


def make_batch(case: Case, seed: int = 0, *, filled: bool = False) -> Batch:
    """Standard normal inputs in float64 on the CPU; padding is zero, or normal too where ``filled``."""
    generator = torch.Generator().manual_seed(seed)
    widths = (case.dim, case.dim, case.value_dim or case.dim)
    shape = (len(case.lengths), case.heads, case.width)
    q, k, v = (torch.randn(*shape, width, generator=generator, dtype=torch.float64) for width in widths)
    lengths = torch.tensor(case.lengths)
    ctx = SequenceContext(lengths, case.width, case.max_len - case.width)
    if case.timestamps:
        # hours, with ties
        steps = torch.randint(0, 4, (len(case.lengths), case.width), generator=generator).double() * 3600
        ctx = replace(ctx, timestamps=(1.5e9 + steps.cumsum(1)).masked_fill(~ctx.real(), 0.0))
    batch = Batch(q, k, v, ctx)
    return batch if filled else batch.where(~batch.real, batch.scaled(0.0))
