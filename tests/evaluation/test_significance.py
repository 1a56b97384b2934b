"""Intervals on data whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from attnrec.evaluation.significance import Difference, PairedBootstrap, holm, holm_alphas, paired_differences


def differences(
    generator: np.random.Generator, seeds: int, users: int, mean: float = 0.0, seed_spread: float = 0.0
) -> np.ndarray:
    """Mean + an effect of each seed + one of each user (skewed) + noise."""
    of_seed = seed_spread * generator.standard_normal((seeds, 1))
    of_user = generator.exponential(1.0, (1, users)) - 1
    return mean + of_seed + of_user + generator.standard_normal((seeds, users))


def alone(table: np.ndarray, draws: int = 4000, seed: int = 0) -> Difference:
    """One difference that is shown by itself."""
    (found,) = paired_differences([table], draws=draws, seed=seed)
    return found


@pytest.mark.parametrize(
    ("seeds", "seed_spread"), [(1, 0.0), (3, 0.0), (3, 0.3), (2, 0.3), (5, 0.3)], ids=lambda value: str(value)
)
def test_the_interval_covers_the_truth_as_often_as_it_says(seeds: int, seed_spread: float) -> None:
    generator = np.random.default_rng(seeds)
    trials = 400
    covered = 0
    for trial in range(trials):
        found = alone(differences(generator, seeds, 150, mean=0.5, seed_spread=seed_spread), draws=600, seed=trial)
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
    clear = alone(differences(generator, 3, 2000, mean=0.5, seed_spread=0.01))
    assert clear.shown
    assert clear.low < clear.mean < clear.high
    assert clear.mean == pytest.approx(0.5, abs=0.1)
    assert clear.p_value is not None
    assert clear.p_value < 0.05
    assert (clear.users, clear.seeds) == (2000, 3)
    worse = alone(-differences(generator, 3, 2000, mean=0.5))
    assert worse.shown
    assert worse.high < 0
    same = alone(np.zeros((3, 50)))
    assert (same.mean, same.low, same.high, same.p_value, same.shown) == (0.0, 0.0, 0.0, 1.0, False)


def test_nothing_is_claimed_of_one_seed() -> None:
    clear = alone(differences(np.random.default_rng(1), 1, 2000, mean=0.5))
    assert clear.low > 0
    assert not clear.shown
    assert (clear.p_value, clear.p_holm, clear.adjusted_low, clear.adjusted_high) == (None,) * 4


def test_one_seed_is_not_counted_among_the_tested() -> None:
    generator = np.random.default_rng(2)
    tables = [differences(generator, seeds, 100, mean=0.2) for seeds in (3, 1, 3)]
    both = paired_differences([tables[0], tables[2]])
    assert [found for found in paired_differences(tables) if found.seeds > 1] == both


def test_p_value_and_interval_say_the_same() -> None:
    """At every level, and to either side of the one at which both change."""
    generator = np.random.default_rng(2)
    for mean in (-0.3, 0.0, 0.1, 0.2, 0.3):
        for seeds in (1, 2, 4):
            found = PairedBootstrap(differences(generator, seeds, 80, mean), draws=500)
            for alpha in (0.05, 0.025, 0.01, found.p_value * (1 - 1e-9), found.p_value * (1 + 1e-9)):
                low, high = found.interval(alpha)
                assert (low > 0 or high < 0) == (found.p_value < alpha)


def test_adjusted_intervals_agree_with_the_adjusted_p() -> None:
    generator = np.random.default_rng(5)
    disagreeing = 0
    for _ in range(40):
        tables = [differences(generator, 3, 80, mean) for mean in generator.uniform(-0.7, 0.7, 6)]
        for found in paired_differences(tables, draws=400):
            assert found.adjusted_low is not None
            assert found.adjusted_high is not None
            assert found.p_holm is not None
            assert found.adjusted_low <= found.low <= found.high <= found.adjusted_high
            assert (found.adjusted_low > 0 or found.adjusted_high < 0) == (found.p_holm < 0.05) == found.shown
            disagreeing += (found.low > 0 or found.high < 0) != found.shown
    assert disagreeing > 5  # cases that the interval of the difference alone would have called


def test_too_few_draws_for_a_level() -> None:
    found = PairedBootstrap(np.random.default_rng(0).normal(size=(1, 50)), draws=100)
    with pytest.raises(ValueError, match="100 draws are too few"):
        found.interval(0.001)


def test_one_seed_against_the_normal_interval() -> None:
    table = np.random.default_rng(3).normal(0.1, 1.0, (1, 4000))
    found = alone(table)
    half = 1.96 * table.std() / np.sqrt(4000)
    assert found.low == pytest.approx(table.mean() - half, abs=0.1 * half)
    assert found.high == pytest.approx(table.mean() + half, abs=0.1 * half)


def test_reproducible() -> None:
    table = np.random.default_rng(4).normal(size=(3, 100))
    assert alone(table) == alone(table)
    assert alone(table, seed=1) != alone(table)


def test_holm() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


def test_levels_of_the_adjusted_intervals() -> None:
    assert holm_alphas([0.03, 0.001, 0.9, 0.02]) == pytest.approx([0.05 / 3, 0.05 / 4, 0.05 / 3, 0.05 / 3])
    assert holm_alphas([0.001, 0.002]) == pytest.approx([0.025, 0.05])
    assert holm_alphas([]) == []
