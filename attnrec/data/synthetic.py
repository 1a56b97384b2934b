r"""The embedded data set: made from a seed, with a known best achievable NDCG@10.

Items belong to categories and have a popularity (Zipf). After item i of category c the next item is drawn
from a mixture, within each component by popularity among the items of the *other* categories that are not yet
in the history:

| share | component |
|---|---|
| `FOLLOW` | second order: items of the category that came after the first visit of c *in this history* |
| `REVISIT` | items of the categories that occur in this history |
| `SUCCESSOR` | first order: the fixed successors of i |
| the rest | all items |

A component without candidates gives its share to the next one. The first two cannot be read off the last
item: a model has to look back at what the history holds, and at what followed the earlier visit of c, which
is what attention does; both are a user's own, so nothing about them carries over from other users.

Every probability depends on the history alone, so the best possible scorer is known: it ranks items by
their probability. Its expected NDCG@10, averaged over the test histories, is `Interactions.best_ndcg`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from attnrec.data.interactions import Interactions, from_codes

NAME = "synthetic"
FOLLOW, REVISIT, SUCCESSOR = 0.6, 0.25, 0.1
_SHARES = (FOLLOW, REVISIT, SUCCESSOR, 1 - FOLLOW - REVISIT - SUCCESSOR)
_USERS, _ITEMS, _CATEGORIES, _SUCCESSORS = 2000, 500, 25, 3
_SHORTEST, _LONGEST = 15, 35  # length of a history, inclusive
_ZIPF = 1.0

_Floats = npt.NDArray[np.float64]
_Ints = npt.NDArray[np.int64]


class SyntheticProcess:
    """All users' histories grow by one item a step; see the head of this file for the rule.

    Attributes:
        popularity: of each item, [items].
        category: of each item, [items].
        successors: of each item, [items, 3].
        unseen: popularity of the items not yet in a user's history, else 0, [users, items].
        visited: whether a category occurs in a history, [users, categories].
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
        self.visited = np.zeros((users, _CATEGORIES), dtype=bool)
        self.visited[self.rows, self.category[self.last]] = True

    def probabilities(self, rows: _Ints) -> _Floats:
        """Distribution of the next item of the given users, [len(rows), items]."""
        result = np.zeros((len(rows), _ITEMS))
        share = np.zeros(len(rows))
        for extra, weights in zip(_SHARES, self._components(rows), strict=True):
            share = share + extra
            total = weights.sum(1)
            used = total > 0
            result[used] += weights[used] * (share[used] / total[used])[:, None]
            share[used] = 0.0
        return result

    def step(self) -> _Ints:
        """Draw every user's next item and append it; item numbers from 0, [users]."""
        chosen = np.zeros_like(self.unseen)
        fractions = self.rng.random(len(self.rows))
        for end, weights in zip(np.cumsum(_SHARES), self._components(self.rows), strict=True):
            wanting = (fractions < end) & ~chosen.any(1)
            chosen[wanting] = weights[wanting]
        items = self._draw(chosen)
        was, now = self.category[self.last], self.category[items]
        first_visit = self.followed_by[self.rows, was] < 0
        self.followed_by[self.rows[first_visit], was[first_visit]] = now[first_visit]
        self.visited[self.rows, now] = True
        self.unseen[self.rows, items] = 0.0
        self.last = items
        return items

    def _components(self, rows: _Ints) -> tuple[_Floats, _Floats, _Floats, _Floats]:
        """Weights of the items in each component of the mixture, [len(rows), items] each."""
        last = self.last[rows]
        current = self.category[last]
        unseen = self.unseen[rows] * (self.category != current[:, None])
        follow = unseen * (self.category == self.followed_by[rows, current][:, None])
        revisit = unseen * self.visited[rows][:, self.category]
        successor = np.zeros_like(unseen)
        places = (np.arange(len(rows))[:, None], self.successors[last])
        successor[places] = unseen[places]
        return follow, revisit, successor, unseen

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
    """2,000 users, 500 items and about 50,000 interactions; the same seed gives the same data."""
    process = SyntheticProcess(seed)
    lengths = process.rng.integers(_SHORTEST, _LONGEST + 1, _USERS)
    histories = np.empty((_USERS, _LONGEST), dtype=np.int64)
    histories[:, 0] = process.last
    best = np.zeros(_USERS)
    for place in range(1, _LONGEST):
        ends = lengths == place + 1
        if ends.any():
            best[ends] = expected_ndcg(process.probabilities(np.flatnonzero(ends)))
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
