"""Interaction data in memory: every user's history as one slice of a flat array."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from attnrec.core.errors import InputError
from attnrec.data.reading.form import Reading

ALL_PARTS = ("train", "valid", "test")
CATEGORY_SEPARATOR = "|"


class DataError(InputError):
    """Input that cannot be used as given; its message is one line meant for the user."""


@dataclass(frozen=True, eq=False)
class Interactions:
    """Histories of all users in time order, stored as compressed rows.

    Items are numbered 1..num_items in the order in which they first appear (0 always means padding), users
    0..num_users-1.

    Attributes:
        name: what tables and summaries call the data set.
        items: int32 [num_interactions], the histories one after another.
        offsets: int64 [num_users + 1]; user u's history is ``items[offsets[u]:offsets[u + 1]]``.
        user_ids: the original id of every user.
        item_ids: the original id of every item; item i is ``item_ids[i - 1]``.
        timestamps: float64 [num_interactions] as given in the file, or None.
        best_ndcg: expected full-ranking NDCG@10 of the best possible scorer on the test items; None unless the process
            that generated the data is known.
        item_categories: the categories of every item, as `attnrec.data.reading.items.read_categories` gives them, if
            the data has them; item i has ``item_categories[i - 1]``.
        item_titles: the title of every item, "" for one without, if the data has titles.
        parts: int8 [num_interactions], if the data define their own split: an index into `ALL_PARTS`, never
            decreasing within a history.
        reading: how the data were read, if they come from a file or a frame.
    """

    name: str
    items: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    user_ids: tuple[str, ...]
    item_ids: tuple[str, ...]
    timestamps: npt.NDArray[np.float64] | None = None
    best_ndcg: float | None = None
    item_categories: tuple[tuple[str, ...], ...] | None = None
    item_titles: tuple[str, ...] | None = None
    parts: npt.NDArray[np.int8] | None = None
    reading: Reading | None = None

    @property
    def num_users(self) -> int:
        return len(self.user_ids)

    @property
    def num_items(self) -> int:
        return len(self.item_ids)

    @property
    def num_interactions(self) -> int:
        return len(self.items)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Interactions of each user, int64 [num_users]."""
        return np.diff(self.offsets)

    def history(self, user: int) -> npt.NDArray[np.int32]:
        """Items of one user, oldest first, int32 [length]."""
        return self.items[self.offsets[user] : self.offsets[user + 1]]


def from_codes(
    name: str,
    users: npt.ArrayLike,
    items: npt.ArrayLike,
    user_ids: tuple[str, ...],
    item_ids: tuple[str, ...],
    timestamps: npt.NDArray[np.float64] | None = None,
    parts: npt.NDArray[np.int8] | None = None,
) -> Interactions:
    """Group coded interactions by user and order each history.

    Args:
        name: the data set's name.
        users: user numbers [num_interactions], counted from 0.
        items: item numbers [num_interactions], counted from 1.
        user_ids: the original id of every user.
        item_ids: the original id of every item.
        timestamps: [num_interactions], or None to keep the given order. Ties keep the given order.
        parts: [num_interactions], indices into `ALL_PARTS`, which order a history before times do; or None.
    """
    user_codes = np.asarray(users, dtype=np.int32)
    item_codes = np.asarray(items, dtype=np.int32)
    order = _order(user_codes, timestamps, parts)
    counts = np.bincount(user_codes, minlength=len(user_ids))
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Interactions(
        name,
        item_codes[order],
        offsets,
        user_ids,
        item_ids,
        None if timestamps is None else timestamps[order],
        parts=None if parts is None else parts[order],
    )


def _order(
    users: npt.NDArray[np.int32], times: npt.NDArray[np.float64] | None, parts: npt.NDArray[np.int8] | None
) -> npt.NDArray[np.int64] | slice:
    """The indices that order interactions by user, part and time; ties keep their order."""
    key = users.astype(np.int64)
    if parts is not None:
        key *= len(ALL_PARTS)
        key += parts
    if times is not None and len(times):
        if max(-times.min(), times.max()) >= 2**62:
            return np.lexsort((times, key))
        whole = times.astype(np.int64)
        if not (whole == times).all():
            return np.lexsort((times, key))
        low, span = int(whole.min()), int(whole.max()) - int(whole.min()) + 1
        if span * (int(key.max()) + 1) >= 2**62:
            return np.lexsort((times, key))
        whole -= low
        key *= span  # sorting one integer key is several times faster than lexsort
        key += whole
    if (key[1:] >= key[:-1]).all():
        return slice(None)
    return np.argsort(key, kind="stable")


def in_file_order(data: Interactions) -> Interactions:
    """The same data, with items numbered as they first appear in the histories, one user after another."""
    present, first = np.unique(data.items, return_index=True)
    order = present[np.argsort(first, kind="stable")]
    numbers = np.zeros(data.num_items + 1, dtype=np.int32)
    numbers[order] = np.arange(1, len(order) + 1, dtype=np.int32)

    def of_items(values: tuple[Any, ...] | None) -> Any:
        return None if values is None else tuple(values[item - 1] for item in order.tolist())

    return replace(
        data,
        items=numbers[data.items],
        item_ids=of_items(data.item_ids),
        item_titles=of_items(data.item_titles),
        item_categories=of_items(data.item_categories),
    )
