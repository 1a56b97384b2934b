"""The cases that components are checked on, smallest first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

MAX_LEN = 12
"""Slots of the components under test, except in the long case."""


class Layout(NamedTuple):
    """How many items each sequence has, and how many slots the batch has."""

    lengths: tuple[int, ...]
    width: int


UNPADDED = (Layout((2,), 2), Layout((3,), 3), Layout((5, 5), 5))
PADDED = (Layout((1,), 2), Layout((2,), 3), Layout((1, 3), 4), Layout((2, 4, 7), 8))
EMPTY = (Layout((0,), 1), Layout((0,), 3), Layout((0, 1, 3), 4))
LONG = Layout((33, 70), 72)
"""More than one tile of a blocked kernel."""


def without_padding(layouts: Iterable[Layout]) -> list[Layout]:
    """The layouts for packed rows: no empty histories, no slot before the longest history, no duplicates."""
    kept = [tuple(length for length in lengths if length) for lengths, _ in layouts]
    return list(dict.fromkeys(Layout(lengths, max(lengths)) for lengths in kept if lengths))


@dataclass(frozen=True)
class Case:
    """A batch's shape; ``str`` describes it for the report.

    Attributes:
        lengths: items of each sequence.
        width: T, the number of slots.
        heads, dim: H and the width of a head.
        max_len: slots that the component is built for.
        value_dim: width of the values, if it is not ``dim``.
        timestamps: whether there are timestamps.
        packed: whether the component gets rows without padding, as wide as all heads together.
        apart: whether a mixer's ``source`` differs from its ``x``.
    """

    lengths: tuple[int, ...]
    width: int
    heads: int
    dim: int
    max_len: int = MAX_LEN
    value_dim: int = 0
    timestamps: bool = False
    packed: bool = False
    apart: bool = False

    def __str__(self) -> str:
        count = len(self.lengths)
        items = sorted(set(self.lengths))
        numbers = " and ".join(map(str, items)) if len(items) < 3 else f"{items[0]} to {items[-1]}"
        words = f"{_count(count, 'sequence')} of {numbers} item{'' if items == [1] else 's'}"
        if items != [self.width] and not self.packed:
            words += f" in {_count(self.width, 'slot')}"
        words += f", {_count(self.heads, 'head')}, width {self.heads * self.dim if self.packed else self.dim}"
        if self.value_dim:
            words += f", values of width {self.value_dim}"
        if self.apart:
            words += ", source unlike x"
        return words + (", with timestamps" if self.timestamps else "")

    def output(self, row: int, slot: int) -> str:
        """The name of an output in messages: its item's place in the history, counted from 1."""
        return f"output {self.item(row, slot)}" + (f" of sequence {row + 1}" if len(self.lengths) > 1 else "")

    def item(self, row: int, slot: int) -> int:
        """Place of a slot's item in its history, counted from 1."""
        return slot - (self.width - self.lengths[row]) + 1


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
