r"""Is one variant better than another? Paired intervals over users and seeds, adjusted for all differences shown.

Both variants were run with the same seeds and evaluated on the same users, so each user u and seed s gives
a difference D[s, u] of a metric. Its mean varies because other users, and other seeds, could have been drawn.
The bootstrap distribution of the mean has both parts:

    mean over resampled users of (mean over seeds of D)  +  spread of the seeds' means / sqrt(S) * t,

with users drawn with replacement (Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13)
and t from Student's distribution with S - 1 degrees of freedom. Seeds are not resampled: two or three values
cannot show the tails of their distribution, and an interval from resampled seeds is far too narrow. The
interaction of users and seeds is in both parts, so the interval errs on the wide side.

With one seed the second part is missing. The interval is then about two trained models and not about the
variants, so there is no p-value.

Differences that are shown together are tested together: p is adjusted by Holm's procedure (Scandinavian
Journal of Statistics, 1979), and the adjusted intervals follow its order (Ludbrook, Clinical and Experimental
Pharmacology and Physiology, 2000). With the m p-values in ascending order, the k-th interval (from 0) has the
level 1 - 0.05 / (m - k). From the first difference that is not shown, all later ones have its level. So an
adjusted interval excludes 0 exactly when the adjusted p is below 0.05. (The probability that all intervals cover
at once is below 95 %; only the test has that guarantee.)
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

ALPHA = 0.05
"""Largest probability of at least one false finding among all differences shown together."""
_DRAWS_AT_ONCE = 1 << 22
_T_DRAWS = 25  # draws of Student's t for each draw of users


@dataclass(frozen=True)
class Difference:
    """A mean paired difference with its uncertainty; fields are None if one seed is not enough for them.

    Attributes:
        mean: mean over users and seeds.
        low, high: ends of the 95 % interval, not adjusted for other differences.
        adjusted_low, adjusted_high: ends of the interval that is adjusted for all differences shown together.
        adjusted_level: level of the adjusted interval, such as 0.975.
        p_value: two-sided, not adjusted; the smallest alpha at which the interval would exclude 0.
        p_holm: the p-value adjusted for all differences shown together.
        users, seeds: number of each.
    """

    mean: float
    low: float
    high: float
    adjusted_low: float | None
    adjusted_high: float | None
    adjusted_level: float | None
    p_value: float | None
    p_holm: float | None
    users: int
    seeds: int

    @property
    def leaves_out_zero(self) -> bool:
        """Whether the unadjusted interval excludes 0; with one seed, this is about two trained models only."""
        return self.low > 0 or self.high < 0

    @property
    def shown(self) -> bool:
        """Whether the variants differ, adjusted for all differences shown together."""
        return self.p_holm is not None and self.p_holm < ALPHA


class PairedBootstrap:
    """The bootstrap distribution of a mean paired difference; see the top of this file.

    Args:
        differences: [seeds, users], the metric of one variant minus that of the other.
        draws: number of bootstrap draws of users.
        seed: seed of the draws, so that the result is reproducible.
    """

    def __init__(self, differences: npt.ArrayLike, *, draws: int = 4000, seed: int = 0) -> None:
        self.table = np.asarray(differences, dtype=np.float64)
        self.seeds, self.users = self.table.shape
        means = _resampled_means(self.table.mean(0), draws, np.random.default_rng(seed))
        if self.seeds > 1:
            spread = self.table.mean(1).std(ddof=1) / np.sqrt(self.seeds)
            of_seeds = spread * student_draws(self.seeds - 1, draws)
            # many draws, each with both signs, because the far tails of t would be too noisy otherwise
            means = np.concatenate([means + of_seeds, means - of_seeds]).ravel()
        self.means = means

    @property
    def p_value(self) -> float:
        """Two-sided p-value under the hypothesis of no difference."""
        below, above = (self.means <= 0).sum(), (self.means >= 0).sum()
        return min(1.0, 2 * (int(min(below, above)) + 1) / (len(self.means) + 1))

    def interval(self, alpha: float) -> tuple[float, float]:
        """Ends of the interval of level 1 - alpha, which excludes 0 exactly when `p_value` < alpha.

        Raises ValueError if alpha is too small for the number of draws.
        """
        outside = math.ceil(alpha * (len(self.means) + 1) / 2) - 2  # the most draws beyond 0 that make p < alpha
        if outside < 0:
            raise ValueError(f"{len(self.means)} draws are too few for an interval of level {1 - alpha}")
        places = [outside, len(self.means) - 1 - outside]
        low, high = np.partition(self.means, places)[places]
        return float(low), float(high)


def paired_difference(table: npt.ArrayLike) -> Difference:
    """`paired_differences` for a single difference."""
    return paired_differences([table])[0]


def paired_differences(tables: Sequence[npt.ArrayLike], *, draws: int = 4000, seed: int = 0) -> list[Difference]:
    """Differences that are shown together, with intervals and p-values; see the top of this file.

    Args:
        tables: for each difference [seeds, users], the metric of one variant minus that of the other.
        draws: number of bootstrap draws of users.
        seed: seed of the draws, so that the result is reproducible.
    """
    found = [PairedBootstrap(table, draws=draws, seed=seed) for table in tables]
    tested = [place for place, each in enumerate(found) if each.seeds > 1]
    p_values = [found[place].p_value for place in tested]
    adjusted = dict(zip(tested, zip(p_values, holm(p_values), holm_alphas(p_values), strict=True), strict=True))
    return [_difference(each, adjusted.get(place)) for place, each in enumerate(found)]


def _difference(found: PairedBootstrap, tested: tuple[float, float, float] | None) -> Difference:
    """One difference; ``tested`` has its p, its adjusted p and the alpha of its adjusted interval."""
    low, high = found.interval(ALPHA)
    mean = float(found.table.mean())
    if tested is None:
        return Difference(mean, low, high, None, None, None, None, None, found.users, found.seeds)
    p_value, p_holm, alpha = tested
    ends = found.interval(alpha)
    return Difference(mean, low, high, *ends, 1 - alpha, p_value, p_holm, found.users, found.seeds)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for multiple tests (Holm, Scandinavian Journal of Statistics, 1979)."""
    order = np.argsort(p_values)
    adjusted = np.empty(len(p_values))
    largest = 0.0
    for place, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = largest
    return [float(value) for value in adjusted]


def holm_alphas(p_values: Sequence[float]) -> list[float]:
    """1 - the level of each adjusted interval, chosen so that it excludes 0 exactly when `holm` gives p < `ALPHA`."""
    alphas = np.empty(len(p_values))
    own, stopped = ALPHA, False
    for place, index in enumerate(np.argsort(p_values)):
        if not stopped:
            own = ALPHA / (len(p_values) - place)
            stopped = p_values[index] >= own
        alphas[index] = own
    return [float(value) for value in alphas]


@functools.cache
def student_draws(degrees: int, draws: int) -> npt.NDArray[np.float64]:
    """Draws of Student's t, always the same ones, [_T_DRAWS, draws]; read-only."""
    found = np.random.default_rng((degrees, draws)).standard_t(degrees, (_T_DRAWS, draws))
    found.setflags(write=False)
    return found


def _resampled_means(
    values: npt.NDArray[np.float64], draws: int, generator: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Mean of ``len(values)`` draws with replacement, many times, [draws]."""
    count = len(values)
    means = np.empty(draws)
    step = max(1, _DRAWS_AT_ONCE // count)
    for low in range(0, draws, step):
        size = min(step, draws - low)
        means[low : low + size] = values[generator.integers(0, count, (size, count))].mean(1)
    return means
