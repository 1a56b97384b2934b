"""Two layouts of a batch: padded rectangles, as operators see it, and packed rows, as the trunk computes it.

Padded: [B, T] slots, a history at the right end (the last item in the last slot).
Packed: the N real items only, one history after another, nothing computed for padding.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class SequenceContext:
    """What an operator may know of a padded batch.

    Attributes:
        lengths: int64 [B], real items of each row, at the right end; 0 for a row without any.
        width: T, the number of columns.
        offset: slot of the first column: ``max_len - T`` when left padding has been trimmed to T columns.
        timestamps: float64 [B, T], 0 at padding, or None where the data has none.
    """

    lengths: Tensor
    width: int
    offset: int = 0
    timestamps: Tensor | None = None

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
    """

    rows: slice
    ctx: SequenceContext

    @cached_property
    def within(self) -> Tensor:
        """Place of each packed row in its history, counted from 0, int64 [N]."""
        lengths = self.ctx.lengths
        starts = torch.cumsum(lengths, 0) - lengths
        count = self.rows.stop - self.rows.start
        places = torch.arange(count, device=lengths.device)
        return places - torch.repeat_interleave(starts, lengths, output_size=count)

    @cached_property
    def history(self) -> Tensor:
        """History number of each packed row within the group, int64 [N]."""
        lengths = self.ctx.lengths
        numbers = torch.arange(len(lengths), device=lengths.device)
        return torch.repeat_interleave(numbers, lengths, output_size=self.rows.stop - self.rows.start)

    @cached_property
    def cells(self) -> Tensor:
        """Cell of each packed row in the flattened rectangle [B * T], history at the right end, int64 [N]."""
        return self.start_cells + (self.ctx.width - self.ctx.lengths)[self.history]

    @cached_property
    def start_cells(self) -> Tensor:
        """As `cells`, with each history at the left end (padding on the right)."""
        return self.history * self.ctx.width + self.within


@dataclass(frozen=True, eq=False)
class Packing:
    """Layout of a packed batch.

    Attributes:
        groups: the batch in order, cut into groups of similar length.
        slots: int64 [N], slot of each row, counted so that the last item of a history is in ``max_len - 1``.
    """

    groups: tuple[Group, ...]
    slots: Tensor


def make_packing(lengths: Tensor, max_len: int, groups: int = 1, timestamps: Tensor | None = None) -> Packing:
    """Lay out a batch of histories.

    Args:
        lengths: int64 [B], each 1..max_len, ascending where ``groups`` is to save anything.
        max_len: slots of the model.
        groups: how many rectangles the batch is cut into, of about equal numbers of histories.
        timestamps: float64 [N] or None.
    """
    host = lengths.tolist()
    size = -(-len(host) // max(1, min(groups, len(host))))
    parts = []
    end = 0
    for low in range(0, len(host), size):
        chosen = host[low : low + size]
        start, end = end, end + sum(chosen)
        width = max(chosen)
        ctx = SequenceContext(lengths[low : low + size], width, max_len - width)
        group = Group(slice(start, end), ctx)
        if timestamps is not None:
            times = pad(timestamps[start:end, None, None], group)[:, 0, :, 0]
            ctx = SequenceContext(ctx.lengths, width, ctx.offset, times)
            group = Group(group.rows, ctx)
        parts.append(group)
    slots = torch.cat([g.within + (max_len - g.ctx.lengths)[g.history] for g in parts])
    return Packing(tuple(parts), slots)


def pad(x: Tensor, group: Group, *, start: bool = False) -> Tensor:
    """Packed [N, H, D] to padded [B, H, T, D], zeros at padding; histories at the left end if ``start``."""
    cells = group.start_cells if start else group.cells
    batch, width = len(group.ctx.lengths), group.ctx.width
    if len(x) == batch * width:  # no padding: the layouts coincide
        flat = x
    else:
        flat = x.new_zeros(batch * width, *x.shape[1:]).index_copy(0, cells, x)
    return flat.view(batch, width, *x.shape[1:]).transpose(1, 2)


def pack(x: Tensor, group: Group, *, start: bool = False) -> Tensor:
    """Padded [B, H, T, D] to packed [N, H, D], the inverse of `pad`."""
    flat = x.transpose(1, 2).flatten(0, 1)
    if len(flat) == group.rows.stop - group.rows.start:
        return flat
    return flat.index_select(0, group.start_cells if start else group.cells)
