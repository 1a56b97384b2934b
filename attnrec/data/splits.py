"""What training, validation and test may see of each history.

| kind | validation items and test items |
|---|---|
| `leave-one-out` | the second-last and the last item of each history with at least three items |
| `time` | the items from one moment on, and those from a later one on; the same moments for all users |
| `given` | as the data say (`Interactions.parts`) |

With every kind, a history is a training part, then a validation part, then a test part; any of them may be empty. The
item to predict is the first one of the validation or the test part, from everything before it. A user without such an
item, or with nothing before it, is not evaluated. Later items of a part are held out, but not predicted.

Leave-one-out is the protocol of Kang & McAuley, "Self-Attentive Sequential Recommendation" (ICDM 2018), section IV.A.
Users with fewer than three interactions are then in the training part only.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from attnrec.core.errors import InputError
from attnrec.data.interactions import DataError, Interactions
from attnrec.data.moments import held_out_from, shown_moment

PARTS = ("valid", "test")
KINDS = ("leave-one-out", "time", "given")
_WORDS = {"valid": "validation", "test": "test"}

_Ints = npt.NDArray[np.int64]
_Stages = npt.NDArray[np.int8]


@dataclass(frozen=True, eq=False)
class HeldOut:
    """One part of a split.

    Attributes:
        users: int64 [M], ascending, the users who have an item to predict.
        history_lengths: int64 [M], the number of items before it.
        not_asked: interactions of the part that are not predicted.
        without_item: users with no interaction in the part.
        without_history: users with an interaction in the part, but none before it.
    """

    users: _Ints
    history_lengths: _Ints
    not_asked: int
    without_item: int
    without_history: int

    def keeping(self, places: npt.NDArray[Any]) -> HeldOut:
        """The same with only some of the users: their positions, or a mask [M]."""
        return replace(self, users=self.users[places], history_lengths=self.history_lengths[places])


@dataclass(frozen=True)
class Unknown:
    """What was left out of the data because the model does not know the items.

    Attributes:
        items: number of unknown items.
        interactions: interactions with them, left out of all histories.
        targets: by part, users whose item to predict is unknown.
        histories: by part, users with no known item before the one to predict.
    """

    items: int
    interactions: int
    targets: Mapping[str, int]
    histories: Mapping[str, int]


@dataclass(frozen=True, eq=False)
class Split:
    """A data set divided for training, validation and test; see the top of this file.

    Attributes:
        data: the interactions.
        kind: one of `KINDS`.
        stages: int8 [num_interactions], 0 for training, 1 for validation, 2 for test.
        train_lengths: int64 [num_users], the length of the training part of each history.
        parts: what is held out, by part.
        moments: for ``time``, when validation and test begin, in the data's unit.
        unknown: what was left out, if the data were cut to a model's items (`attnrec.data.known`).
    """

    data: Interactions
    kind: str
    stages: _Stages
    train_lengths: _Ints
    parts: Mapping[str, HeldOut]
    moments: tuple[float, float] | None = None
    unknown: Unknown | None = None

    def users(self, part: str) -> _Ints:
        """The users who have an item to predict in ``part``, int64 [M]; they may differ between the parts."""
        return self.parts[part].users

    def history_lengths(self, part: str) -> _Ints:
        """How many items of each such user's history may be seen when ``part`` is predicted, int64 [M].

        A test history includes what is held out for validation.
        """
        return self.parts[part].history_lengths

    def targets(self, part: str) -> npt.NDArray[np.int32]:
        """The item to predict for each such user, int32 [M]."""
        return self.data.items[self.data.offsets[self.users(part)] + self.history_lengths(part)]

    @property
    def fingerprint(self) -> str:
        """Changes when the users or the lengths of their parts change; 8 hexadecimal digits."""
        arrays = [self.train_lengths]
        for held_out in self.parts.values():
            arrays += [held_out.users, held_out.history_lengths]
        value = 0
        for array in arrays:
            value = zlib.crc32(array.tobytes(), value)
        return f"{value:08x}"

    @property
    def checksum(self) -> str:
        """SHA-256 of the interactions, their order and times, and of the split; 64 hexadecimal digits."""
        data = self.data
        content = hashlib.sha256(self.fingerprint.encode())
        for array in (data.offsets, data.items, data.timestamps):
            content.update(b"" if array is None else np.ascontiguousarray(array).tobytes())
        return content.hexdigest()

    def description(self) -> dict[str, Any]:
        """The split as plain values: kind, moments, and counts of users and interactions."""
        found: dict[str, Any] = {"kind": self.kind, "fingerprint": self.fingerprint}
        if self.moments is not None:
            assert self.data.timestamps is not None
            for part, moment in zip(PARTS, self.moments, strict=True):
                found[f"{part}_from"] = moment
                found[f"{part}_from_shown"] = shown_moment(moment, self.data.timestamps)
        found["train"] = {
            "users": int((self.train_lengths > 0).sum()),
            "interactions": int(self.train_lengths.sum()),
        }
        for part, held_out in self.parts.items():
            found[part] = {
                "users": len(held_out.users),
                "interactions_not_asked": held_out.not_asked,
                "users_without_item": held_out.without_item,
                "users_without_history": held_out.without_history,
            }
        return found


def leave_one_out(data: Interactions) -> Split:
    """`make_split` with the kind ``leave-one-out``."""
    return make_split(data, "leave-one-out")


def make_split(
    data: Interactions, kind: str = "auto", valid_from: str = "", test_from: str = "", *, part: str | None = None
) -> Split:
    """Divide ``data``.

    Args:
        data: the interactions.
        kind: one of `KINDS`, or ``auto`` (see `resolved_kind`).
        valid_from, test_from: for ``time``, as in `attnrec.data.moments.held_out_from`.
        part: the only part to be evaluated, if nothing is trained; by default, both parts and training are checked.

    Raises:
        DataError: the data lack the timestamps or parts that the kind needs, or no user can be evaluated or trained on.
        InputError: a moment cannot be used.
    """
    kind = resolved_kind(kind, data)
    if (valid_from or test_from) and kind != "time":
        raise InputError("`valid_from` and `test_from` need `split='time'`")
    moments = None
    if kind == "leave-one-out":
        stages = _last_two(data)
    elif kind == "time":
        moments = held_out_from(data.timestamps, data.name, valid_from, test_from)
        assert data.timestamps is not None
        # side="right": interactions exactly at the moment are held out
        stages = np.searchsorted(np.array(moments), data.timestamps, side="right").astype(np.int8)
    elif data.parts is not None:
        stages = data.parts
    else:
        raise DataError(f"`split='given'` needs data with their own parts, and {data.name} has none")
    return checked(divided(data, kind, stages, moments), part)


def resolved_kind(kind: str, data: Interactions) -> str:
    """What ``auto`` means for these data: ``given`` if they define their own parts, else ``leave-one-out``."""
    if kind == "auto":
        return "leave-one-out" if data.parts is None else "given"
    if kind not in KINDS:
        raise InputError(f"`split` {kind!r} is not one of auto, {', '.join(KINDS)}")
    return kind


def divided(data: Interactions, kind: str, stages: _Stages, moments: tuple[float, float] | None = None) -> Split:
    """The split whose parts are ``stages``, int8 [num_interactions]; DataError if they decrease within a history."""
    owners = np.repeat(np.arange(data.num_users), data.lengths)
    falls = np.flatnonzero((np.diff(stages) < 0) & (np.diff(owners) == 0))
    if len(falls):
        raise DataError(
            f"{data.name}: the history of user {data.user_ids[owners[falls[0]]]!r} goes back to an earlier part: "
            "it must be training, then validation, then test"
        )
    counts = [np.bincount(owners[stages == stage], minlength=data.num_users) for stage in range(3)]
    parts = {
        part: _held_out(counts[stage], sum(counts[1:stage], start=counts[0])) for stage, part in enumerate(PARTS, 1)
    }
    return Split(data, kind, stages, counts[0], parts, moments)


def checked(split: Split, part: str | None = None) -> Split:
    """The same split; DataError if no user can be evaluated on ``part`` (default: both parts) or trained on."""
    name = split.data.name
    for asked in PARTS if part is None else (part,):
        if len(split.users(asked)):
            continue
        if split.unknown is not None:
            raise DataError(f"{name}: the model does not know the {_WORDS[asked]} item and one before it of any user")
        if split.kind == "leave-one-out":
            raise DataError(f"{name}: no user has the 3 interactions that a validation and a test item need")
        where = f"the {_WORDS[asked]} part" + (f" ({_range(split, asked)})" if split.moments else "")
        raise DataError(f"{name}: no user has an interaction in {where} and one before it")
    if part is None and not (split.train_lengths >= 2).any():
        more = " (4 in all)" if split.kind == "leave-one-out" else ""
        raise DataError(f"{name}: no user has 2 training interactions{more}, so there is nothing to learn")
    return split


def _range(split: Split, part: str) -> str:
    assert split.moments is not None
    assert split.data.timestamps is not None
    valid, test = (shown_moment(moment, split.data.timestamps) for moment in split.moments)
    return f"from {valid} to {test}" if part == "valid" else f"from {test}"


def _last_two(data: Interactions) -> _Stages:
    stages = np.zeros(data.num_interactions, dtype=np.int8)
    ends = data.offsets[1:][data.lengths >= 3]
    stages[ends - 2], stages[ends - 1] = 1, 2
    return stages


def _held_out(inside: _Ints, before: _Ints) -> HeldOut:
    """The `HeldOut` from the number of each user's interactions inside a part and before it, [num_users] each."""
    users = np.flatnonzero((inside > 0) & (before > 0))
    return HeldOut(
        users,
        before[users],
        not_asked=int(inside.sum()) - len(users),
        without_item=int((inside == 0).sum()),
        without_history=int(((inside > 0) & (before == 0)).sum()),
    )
