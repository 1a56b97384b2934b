"""Two layouts of a batch: padded rectangles for operators, and packed rows for the trunk.

Padded: [B, T] slots, each history at the right end (the last item in the last slot).
Packed: only the N real items, one history after another, so nothing is computed for padding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from attnrec.attention.component import Sublayer


@dataclass(frozen=True, eq=False)
class SequenceContext:
    """What an operator may know about a padded batch.

    Attributes:
        lengths: int64 [B], number of real items in each row, which are at the right end; 0 for a row without any.
        width: T, the number of columns.
        offset: slot of the first column: ``max_len - T`` when left padding has been trimmed to T columns.
        timestamps: float64 [B, T], 0 at padding, or None if the data has none.
        inputs: [B, T, d], the sub-layer's input, 0 at padding; None unless the operator ``needs_inputs``.
        items: int64 [B, T], item numbers, 0 at padding; None unless it ``needs_items``.
        features: int64 [B, T, K] by name, the numbers of the items' values, 0 where an item has fewer than K, and at
            padding; None unless it ``needs_features``.
    """

    lengths: Tensor
    width: int
    offset: int = 0
    timestamps: Tensor | None = None
    inputs: Tensor | None = None
    items: Tensor | None = None
    features: Mapping[str, Tensor] | None = None

    def real(self) -> Tensor:
        """bool [B, T], True where a slot holds an item."""
        columns = torch.arange(self.width, device=self.lengths.device)
        return columns >= self.width - self.lengths[:, None]

    def mask(self) -> Tensor:
        """bool [B, 1, T, T], True where a query (row) may attend to a key (column): causal, real on both sides."""
        columns = torch.arange(self.width, device=self.lengths.device)
        real = self.real()[:, None]
        return (columns <= columns[:, None]) & real[..., None, :] & real[..., None]


@dataclass(frozen=True, eq=False)
class Group:
    """Consecutive histories of a packed batch that share one padded rectangle.

    Attributes:
        rows: the group's rows in the packed batch.
        ctx: lengths, width and slots of its rectangle.
        cells: int64 [N], cell of each packed row in the flattened rectangle [B * T], histories at the right end.
        start_cells: the same with histories at the left end (padding on the right).
    """

    rows: slice
    ctx: SequenceContext
    cells: Tensor
    start_cells: Tensor

    @property
    def full(self) -> bool:
        """Whether the rectangle has no padding, so both layouts are the same."""
        return len(self.cells) == len(self.ctx.lengths) * self.ctx.width


@dataclass(frozen=True, eq=False)
class Packing:
    """Layout of a packed batch.

    Attributes:
        groups: the batch in order, cut into groups of similar length.
        slots: int64 [N], slot of each row, counted so that the last item of a history is in ``max_len - 1``.
        items: int64 [N], item numbers; None if the caller gave none.
        features: int64 [N, K] by name, the numbers of the items' values, 0 where an item has fewer than K; None unless
            a component asks for them.
        inputs: [N, d], the sub-layer's input; None unless an operator asks for it.
    """

    groups: tuple[Group, ...]
    slots: Tensor
    items: Tensor | None = None
    features: Mapping[str, Tensor] | None = None
    inputs: Tensor | None = None

    def seen_by(self, part: Sublayer, inputs: Tensor) -> Packing:
        """A copy whose groups also hold what ``part`` asks for; ``inputs`` [N, d] are those of its sub-layer."""
        if not (part.needs_inputs or part.needs_items or part.needs_features):
            return self
        groups = tuple(replace(group, ctx=self._asked_for(part, group, inputs)) for group in self.groups)
        return replace(self, groups=groups, inputs=inputs if part.needs_inputs else None)

    def _asked_for(self, part: Sublayer, group: Group, inputs: Tensor) -> SequenceContext:
        ctx = group.ctx
        if part.needs_inputs:
            ctx = replace(ctx, inputs=_padded(inputs, group))
        if part.needs_items and self.items is not None:
            ctx = replace(ctx, items=_padded(self.items, group))
        if part.needs_features and self.features is not None:
            ctx = replace(ctx, features={name: _padded(own, group) for name, own in self.features.items()})
        return ctx


def make_packing(
    lengths: npt.NDArray[np.int64],
    max_len: int,
    groups: int = 1,
    timestamps: Tensor | None = None,
    device: torch.device | str = "cpu",
) -> Packing:
    """Lay out a batch of histories.

    All positions are computed on the host and moved once, so nothing waits for the GPU.

    Args:
        lengths: int64 [B], each 1..max_len; in ascending order, or ``groups`` saves nothing.
        max_len: slots of the model.
        groups: the most rectangles the batch is cut into, each with half of the remaining histories.
        timestamps: float64 [N] or None.
        device: where the returned tensors are.
    """
    count = len(lengths)
    # each cut takes half of the rest: most histories are short, and the few long ones cost the most
    firsts = np.unique([count - (count >> number) for number in range(groups)])
    firsts = firsts[firsts < count]
    sizes = np.diff(firsts, append=count)
    widths = np.maximum.reduceat(lengths, firsts)
    ends = np.cumsum(lengths)
    history = np.repeat(np.arange(count), lengths)
    within = np.arange(ends[-1]) - (ends - lengths)[history]
    width = np.repeat(widths, sizes)
    start_cells = ((np.arange(count) - np.repeat(firsts, sizes)) * width)[history] + within
    padding = (width - lengths)[history]
    slots = max_len - lengths[history] + within
    moved = torch.from_numpy(np.stack([slots, start_cells, start_cells + padding])).to(device, non_blocking=True)
    all_lengths = torch.from_numpy(lengths).to(device, non_blocking=True)
    parts = []
    row = 0
    for first, size, widest in zip(firsts.tolist(), sizes.tolist(), widths.tolist(), strict=True):
        rows = slice(row, row := int(ends[first + size - 1]))
        ctx = SequenceContext(all_lengths[first : first + size], widest, max_len - widest)
        group = Group(rows, ctx, cells=moved[2, rows], start_cells=moved[1, rows])
        if timestamps is not None:
            group = replace(group, ctx=replace(ctx, timestamps=_padded(timestamps, group)))
        parts.append(group)
    return Packing(tuple(parts), moved[0])


def _padded(x: Tensor, group: Group) -> Tensor:
    """Turn packed [N] or [N, D] into padded [B, T] or [B, T, D], zero at padding."""
    rows = x[group.rows]
    padded = pad(rows.reshape(len(rows), 1, -1), group)[:, 0]
    return padded if x.ndim > 1 else padded[..., 0]


class _Pad(torch.autograd.Function):
    """Rows [N, ..., D] to cells [cells, ..., W >= D], zero in unused cells; its transpose is `_Pack`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, places: Tensor, cells: int, width: int) -> Tensor:
        ctx.save_for_backward(places)
        ctx.dim = x.shape[-1]
        padded = x.new_zeros(cells, *x.shape[1:-1], width)
        padded[..., : ctx.dim].index_copy_(0, places, x)
        return padded

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None, None]:
        (places,) = ctx.saved_tensors
        return _Pack.apply(grad_outputs[0], places, ctx.dim), None, None, None


class _Pack(torch.autograd.Function):
    """Cells to rows, first D columns only.

    No cell is taken twice, so the backward pass copies where that of torch's index_select would accumulate.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, places: Tensor, dim: int) -> Tensor:
        ctx.save_for_backward(places)
        ctx.cells, ctx.width = len(x), x.shape[-1]
        return x.index_select(0, places) if dim == ctx.width else x[..., :dim][places]

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        (places,) = ctx.saved_tensors
        return _Pad.apply(grad_outputs[0], places, ctx.cells, ctx.width), None, None


def pad(x: Tensor, group: Group, *, start: bool = False, width: int | None = None) -> Tensor:
    """Turn packed [N, H, D] into padded [B, H, T, D], zeros at padding; histories at the left end if ``start``.

    With ``width``, columns of zeros are appended up to it.
    """
    width = width or x.shape[-1]
    batch, slots = len(group.ctx.lengths), group.ctx.width
    places = group.start_cells if start else group.cells
    if group.full:
        flat = x if width == x.shape[-1] else F.pad(x, (0, width - x.shape[-1]))
    else:
        flat = _Pad.apply(x, places, batch * slots, width)
    return flat.view(batch, slots, *flat.shape[1:]).transpose(1, 2)


def pack(x: Tensor, group: Group, *, start: bool = False) -> Tensor:
    """Turn padded [B, H, T, D] into packed [N, H, D], the inverse of `pad`."""
    flat = x.transpose(1, 2).flatten(0, 1)
    return flat if group.full else _Pack.apply(flat, group.start_cells if start else group.cells, flat.shape[-1])


def mix_at_start(mix: Callable[..., Tensor], inputs: tuple[Tensor, ...], ctx: SequenceContext) -> Tensor:
    """Apply a plain causal computation to padded inputs, with every history moved to the left end and back.

    At the left end, only real slots come before a real slot, so ``mix`` needs no mask but the causal one.

    Args:
        mix: maps tensors [B, H, T, *] to [B, H, T, Dv]; slot t of its result may only depend on slots up to t.
        inputs: tensors [B, H, T, *], histories at the right end.
        ctx: which slots are real.

    Returns:
        [B, H, T, Dv], histories at the right end, zero at padding.
    """
    columns = torch.arange(ctx.width, device=ctx.lengths.device)
    padding = (ctx.width - ctx.lengths)[:, None]
    to_start = (columns + padding) % ctx.width
    to_end = (columns - padding) % ctx.width
    mixed = mix(*(_Rotate.apply(x, to_start, to_end) for x in inputs))
    return _Rotate.apply(mixed, to_end, to_start).masked_fill(~ctx.real()[:, None, :, None], 0.0)


def mix_packed_at_start(
    mix: Callable[..., Tensor], inputs: tuple[Tensor, ...], packing: Packing, width: int | None = None
) -> Tensor:
    """`mix_at_start` for packed inputs [N, H, *]; the result is packed too, [N, H, Dv].

    With ``width``, ``mix`` gets the inputs with columns of zeros appended up to it.
    """
    mixed = []
    for group in packing.groups:
        padded = [pad(x[group.rows], group, start=True, width=width) for x in inputs]
        mixed.append(pack(mix(*padded), group, start=True))
    return mixed[0] if len(mixed) == 1 else torch.cat(mixed)


class _Rotate(torch.autograd.Function):
    """Permute the slots of ``x`` [B, H, T, D] in each row by ``index`` int64 [B, T], whose inverse is ``back``.

    torch's gather would keep ``x`` for the backward pass, and accumulate the gradient although no slot is taken
    twice.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, index: Tensor, back: Tensor) -> Tensor:
        ctx.save_for_backward(index, back)
        return x.gather(2, index[:, None, :, None].expand_as(x))

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        index, back = ctx.saved_tensors
        return _Rotate.apply(grad_outputs[0], back, index), None, None
