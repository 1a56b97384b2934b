r"""The embedded data set: made from a seed, with a known best achievable NDCG@10.

Items belong to categories and have a popularity (Zipf). After item i of category c the next item is drawn
from a mixture, within each component by popularity among the items that are not yet in the history:

| share | component |
|---|---|
| `FOLLOW` | second order: items of the category that came after the first visit of c *in this history* |
| `SUCCESSOR` | first order: the fixed successors of i |
| the rest | all items |

A component without candidates gives its share to the last one. The second-order rule cannot be read off
the last item: a model has to find the earlier visit of c and look at what followed it, which is what
attention does; it is a user's own, so nothing about it carries over from other users.

Every probability depends on the history alone, so the best possible scorer is known: it ranks items by
their probability. Its expected NDCG@10, averaged over the test histories, is `Interactions.best_ndcg`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from attnrec.data.interactions import Interactions, from_codes

NAME = "synthetic"
FOLLOW, SUCCESSOR = 0.6, 0.25
_USERS, _ITEMS, _CATEGORIES, _SUCCESSORS = 2000, 500, 10, 3
_SHORTEST, _LONGEST = 20, 60  # length of a history, inclusive
_ZIPF = 0.8

_Floats = npt.NDArray[np.float64]
_Ints = npt.NDArray[np.int64]


class SyntheticProcess:
    """All users' histories grow by one item a step; see the head of this file for the rule.

    Attributes:
        popularity: of each item, [items].
        category: of each item, [items].
        successors: of each item, [items, 3].
        unseen: popularity of the items not yet in a user's history, else 0, [users, items].
        followed_by: category that came after a user's first visit of a category, or -1, [users, categories].
        last: item at the end of each history, [users].
    """

    def __init__(self, seed: int = 0, users: int = _USERS) -> None:
        self.rng = np.random.default_rng((seed, 0x5A5))
        ranks: _Floats = self.rng.permutation(_ITEMS).astype(np.float64)
        self.popularity: _Floats = np.power(ranks + 1, -_ZIPF)
        self.category: _Ints = self.rng.permutation(_ITEMS) % _CATEGORIES
        self.successors: _Ints = np.stack([self.rng.permutation(_ITEMS) for _ in range(_SUCCESSORS)], 1)
        self.unseen = np.tile(self.popularity, (users, 1))
        self.followed_by: _Ints = np.full((users, _CATEGORIES), -1)
        self.rows = np.arange(users)
        self.last: _Ints = self._draw(self.unseen)
        self.unseen[self.rows, self.last] = 0.0

    def probabilities(self) -> _Floats:
        """Distribution of every user's next item, [users, items]."""
        follow, successor, anything = self._components()
        result = np.zeros_like(self.unseen)
        rest = np.ones(len(self.rows))
        for share, weights in ((FOLLOW, follow), (SUCCESSOR, successor)):
            total = weights.sum(1)
            taken = np.where(total > 0, share, 0.0)
            result += weights * (taken / np.where(total > 0, total, 1.0))[:, None]
            rest -= taken
        return result + anything * (rest / anything.sum(1))[:, None]

    def step(self) -> _Ints:
        """Draw every user's next item and append it; item numbers from 0, [users]."""
        fractions = self.rng.random(len(self.rows))[:, None]
        follow, successor, anything = self._components()
        chosen = np.where(fractions < FOLLOW, follow, np.where(fractions < FOLLOW + SUCCESSOR, successor, anything))
        empty = chosen.sum(1) == 0
        chosen[empty] = anything[empty]
        items = self._draw(chosen)
        was, now = self.category[self.last], self.category[items]
        first_visit = self.followed_by[self.rows, was] < 0
        self.followed_by[self.rows[first_visit], was[first_visit]] = now[first_visit]
        self.unseen[self.rows, items] = 0.0
        self.last = items
        return items

    def _components(self) -> tuple[_Floats, _Floats, _Floats]:
        wanted = self.followed_by[self.rows, self.category[self.last]]
        follow = self.unseen * (self.category == wanted[:, None])
        successor = np.zeros_like(self.unseen)
        places = (self.rows[:, None], self.successors[self.last])
        successor[places] = self.unseen[places]
        return follow, successor, self.unseen

    def _draw(self, weights: _Floats) -> _Ints:
        """One item a row, with probability proportional to its weight."""
        cumulative = weights.cumsum(1)
        points = self.rng.random(len(weights)) * cumulative[:, -1]
        # the first item whose cumulative weight exceeds the point: never one of weight 0
        return (cumulative > points[:, None]).argmax(1)


def expected_ndcg(probabilities: _Floats, cutoff: int = 10) -> _Floats:
    """NDCG@cutoff to be expected of ranking by probability, the best of all rankings: [rows, items] to [rows]."""
    best = -np.sort(-probabilities, axis=1)[:, :cutoff]
    return (best / np.log2(np.arange(best.shape[1]) + 2)).sum(1)


def synthetic(seed: int = 0) -> Interactions:
    """2,000 users, 500 items and about 80,000 interactions; the same seed gives the same data."""
    process = SyntheticProcess(seed)
    lengths = process.rng.integers(_SHORTEST, _LONGEST + 1, _USERS)
    histories = np.empty((_USERS, _LONGEST), dtype=np.int64)
    histories[:, 0] = process.last
    best = np.zeros(_USERS)
    for place in range(1, _LONGEST):
        ends = lengths == place + 1
        if ends.any():
            best[ends] = expected_ndcg(process.probabilities()[ends])
        histories[:, place] = process.step()
    kept = np.arange(_LONGEST) < lengths[:, None]
    data = from_codes(
        NAME,
        np.repeat(np.arange(_USERS), lengths),
        histories[kept] + 1,
        tuple(f"user{u + 1}" for u in range(_USERS)),
        tuple(f"item{i + 1}" for i in range(_ITEMS)),
    )
    return replace(data, best_ndcg=float(best.mean()))
