"""Splits by time and by the data's own parts, against examples worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from attnrec.core.errors import InputError
from attnrec.data.batches import TrainingBatches, evaluation_batches
from attnrec.data.interactions import DataError, Interactions, from_codes
from attnrec.data.moments import held_out_from, read_moment, shown_moment, ticks_per_second
from attnrec.data.reading.read import read_interactions
from attnrec.data.splits import KINDS, PARTS, leave_one_out, make_split, resolved_kind
from attnrec.data.synthetic import synthetic
from attnrec.training.config import TrainConfig, declared
from tests.conftest import real_file

# by user: (item, time); validation from 10, test from 20
HISTORIES: dict[str, list[tuple[int, float]]] = {
    "both": [(1, 1), (2, 9), (3, 10), (4, 19), (5, 20), (6, 30)],  # ties with both moments
    "valid only": [(2, 3), (3, 4), (1, 15)],
    "test only": [(4, 5), (6, 25), (1, 26)],
    "train only": [(5, 2), (1, 6), (4, 8)],
    "new in valid": [(3, 12), (5, 13), (2, 22)],
    "new in test": [(6, 21), (1, 22)],
}


def by_hand(histories: dict[str, list[tuple[int, float]]] | None = None, factor: float = 1.0) -> Interactions:
    rows = [(n, item, time) for n, of in enumerate((histories or HISTORIES).values()) for item, time in of]
    users, items, times = zip(*rows, strict=True)
    names = tuple(histories or HISTORIES)
    return from_codes("d", users, items, names, tuple("uvwxyz"), np.array(times, dtype=np.float64) * factor)


def asked(data: Interactions, kind: str, **moments: str) -> dict[str, dict[str, tuple[list[int], int]]]:
    """By part and user: the history and the target."""
    split = make_split(data, kind, **moments)
    return {
        part: {
            data.user_ids[user]: (data.history(user)[:length].tolist(), int(target))
            for user, length, target in zip(
                split.users(part), split.history_lengths(part), split.targets(part), strict=True
            )
        }
        for part in PARTS
    }


EXPECTED = {
    "valid": {"both": ([1, 2], 3), "valid only": ([2, 3], 1)},
    "test": {"both": ([1, 2, 3, 4], 5), "test only": ([4], 6), "new in valid": ([3, 5], 2)},
}


def test_one_moment_for_all_users() -> None:
    data = by_hand()
    assert asked(data, "time", valid_from="10", test_from="20") == EXPECTED
    split = make_split(data, "time", "10", "20")
    assert split.train_lengths.tolist() == [2, 2, 1, 3, 0, 0]
    found = split.description()
    assert found["train"] == {"users": 4, "interactions": 8}
    # valid: items 4 of `both`, and 3 and 5 of `new in valid`, are not asked for
    assert found["valid"] == {
        "users": 2,
        "interactions_not_asked": 3,
        "users_without_item": 3,
        "users_without_history": 1,
    }
    # test: 6 of `both`, 1 of `test only`, 6 and 1 of `new in test`
    assert found["test"] == {
        "users": 3,
        "interactions_not_asked": 4,
        "users_without_item": 2,
        "users_without_history": 1,
    }
    assert (found["kind"], found["valid_from"], found["test_from"]) == ("time", 10, 20)


def test_the_parts_of_the_data() -> None:
    data = by_hand()
    parts = np.array([0, 0, 1, 1, 2, 2, 0, 0, 1, 0, 2, 2, 0, 0, 0, 1, 1, 2, 2, 2], dtype=np.int8)
    given = replace(data, parts=parts, timestamps=None)
    assert asked(given, "given") == asked(given, "auto") == EXPECTED
    assert make_split(given, "given").fingerprint == make_split(data, "time", "10", "20").fingerprint
    assert make_split(given, "leave-one-out").kind == "leave-one-out"
    parts[1], parts[3] = 1, 0
    with pytest.raises(DataError, match="the history of user 'both' goes back to an earlier part"):
        make_split(given, "given")
    with pytest.raises(DataError, match="`split='given'` needs data with their own parts, and d has none"):
        make_split(data, "given")
    with pytest.raises(DataError, match="no user has an interaction in the validation part and one before it"):
        make_split(replace(given, parts=np.zeros_like(parts)), "given")


@pytest.mark.parametrize("part", PARTS)
def test_nothing_of_the_future_is_seen(part: str) -> None:
    data = synthetic()
    split = make_split(data, "time")
    assert split.moments is not None
    valid_from, test_from = split.moments
    users = set()
    for epoch in range(2):
        for batch in TrainingBatches(split, 7, 64, 0).epoch(epoch):
            assert batch.timestamps is not None
            assert batch.targets is not None
            assert float(batch.timestamps.max()) < valid_from
            users |= set(batch.users.tolist())
            for user, item, target in zip(batch.users.tolist(), batch.items, batch.targets, strict=True):
                times = data.timestamps[data.offsets[user] : data.offsets[user + 1]]  # type: ignore[index]
                known = data.history(user)[times < valid_from].tolist()
                places = [known.index(int(item)), known.index(int(target))]  # no item comes twice in these data
                assert places[1] == places[0] + 1
        assert users == set(np.flatnonzero(split.train_lengths >= 2))
    bounds = {"valid": (valid_from, test_from), "test": (test_from, np.inf)}[part]
    for _, batch in evaluation_batches(split, part, 50, 64):
        assert batch.timestamps is not None
        assert float(batch.timestamps.max()) < bounds[0]
    rows = data.offsets[split.users(part)] + split.history_lengths(part)
    assert data.timestamps is not None
    assert ((bounds[0] <= data.timestamps[rows]) & (data.timestamps[rows] < bounds[1])).all()


def test_leave_one_out_is_what_it_was(small: Interactions) -> None:
    split = leave_one_out(small)
    enough = small.lengths >= 3
    assert split.train_lengths.tolist() == np.where(enough, small.lengths - 2, small.lengths).tolist()
    for part, back in (("valid", 2), ("test", 1)):
        assert split.users(part).tolist() == np.flatnonzero(enough).tolist()
        assert split.history_lengths(part).tolist() == (small.lengths[enough] - back).tolist()
        assert split.targets(part).dtype == np.int32
    assert split.description()["test"] == {
        "users": 38,
        "interactions_not_asked": 0,
        "users_without_item": 2,
        "users_without_history": 0,
    }


def test_kinds() -> None:
    assert declared()["split"].field.metadata["choices"] == ("auto", *KINDS)
    assert resolved_kind("auto", by_hand()) == "leave-one-out"
    with pytest.raises(InputError, match="`split` 'tim' is not one of auto, leave-one-out, time, given"):
        resolved_kind("tim", by_hand())
    for function in (lambda: make_split(by_hand(), "auto", "10"), lambda: TrainConfig.of(test_from="10")):
        with pytest.raises(InputError, match="`valid_from` and `test_from` need `split='time'`"):
            function()


# -- moments -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", [1, 1e3, 1e6, 1e9])
def test_a_date_is_in_the_unit_of_the_data(unit: float) -> None:
    times = np.array([978_300_000, 978_307_200, 1_000_000_000]) * unit  # 2000-12-31 to 2001-09-09
    assert ticks_per_second(times) == unit
    for text in ("2001-01-01", "2001-01-01T00:00", "2001-01-01T02:00:00+02:00", "2001-01-01T00:00:00Z"):
        assert read_moment(text, times, "test_from") == 978_307_200 * unit
    assert read_moment("978307200", times, "test_from") == 978_307_200  # a number is in the data's own unit
    assert shown_moment(978_307_200 * unit, times) == "2001-01-01 00:00:00 UTC"


def test_timestamps_that_are_no_dates() -> None:
    times = np.arange(100.0)
    assert ticks_per_second(times) == 1
    assert shown_moment(80, times) == "80"
    assert shown_moment(1e300, np.array([1e9])) == "1e+300"
    for text, words in (
        ("soon", "neither an ISO date such as 2020-05-31 nor a timestamp"),
        ("2020-13-01", "neither an ISO date"),
        ("nan", "is not a finite number"),
    ):
        with pytest.raises(InputError, match=words):
            read_moment(text, times, "valid_from")


def test_moments_by_share() -> None:
    times = np.arange(1.0, 11)
    assert held_out_from(times[::-1], "d", "", "") == (9, 10)  # 8 of 10 before the first, 9 before the second
    assert held_out_from(times, "d", "", "10") == (9, 10)  # a ninth of what is before the test
    assert held_out_from(times, "d", "9", "") == (9, 10)  # half of what is left
    assert held_out_from(times, "d", "3", "7.5") == (3, 7.5)
    data = synthetic()
    split = make_split(data, "time")
    assert split.moments is not None
    assert data.timestamps is not None
    shares = [float((data.timestamps < moment).mean()) for moment in split.moments]
    assert shares == pytest.approx([0.8, 0.9], abs=1e-3)


@pytest.mark.parametrize(
    ("moments", "message"),
    [
        (("5", "5"), "`valid_from='5'` is not before `test_from='5'`"),
        (("6", "5"), "`valid_from='6'` is not before `test_from='5'`"),
        (("", "1"), "no interactions left to choose `valid_from` from"),
        (("11", ""), "no interactions left to choose `test_from` from"),
    ],
)
def test_moments_that_cannot_be_used(moments: tuple[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        held_out_from(np.arange(1.0, 11), "d", *moments)


def test_data_that_cannot_be_split_by_time(small: Interactions) -> None:
    with pytest.raises(DataError, match="`split='time'` needs timestamps, and small has none"):
        make_split(small, "time")
    with pytest.raises(InputError, match=r"\(the defaults for d: 80 % and 90 % of its interactions\): give both"):
        held_out_from(np.ones(10), "d", "", "")
    for moments, message in (
        (("1", "2"), r"no user has an interaction in the validation part \(from 1 to 2\) and one before it"),
        (("10", "99"), r"no user has an interaction in the test part \(from 99\) and one before it"),
    ):
        with pytest.raises(DataError, match=message):
            make_split(by_hand(), "time", *moments)
    late = by_hand({"a": [(1, 1), (2, 10), (3, 20)], "b": [(1, 2), (3, 11), (2, 21)]})
    with pytest.raises(DataError, match="no user has 2 training interactions, so there is nothing to learn"):
        make_split(late, "time", "10", "20")
    assert make_split(late, "time", "10", "20", part="test").users("test").tolist() == [0, 1]


@pytest.mark.real_data
def test_one_moment_on_real_histories() -> None:
    """Beauty with made-up times: the parts are those of a loop over users."""
    data = read_interactions(real_file("beauty-5core.txt"))
    rng = np.random.default_rng(0)
    starts = np.repeat(rng.uniform(1e9, 1.3e9, data.num_users), data.lengths)
    gaps = rng.exponential(1e6, data.num_interactions)
    within = np.cumsum(gaps) - np.repeat(np.cumsum(gaps)[data.offsets[:-1]], data.lengths)
    timed = replace(data, timestamps=starts + within)
    split = make_split(timed, "time")
    assert split.moments is not None
    assert timed.timestamps is not None
    expected: dict[str, list[int]] = {part: [] for part in PARTS}
    for user in range(data.num_users):
        times = timed.timestamps[data.offsets[user] : data.offsets[user + 1]]
        for part, low, high in (("valid", *split.moments), ("test", split.moments[1], np.inf)):
            inside = np.flatnonzero((times >= low) & (times < high))
            if len(inside) and inside[0] > 0:
                expected[part].append(int(data.history(user)[inside[0]]))
    for part in PARTS:
        assert split.targets(part).tolist() == expected[part]
        assert len(expected[part]) > 500
