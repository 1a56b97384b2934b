"""Cutting data to the items, and if necessary the users, that a trained model knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from attnrec.data.interactions import DataError, Interactions
from attnrec.data.splits import PARTS, Split, Unknown, checked, divided

_T = TypeVar("_T")


def known_only(
    split: Split, item_ids: Sequence[str], user_ids: Sequence[str] = (), *, part: str | None = None
) -> Split:
    """The split with the model's item numbers, and without the items that the model does not know.

    The items to predict stay the same: a user whose item is unknown does not get a later one instead, and is counted
    in `Split.unknown`, as are users with no known item before the one to predict.

    Args:
        split: the split of the whole data.
        item_ids: original ids; item i of the model is ``item_ids[i - 1]``.
        user_ids: original ids of the users, counted from 0, for a model that has users; must include all users of the
            data.
        part: as in `attnrec.data.splits.make_split`.

    Raises DataError if a user is unknown, or if too little is known to evaluate or train on.
    """
    data = split.data
    items = _numbers(data.item_ids, item_ids)[data.items - 1]
    users = _numbers(data.user_ids, user_ids).astype(np.int64) - 1 if user_ids else np.arange(data.num_users)
    if len(strangers := np.flatnonzero(users < 0)):
        raise DataError(
            f"{data.name} has {len(strangers):,} users that the model does not know, such as "
            f"{data.user_ids[strangers[0]]!r}; it has a vector for each user, and cannot score new ones"
        )
    owners = np.repeat(users, data.lengths)
    order = np.argsort(owners, kind="stable")
    kept = order[items[order] > 0]
    known = _cut(data, items, owners, kept, item_ids, user_ids)
    found = divided(known, split.kind, split.stages[kept], split.moments)
    parts, targets, histories = {}, {}, {}
    for stage, name in enumerate(PARTS, 1):
        asked = users[split.users(name)]
        is_known = items[data.offsets[split.users(name)] + split.history_lengths(name)] > 0
        earlier = np.isin(asked, owners[kept[split.stages[kept] < stage]])
        held_out = found.parts[name].keeping(np.isin(found.users(name), asked[is_known]))
        parts[name] = replace(split.parts[name], users=held_out.users, history_lengths=held_out.history_lengths)
        targets[name], histories[name] = int((earlier & ~is_known).sum()), int((~earlier).sum())
    unknown = Unknown(
        items=len(set(data.item_ids).difference(item_ids)),
        interactions=int((items == 0).sum()),
        targets=targets,
        histories=histories,
    )
    return checked(replace(found, parts=parts, unknown=unknown), part)


def _numbers(ids: Sequence[str], known: Sequence[str]) -> npt.NDArray[np.int32]:
    """The position of each id in ``known``, from 1; 0 for an unknown id."""
    places = {name: place for place, name in enumerate(known, 1)}
    return np.array([places.get(name, 0) for name in ids], dtype=np.int32)


def _cut(
    data: Interactions,
    items: npt.NDArray[np.int32],
    owners: npt.NDArray[np.int64],
    kept: npt.NDArray[np.int64],
    item_ids: Sequence[str],
    user_ids: Sequence[str],
) -> Interactions:
    """The interactions ``kept``, with the new numbers ``items`` and ``owners`` of items and users."""
    users = tuple(user_ids) or data.user_ids
    lengths = np.bincount(owners[kept], minlength=len(users))
    return replace(
        data,
        items=items[kept],
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        user_ids=users,
        item_ids=tuple(item_ids),
        timestamps=None if data.timestamps is None else data.timestamps[kept],
        best_ndcg=None,
        item_categories=_of_items(data, data.item_categories, item_ids, ()),
        item_titles=_of_items(data, data.item_titles, item_ids, ""),
        parts=None if data.parts is None else data.parts[kept],
    )


def _of_items(
    data: Interactions, values: tuple[_T, ...] | None, item_ids: Sequence[str], missing: _T
) -> tuple[_T, ...] | None:
    """``values`` in the model's order of items, ``missing`` for items that the data do not have."""
    if values is None:
        return None
    found = dict(zip(data.item_ids, values, strict=True))
    return tuple(found.get(item, missing) for item in item_ids)
