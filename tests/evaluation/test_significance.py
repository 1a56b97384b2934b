"""Intervals on data whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from attnrec.evaluation.significance import holm, paired_difference


def differences(
    generator: np.random.Generator, seeds: int, users: int, mean: float = 0.0, seed_spread: float = 0.0
) -> np.ndarray:
    """Mean + an effect of each seed + one of each user (skewed) + noise."""
    of_seed = seed_spread * generator.standard_normal((seeds, 1))
    of_user = generator.exponential(1.0, (1, users)) - 1
    return mean + of_seed + of_user + generator.standard_normal((seeds, users))


@pytest.mark.parametrize(
    ("seeds", "seed_spread"), [(1, 0.0), (3, 0.0), (3, 0.3), (2, 0.3), (5, 0.3)], ids=lambda value: str(value)
)
def test_the_interval_covers_the_truth_as_often_as_it_says(seeds: int, seed_spread: float) -> None:
    generator = np.random.default_rng(seeds)
    trials = 400
    covered = 0
    for trial in range(trials):
        found = paired_difference(
            differences(generator, seeds, 150, mean=0.5, seed_spread=seed_spread), draws=600, seed=trial
        )
        covered += found.low <= 0.5 <= found.high
    assert covered / trials > 0.92  # 0.95 less three standard errors
    if seed_spread or seeds == 1:
        assert covered / trials < 0.99  # and not by being needlessly wide


def test_resampling_few_seeds_would_not_cover() -> None:
    """Why seeds are not resampled: with three of them such an interval is far too narrow."""
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        means = differences(generator, 3, 150, seed_spread=0.3).mean(1)
        low, high = np.quantile(means[generator.integers(0, 3, (600, 3))].mean(1), [0.025, 0.975])
        covered += low <= 0 <= high
    assert covered / 300 < 0.85


def test_known_answers() -> None:
    generator = np.random.default_rng(1)
    clear = paired_difference(differences(generator, 3, 2000, mean=0.5, seed_spread=0.01))
    assert clear.shown
    assert clear.low < clear.mean < clear.high
    assert clear.mean == pytest.approx(0.5, abs=0.1)
    assert clear.p_value < 0.05
    assert (clear.users, clear.seeds) == (2000, 3)
    worse = paired_difference(-differences(generator, 1, 2000, mean=0.5))
    assert worse.shown
    assert worse.high < 0
    same = paired_difference(np.zeros((3, 50)))
    assert (same.mean, same.low, same.high, same.p_value, same.shown) == (0.0, 0.0, 0.0, 1.0, False)


def test_p_value_and_interval_say_the_same() -> None:
    generator = np.random.default_rng(2)
    for _ in range(60):
        found = paired_difference(differences(generator, 2, 80, mean=0.2), draws=1000)
        if abs(found.p_value - 0.05) > 0.01:
            assert found.shown == (found.p_value < 0.05)


def test_one_seed_against_the_normal_interval() -> None:
    table = np.random.default_rng(3).normal(0.1, 1.0, (1, 4000))
    found = paired_difference(table)
    half = 1.96 * table.std() / np.sqrt(4000)
    assert found.low == pytest.approx(table.mean() - half, abs=0.1 * half)
    assert found.high == pytest.approx(table.mean() + half, abs=0.1 * half)


def test_reproducible() -> None:
    table = np.random.default_rng(4).normal(size=(3, 100))
    assert paired_difference(table) == paired_difference(table)
    assert paired_difference(table, seed=1) != paired_difference(table)


def test_holm() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []
