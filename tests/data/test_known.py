"""Data cut to a vocabulary, against examples worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from attnrec.data.interactions import DataError
from attnrec.data.known import known_only
from attnrec.data.splits import Unknown, make_split
from tests.data.test_splits import by_hand

# what is held out by time is that of `by_hand`: both, valid only, test only, new in valid
MODEL = ("z", "x", "v", "u", "gone")  # items 6, 4, 2 and 1 of the data are 1, 2, 3 and 4 of the model; w, y unknown


def test_unknown_items_are_left_out_and_counted() -> None:
    data = replace(by_hand(), item_categories=tuple((letter,) for letter in "uvwxyz"), item_titles=tuple("UVWXYZ"))
    found = known_only(make_split(data, "time", "10", "20"), MODEL)
    assert found.data.item_ids == MODEL
    assert found.data.item_categories == (("z",), ("x",), ("v",), ("u",), ())
    assert found.data.item_titles == ("Z", "X", "V", "U", "")
    assert [found.data.history(user).tolist() for user in range(6)] == [
        [4, 3, 2, 1],
        [3, 4],
        [2, 1, 4],
        [4, 2],
        [3],
        [1, 4],
    ]
    assert found.data.timestamps is not None
    assert found.data.timestamps.tolist() == [1, 9, 19, 30, 3, 15, 5, 25, 26, 6, 8, 22, 21, 22]
    # `both`: its items w (3) and y (5) are unknown, and it is not asked for the later x and z instead
    assert found.users("valid").tolist() == [1]
    assert found.targets("valid").tolist() == [4]
    assert found.history_lengths("valid").tolist() == [1]
    # `new in valid` has the target v, and nothing known before it
    assert found.users("test").tolist() == [2]
    assert found.targets("test").tolist() == [1]
    assert found.train_lengths.tolist() == [2, 1, 1, 2, 0, 0]
    assert found.unknown == Unknown(
        items=2, interactions=6, targets={"valid": 1, "test": 1}, histories={"valid": 0, "test": 1}
    )


def test_users_get_the_models_numbers() -> None:
    data = by_hand()
    users = ("new in test", "test only", "absent", "both", "valid only", "train only", "new in valid")
    split = make_split(data, "time", "10", "20")
    found = known_only(split, data.item_ids, users)
    assert found.data.user_ids == users
    assert [found.data.history(users.index(name)).tolist() for name in data.user_ids] == [
        data.history(user).tolist() for user in range(6)
    ]
    assert found.users("test").tolist() == [1, 3, 6]
    assert found.targets("test").tolist() == [6, 5, 2]
    assert found.history_lengths("test").tolist() == [1, 4, 2]
    assert found.unknown is not None
    assert found.unknown.interactions == 0
    with pytest.raises(DataError, match="d has 2 users that the model does not know, such as 'both'"):
        known_only(split, data.item_ids, ("new in test", "test only", "train only", "new in valid"))


def test_nothing_known() -> None:
    split = make_split(by_hand(), "time", "10", "20")
    for items, message in (
        (("a", "b"), "the model does not know the test item and one before it of any user"),
        (("u", "w"), "the model does not know the test item and one before it of any user"),
        (("w", "x"), "the model does not know the validation item and one before it of any user"),
    ):
        with pytest.raises(DataError, match=message):
            known_only(split, items, part="test" if "test" in message else None)
