"""A variant against itself, under other seeds: how often is a difference found where there is none?

At most in 5 % of all comparisons it may be, whatever the seeds' spread is. So many comparisons are simulated that a
rate of 5 % would pass the bound used here in all but one of a thousand tests.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import pytest

from attnrec.evaluation.significance import paired_differences

USERS = 60
SPREADS = (0.0, 1.0, 3.0)  # of the seeds, in units of the users' error


def most_false(trials: int) -> float:
    """The rate that a binomial of 5 % exceeds once in a thousand times (normal approximation)."""
    return 0.05 + NormalDist().inv_cdf(0.999) * float(np.sqrt(0.05 * 0.95 / trials))


def scores(generator: np.random.Generator, models: int, spread: float, protocols: int = 1) -> npt.NDArray[np.float64]:
    """Per-user scores of models that differ by chance alone, skewed as NDCG is, [protocols, models, users].

    ``spread``: of the models' true means, in units of the standard error of a mean over users. All protocols see the
    same models and half of the same noise.
    """
    own, shared = generator.exponential(size=(2, protocols, models, USERS))
    noise = own + shared[:1]
    of_model = spread * noise.std() / np.sqrt(USERS) * generator.standard_normal((models, 1))
    return of_model + noise


def differences(seeds: int, spread: float, trials: int) -> Iterator[npt.NDArray[np.float64]]:
    """Two groups of models of one variant, [seeds, users], again and again."""
    generator = np.random.default_rng((seeds, int(spread)))
    for _ in range(trials):
        (found,) = scores(generator, 2 * seeds, spread)
        yield found[:seeds] - found[seeds:]


@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("seeds", [1, 2, 3, 4, 5])
def test_a_variant_against_itself(seeds: int, spread: float) -> None:
    trials = 1000
    found = [paired_differences([table], draws=200)[0].shown for table in differences(seeds, spread, trials)]
    assert np.mean(found) <= most_false(trials)


def families(seeds: int, spread: float, trials: int) -> Iterator[list[npt.NDArray[np.float64]]]:
    """Three variants against a first one, all of them the same, each ranked in two ways: what a comparison shows."""
    generator = np.random.default_rng((seeds, int(spread)))
    for _ in range(trials):
        groups = scores(generator, 4 * seeds, spread, protocols=2).reshape(2, 4, seeds, USERS)
        yield list((groups[:, 1:] - groups[:, :1]).reshape(6, seeds, USERS))


@pytest.mark.parametrize(("seeds", "spread"), [(2, 1.0), (3, 0.0), (3, 3.0), (5, 3.0)])
def test_several_variants_and_both_protocols(seeds: int, spread: float) -> None:
    trials = 300
    false = sum(
        any(found.shown for found in paired_differences(tables, draws=200))
        for tables in families(seeds, spread, trials)
    )
    assert false / trials <= most_false(trials)


def test_the_intervals_over_users_alone_would_not_pass() -> None:
    """The rule before: with one seed, a difference was claimed where the interval over users left out 0."""
    trials = 1000
    for spread, expected in ((1.0, 0.166), (3.0, 0.535)):  # P(|N(0, 1 + spread²)| > 1.96)
        found = [paired_differences([table], draws=200)[0] for table in differences(1, spread, trials)]
        rate = np.mean([each.low > 0 or each.high < 0 for each in found])
        assert rate > most_false(trials)
        assert rate == pytest.approx(expected, abs=0.05)


def test_without_an_adjustment_several_would_not_pass() -> None:
    trials = 300
    false = 0
    for tables in families(5, 3.0, trials):
        alone = [paired_differences([table], draws=200)[0] for table in tables]
        false += any(found.shown for found in alone)
    assert false / trials > most_false(trials)
