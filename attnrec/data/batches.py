"""Batches of histories without padding: the real items of all users of a batch, one after another.

A history of L items takes L rows, however long others in the batch are. Padding appears only inside an attention
operator that needs a rectangle (`attnrec.attention.packing`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from attnrec.data.interactions import DataError, Interactions
from attnrec.data.splits import Split


@dataclass(frozen=True, eq=False)
class SequenceBatch:
    """B histories with N items in total, ordered by length within the batch (shortest first).

    Attributes:
        items: int64 [N], the input items of the histories one after another, oldest first.
        lengths: int64 [B], always on the CPU; all at least 1, their sum is N.
        users: int64 [N], the user of each row.
        targets: int64 [N], the item that follows each input item; None outside training.
        timestamps: float64 [N] or None.
    """

    items: Tensor
    lengths: npt.NDArray[np.int64]
    users: Tensor
    targets: Tensor | None = None
    timestamps: Tensor | None = None

    @property
    def last_rows(self) -> Tensor:
        """The row of the last item of each history, int64 [B]."""
        return torch.from_numpy(np.cumsum(self.lengths) - 1).to(self.items.device)

    def rectangle(self, rows: Tensor) -> Tensor:
        """Rows [N, d] as [B, T, d], each history at the left end, then zeros; T is the longest history."""
        width = int(self.lengths.max())
        padded = rows.new_zeros(len(self.lengths) * width, rows.shape[1])
        return padded.index_copy(0, self._cells(width), rows).view(-1, width, rows.shape[1])

    def rows(self, rectangle: Tensor) -> Tensor:
        """The inverse of `rectangle`: [B, T, d] as [N, d]."""
        return rectangle.flatten(0, 1).index_select(0, self._cells(rectangle.shape[1]))

    def _cells(self, width: int) -> Tensor:
        """The cell of each row in a rectangle of ``width`` columns, int64 [N]."""
        cells = ragged_arange(np.arange(len(self.lengths)) * width, self.lengths)
        return torch.from_numpy(cells).to(self.items.device)

    def of_user(self, user: int) -> SequenceBatch:
        """The same batch with ``user`` as the user of every history."""
        return replace(self, users=torch.full_like(self.users, user))

    def to(self, device: torch.device) -> SequenceBatch:
        """The same batch on another device."""

        def move(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(device, non_blocking=True)

        return SequenceBatch(
            self.items.to(device, non_blocking=True),
            self.lengths,
            self.users.to(device, non_blocking=True),
            move(self.targets),
            move(self.timestamps),
        )


def ragged_arange(starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """``concatenate([arange(s, s + l) for s, l in zip(starts, lengths)])`` without the loop, int64 [sum(lengths)]."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - ends + lengths, lengths)


class TrainingBatches:
    """Batches of one data set for training: every user with a target exactly once per epoch.

    The order depends only on ``(seed, epoch)``, so that an epoch can be repeated or resumed, and two variants see the
    same batches.

    Args:
        split: the split.
        max_len: the number of a user's most recent input items that are used.
        batch_size: users in a batch (the last batch of an epoch may be smaller).
        seed: makes the order reproducible.
    """

    def __init__(self, split: Split, max_len: int, batch_size: int, seed: int) -> None:
        self.data = split.data
        self.batch_size = batch_size
        self.seed = seed
        self.users = np.flatnonzero(split.train_lengths >= 2)
        train_lengths = split.train_lengths[self.users]
        self.lengths = np.minimum(train_lengths - 1, max_len)
        self.starts = self.data.offsets[self.users] + train_lengths - 1 - self.lengths

    def __len__(self) -> int:
        return -(-len(self.users) // self.batch_size)

    @property
    def positions(self) -> int:
        """Predicted positions in an epoch."""
        return int(self.lengths.sum())

    def epoch(self, epoch: int, first: int = 0) -> Iterator[SequenceBatch]:
        """Batches of epoch number ``epoch``, from batch number ``first`` on."""
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.users))
        batch_of = np.arange(len(order)) // self.batch_size
        order = order[np.lexsort((self.lengths[order], batch_of))]
        lengths = self.lengths[order]
        rows = ragged_arange(self.starts[order], lengths)
        items = torch.from_numpy(self.data.items[rows].astype(np.int64))
        targets = torch.from_numpy(self.data.items[rows + 1].astype(np.int64))
        times = None if self.data.timestamps is None else torch.from_numpy(self.data.timestamps[rows])
        users = torch.from_numpy(np.repeat(self.users[order], lengths))
        row_ends = np.concatenate([[0], np.cumsum(lengths)])
        for number in range(first, len(self)):
            low = number * self.batch_size
            high = min(low + self.batch_size, len(order))
            part = slice(int(row_ends[low]), int(row_ends[high]))
            yield SequenceBatch(
                items[part],
                lengths[low:high],
                users[part],
                targets[part],
                None if times is None else times[part],
            )


def evaluation_batches(
    split: Split, part: str, max_len: int, batch_size: int
) -> Iterator[tuple[npt.NDArray[np.int64], SequenceBatch]]:
    """The histories of all users of a part, shortest first, so that batches need little padding.

    Yields:
        the positions of the batch's users in ``split.users(part)``, int64 [B], and the batch.
    """
    whole = split.history_lengths(part)
    lengths = np.minimum(whole, max_len)
    users = split.users(part)
    starts = split.data.offsets[users] + whole - lengths
    order = np.argsort(lengths, kind="stable")
    for low in range(0, len(order), batch_size):
        places = order[low : low + batch_size]
        yield places, _gather(split.data, users[places], starts[places], lengths[places])


def _gather(
    data: Interactions,
    users: npt.NDArray[np.int64],
    starts: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.int64],
) -> SequenceBatch:
    rows = ragged_arange(starts, lengths)
    return SequenceBatch(
        torch.from_numpy(data.items[rows].astype(np.int64)),
        lengths,
        torch.from_numpy(np.repeat(users, lengths)),
        timestamps=None if data.timestamps is None else torch.from_numpy(data.timestamps[rows]),
    )


def batch_from_histories(
    histories: list[list[int]], max_len: int, timestamps: list[list[float]] | None = None
) -> SequenceBatch:
    """A batch of the given histories of item numbers, in the given order; users are numbered 0, 1, ...

    Args:
        histories: the items of each history, oldest first; the last ``max_len`` are used.
        max_len: slots of the model.
        timestamps: one for each item, or None.

    Raises DataError for an empty history, and unless there is one finite timestamp for each item, in order.
    """
    if any(not history for history in histories):
        raise DataError("a history needs at least one item")
    if timestamps is not None:
        _check_timestamps(histories, timestamps)
    kept = [history[-max_len:] for history in histories]
    lengths = np.array([len(history) for history in kept])
    return SequenceBatch(
        torch.tensor([item for history in kept for item in history]),
        lengths,
        torch.from_numpy(np.repeat(np.arange(len(kept)), lengths)),
        timestamps=None
        if timestamps is None
        else torch.tensor([time for times in timestamps for time in times[-max_len:]], dtype=torch.float64),
    )


def _check_timestamps(histories: list[list[int]], timestamps: list[list[float]]) -> None:
    for history, times in zip(histories, timestamps, strict=True):
        if len(times) != len(history):
            raise DataError(f"a history of {len(history)} items needs {len(history)} timestamps, not {len(times)}")
        if not np.isfinite(times).all():
            raise DataError("timestamps must be finite numbers")
        if (np.diff(times) < 0).any():
            raise DataError("timestamps must not decrease: give a history oldest first")
