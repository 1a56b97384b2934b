r"""How many seeds would it take to show a difference of the size seen?

The per-user differences D[s, u] of S seeds (see `significance`) are split into a part that a user has under every
seed, with variance A over users, and a part that changes with the seed, with variance B:

    B = mean square of the residuals after subtracting the means of users and of seeds,
    A = variance over users of their means over seeds - B / S     (not below 0),

the estimates of a two-way table (Searle, Casella & McCulloch, "Variance Components", 1992). With S' seeds and n
users the interval would extend to each side of the mean as far as the distribution of

    sqrt((A + B / S') / n) * normal  +  spread of the seeds' means / sqrt(S') * t with S' - 1 degrees of freedom.

A true difference as large as the one seen is then shown in about half of all cases, namely when the new seeds' mean is
no smaller. More seeds do not reduce the users' part, sqrt(A / n) * normal.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from attnrec.evaluation.significance import student_draws

MOST_SEEDS = 20
_DRAWS = 4000


@dataclass(frozen=True)
class SeedsWanted:
    """Whether more seeds would show a difference that is not shown yet.

    Attributes:
        more: the fewest additional seeds that would show a difference of this size; None if `MOST_SEEDS` in total would
            not be enough, or if the difference is 0.
        users_part: half the width of the interval that infinitely many seeds would leave.
        hopeless: whether `users_part` by itself covers the difference.
    """

    more: int | None
    users_part: float
    hopeless: bool


def seeds_wanted(differences: npt.ArrayLike, alpha: float) -> SeedsWanted:
    """How many more seeds would show a difference of the size seen; see the top of this file.

    Args:
        differences: [seeds, users], the metric of one variant minus that of the other; at least two seeds.
        alpha: 1 - the level of the interval that must exclude 0.
    """
    table = np.asarray(differences, dtype=np.float64)
    seeds, users = table.shape
    size = abs(float(table.mean()))
    spread = float(table.mean(1).std(ddof=1))
    steady, changing = _variances(table)
    users_part = NormalDist().inv_cdf(1 - alpha / 2) * float(np.sqrt(steady / users))
    if users_part >= size:
        return SeedsWanted(None, users_part, hopeless=True)

    def shown(count: int) -> bool:
        of_users = float(np.sqrt((steady + changing / count) / users))
        return _half_width(of_users, spread / np.sqrt(count), count - 1, alpha) < size

    counts = range(seeds + 1, MOST_SEEDS + 1)
    place = bisect_left(counts, True, key=shown)
    return SeedsWanted(place + 1 if place < len(counts) else None, users_part, hopeless=False)


def _variances(table: npt.NDArray[np.float64]) -> tuple[float, float]:
    """The variances A (what all seeds share) and B (what changes with the seed) from the top of this file."""
    seeds, users = table.shape
    of_users, of_seeds = table.mean(0), table.mean(1, keepdims=True)
    rest = table - of_users - of_seeds + table.mean()
    changing = float((rest**2).sum() / max(1, (seeds - 1) * (users - 1)))
    return max(0.0, float(of_users.var(ddof=1)) - changing / seeds), changing


def _half_width(of_users: float, of_seeds: float, degrees: int, alpha: float) -> float:
    """The (1 - alpha / 2) quantile of of_users * normal + of_seeds * t."""
    t = student_draws(degrees, _DRAWS)
    normal = np.random.default_rng(0).standard_normal(t.shape)
    draws = np.concatenate([of_users * normal + of_seeds * t, of_users * normal - of_seeds * t])
    return float(np.quantile(np.abs(draws), 1 - alpha))  # symmetric about 0
