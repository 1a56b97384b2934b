"""How many more seeds would show a difference, on tables whose parts are known."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from attnrec.evaluation.more_seeds import MOST_SEEDS, _half_width, _variances, seeds_wanted
from attnrec.evaluation.significance import PairedBootstrap

USERS = 2000


def table(seeds: int, *, mean: float, spread: float, steady: float, changing: float) -> npt.NDArray[np.float64]:
    """[seeds, users] with exactly this mean and spread of the seeds' means, and about these deviations over users."""
    generator = np.random.default_rng(seeds)
    of_seed = generator.standard_normal((seeds, 1))
    of_seed = (of_seed - of_seed.mean()) / of_seed.std(ddof=1)
    of_user = generator.standard_normal((1, USERS))
    noise = generator.standard_normal((seeds, USERS))
    of_user, noise = (part - part.mean(1, keepdims=True) for part in (of_user, noise))
    return mean + spread * of_seed + steady * of_user + changing * noise


def test_the_parts_are_found_again() -> None:
    steady, changing = _variances(table(4, mean=1.0, spread=3.0, steady=0.5, changing=2.0))
    assert changing == pytest.approx(4.0, rel=0.05)
    assert steady == pytest.approx(0.25, rel=0.5)
    assert _variances(table(4, mean=1.0, spread=3.0, steady=0.0, changing=2.0))[0] < 0.1


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_the_width_for_the_seeds_at_hand_is_that_of_the_interval(seeds: int) -> None:
    found = table(seeds, mean=0.0, spread=0.02, steady=0.5, changing=1.0)
    steady, changing = _variances(found)
    of_users = float(np.sqrt((steady + changing / seeds) / USERS))
    expected = _half_width(of_users, 0.02 / np.sqrt(seeds), seeds - 1, 0.01)
    low, high = PairedBootstrap(found).interval(0.01)
    assert (high - low) / 2 == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(("mean", "alpha"), [(0.05, 0.05), (0.04, 0.05), (0.06, 0.01), (0.09, 0.01)])
def test_with_so_many_seeds_it_is_shown_and_with_one_less_it_is_not(mean: float, alpha: float) -> None:
    parts = {"spread": 0.04, "steady": 0.2, "changing": 0.5}
    now = table(3, mean=mean, **parts)
    assert PairedBootstrap(now).p_value > alpha
    more = seeds_wanted(now, alpha).more
    assert more is not None
    assert more > 1
    assert PairedBootstrap(table(3 + more, mean=mean, **parts)).p_value < alpha
    assert PairedBootstrap(table(3 + more - 1, mean=mean, **parts)).p_value > alpha


def test_what_users_leave_uncertain_no_seeds_take_away() -> None:
    found = seeds_wanted(table(3, mean=0.02, spread=0.01, steady=1.0, changing=0.1), 0.05)
    assert found.hopeless
    assert found.more is None
    assert found.users_part == pytest.approx(1.96 / np.sqrt(USERS), rel=0.1)


def test_a_tiny_difference_takes_more_seeds_than_anyone_trains() -> None:
    found = seeds_wanted(table(3, mean=0.005, spread=0.05, steady=0.0, changing=0.1), 0.05)
    assert not found.hopeless
    assert found.more is None
    many = seeds_wanted(table(MOST_SEEDS, mean=0.005, spread=0.05, steady=0.0, changing=0.1), 0.05)
    assert many.more is None
