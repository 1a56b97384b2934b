r"""Is one variant better than another? A paired interval over users and seeds.

Both variants were run with the same seeds and evaluated on the same users, so each user u and seed s gives
a difference D[s, u] of a metric. Their mean varies because other users, and other seeds, could have been
drawn. The bootstrap distribution of the mean has both parts:

    mean over resampled users of (mean over seeds of D)  +  spread of the seeds' means / sqrt(S) * t,

with users drawn with replacement (Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13)
and t from Student's distribution with S - 1 degrees of freedom. Seeds are not resampled: two or three values
cannot show the tails of what they come from, and an interval made of them alone is far too narrow. What
users and seeds do together is in both parts, so the interval errs on the wide side. With one seed the second
part is missing, and the interval speaks of that one pair of trained models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_DRAWS_AT_ONCE = 1 << 22
_T_DRAWS = 25  # of Student's t for each draw of users


@dataclass(frozen=True)
class Difference:
    """A mean paired difference with its uncertainty.

    Attributes:
        mean: over users and seeds.
        low, high: ends of the interval.
        p_value: two-sided; the smallest level at which the interval would leave out 0.
        users, seeds: how many of each.
    """

    mean: float
    low: float
    high: float
    p_value: float
    users: int
    seeds: int

    @property
    def shown(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


def paired_difference(
    differences: npt.ArrayLike, *, level: float = 0.95, draws: int = 4000, seed: int = 0
) -> Difference:
    """Interval and p-value of a mean paired difference; see the head of this file.

    Args:
        differences: [seeds, users], the metric of one variant minus that of the other.
        level: of the interval.
        draws: bootstrap draws.
        seed: of the draws, so that the result is reproducible.
    """
    table = np.asarray(differences, dtype=np.float64)
    seeds, users = table.shape
    generator = np.random.default_rng(seed)
    means = _resampled_means(table.mean(0), draws, generator)
    if seeds > 1:
        spread = table.mean(1).std(ddof=1) / np.sqrt(seeds)
        of_seeds = spread * generator.standard_t(seeds - 1, (_T_DRAWS, draws))
        # many draws, and each with both signs: the far tails of t would be noise otherwise
        means = np.concatenate([means + of_seeds, means - of_seeds]).ravel()
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    below, above = (means <= 0).sum(), (means >= 0).sum()
    p_value = min(1.0, 2 * (min(below, above) + 1) / (len(means) + 1))
    return Difference(float(table.mean()), float(low), float(high), float(p_value), users, seeds)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for there being several (Holm, Scandinavian Journal of Statistics, 1979)."""
    order = np.argsort(p_values)
    adjusted = np.empty(len(p_values))
    largest = 0.0
    for place, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = largest
    return [float(value) for value in adjusted]


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
