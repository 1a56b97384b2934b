"""Leave-one-out split and packed batches, against plain loops over users."""

from __future__ import annotations

import numpy as np
import pytest

from attnrec.data.batches import TrainingBatches, batch_from_histories, evaluation_batches, ragged_arange
from attnrec.data.interactions import DataError, Interactions, from_codes
from attnrec.data.splits import PARTS, leave_one_out


def test_leave_one_out(small: Interactions) -> None:
    split = leave_one_out(small)
    assert split.users("test").tolist() == [u for u in range(small.num_users) if len(small.history(u)) >= 3]
    for place, user in enumerate(split.users("test")):
        history = small.history(int(user))
        assert split.targets("valid")[place] == history[-2]
        assert split.targets("test")[place] == history[-1]
        assert split.history_lengths("valid")[place] == len(history) - 2 == split.train_lengths[user]
        assert split.history_lengths("test")[place] == len(history) - 1
    assert split.train_lengths[:2].tolist() == [1, 2]  # too short to hold anything out


def test_too_little_data_is_an_error() -> None:
    with pytest.raises(DataError, match="no user has the 3 interactions"):
        leave_one_out(from_codes("d", [0, 0, 1], [1, 2, 1], ("a", "b"), ("x", "y")))
    with pytest.raises(DataError, match="nothing to learn"):
        leave_one_out(from_codes("d", [0, 0, 0], [1, 2, 1], ("a",), ("x", "y")))


def test_ragged_arange() -> None:
    assert ragged_arange(np.array([5, 0, 9]), np.array([2, 0, 3])).tolist() == [5, 6, 9, 10, 11]
    assert ragged_arange(np.array([], dtype=np.int64), np.array([], dtype=np.int64)).tolist() == []


@pytest.mark.parametrize("max_len", [1, 5, 50])
def test_an_epoch_holds_every_user_once(small: Interactions, max_len: int) -> None:
    split = leave_one_out(small)
    batches = TrainingBatches(split, max_len, 8, seed=3)
    seen: list[int] = []
    positions = 0
    for batch in batches.epoch(1):
        assert batch.targets is not None
        assert (np.diff(batch.lengths) >= 0).all()
        for last, length in zip(batch.last_rows.tolist(), batch.lengths.tolist(), strict=True):
            low, high = last + 1 - length, last + 1
            (user,) = set(batch.users[low:high].tolist())
            training = small.history(user)[: split.train_lengths[user]]
            assert batch.items[low:high].tolist() == training[:-1][-max_len:].tolist()
            assert batch.targets[low:high].tolist() == training[1:][-max_len:].tolist()
            seen.append(user)
        positions += len(batch.items)
    assert sorted(seen) == [u for u in range(small.num_users) if split.train_lengths[u] >= 2]
    assert len(list(batches.epoch(1))) == len(batches)
    assert positions == batches.positions


def test_the_order_depends_on_seed_and_epoch_alone(small: Interactions) -> None:
    split = leave_one_out(small)

    def order(seed: int, epoch: int, first: int = 0) -> list[int]:
        batches = TrainingBatches(split, 10, 8, seed)
        return [user for batch in batches.epoch(epoch, first) for user in batch.users[batch.last_rows].tolist()]

    assert order(1, 1) == order(1, 1)
    assert order(1, 1) != order(1, 2)
    assert order(1, 1) != order(2, 1)
    assert order(1, 1, first=2) == order(1, 1)[16:]


@pytest.mark.parametrize("part", PARTS)
def test_evaluation_batches(small: Interactions, part: str) -> None:
    split = leave_one_out(small)
    back = {"valid": 2, "test": 1}[part]
    seen = []
    for places, batch in evaluation_batches(split, part, 6, 7):
        for place, items in zip(places, batch.items.split(batch.lengths.tolist()), strict=True):
            assert items.tolist() == small.history(int(split.users("test")[place]))[:-back][-6:].tolist()
            seen.append(int(place))
    assert sorted(seen) == list(range(len(split.users("test"))))


def test_timestamps_travel_with_their_items() -> None:
    data = from_codes("d", [0] * 5, [1, 2, 3, 4, 5], ("a",), tuple("vwxyz"), np.arange(5.0) * 10)
    (batch,) = TrainingBatches(leave_one_out(data), 10, 4, 0).epoch(0)
    assert batch.timestamps is not None
    assert batch.timestamps.tolist() == [0.0, 10.0]


def test_histories_by_hand() -> None:
    batch = batch_from_histories([[1, 2, 3], [4], [5, 6]], max_len=2)
    assert batch.items.tolist() == [2, 3, 4, 5, 6]
    assert batch.users.tolist() == [0, 0, 1, 2, 2]
    assert batch.of_user(7).users.tolist() == [7] * 5
    with pytest.raises(DataError, match="at least one item"):
        batch_from_histories([[1], []], max_len=2)
