r"""The embedded data set: made from a seed, with a known best achievable NDCG@10.

Items are books or films. Each kind has six categories of ten items, in a circle (after ``books 1`` comes
``books 2``, after ``books 6`` comes ``books 1``). A user follows two threads, one of books and one of films, and
mostly changes between them. The next item is drawn from a mixture:

| share | component | what a scorer must know |
|---|---|---|
| `SWITCH` | the other kind than the last item's: the category after that of its latest item | that latest item |
| `STAY` | the category of the last item | the last item |
| the rest | all items | nothing |

Before the other kind has its first item, `SWITCH` takes any item of that kind.
Within each component an item is drawn by popularity (`_SKEW` within a category, the same in all) from those not yet
in the history. A component with no item left gives its share to the next one.

So three quarters of the choices follow an item that is not the last one: it is one place before the last in about 80 %
of the histories and further back in the others. A model without attention does not see it, and the set of the items
does not tell which one it is. Every probability depends only on the history, so the best possible scorer is known: it
ranks items by their probability. Its expected NDCG@10, averaged over the test histories, is `Interactions.best_ndcg`.

Timestamps are Unix seconds with irregular gaps: minutes within a session, days between sessions. They are drawn
independently of the items, so a variant that uses time runs on this data but has nothing to gain from it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from attnrec.data.interactions import Interactions, from_codes

NAME = "synthetic"
SWITCH, STAY = 0.75, 0.15
_SHARES = (SWITCH, STAY, 1 - SWITCH - STAY)
_USERS = 1500
_KINDS, _CIRCLE, _IN_CATEGORY = ("books", "films"), 6, 10
_CATEGORIES = len(_KINDS) * _CIRCLE
_ITEMS = _CATEGORIES * _IN_CATEGORY
_SHORTEST, _LONGEST = 10, 20  # length of a history, inclusive
_SKEW = 0.5  # the n-th most popular item of a category has popularity n ** -_SKEW
_FIRST_DAY, _MINUTE, _DAY = 1.7e9, 60.0, 86_400.0  # seconds
_NEW_SESSION = 0.3  # chance that a gap is one between sessions

_Floats = npt.NDArray[np.float64]
_Ints = npt.NDArray[np.int64]


class SyntheticProcess:
    """All users' histories grow by one item per step; see the top of this file for the rule.

    Categories are numbered from 0, books first.

    Attributes:
        category: of each item, [items].
        popularity: of each item, [items].
        unseen: popularity of the items not yet in a user's history, else 0, [users, items].
        kind: of the item at the end of each history, [users].
        thread: category of a history's latest item of each kind, or -1, [users, 2].
        first: the first item of each history, [users].
    """

    def __init__(self, seed: int = 0, users: int = _USERS) -> None:
        self.rng = np.random.Generator(np.random.PCG64((seed, 0x5A5)))
        # use only `random`: other methods of a generator may change between versions of numpy
        places: _Ints = self.rng.random(_ITEMS).argsort()
        self.category: _Ints = places % _CATEGORIES
        self.popularity: _Floats = np.power(places // _CATEGORIES + 1.0, -_SKEW)
        self.unseen = np.tile(self.popularity, (users, 1))
        self.rows = np.arange(users)
        self.kind: _Ints = np.full(users, -1)
        self.thread: _Ints = np.full((users, len(_KINDS)), -1)
        self.first = self._append(self.unseen)

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
        return self._append(self.probabilities(self.rows))

    def _components(self, rows: _Ints) -> tuple[_Floats, _Floats, _Floats]:
        """Weights of the items in each component of the mixture, [len(rows), items] each."""
        unseen, kind = self.unseen[rows], self.kind[rows]
        other = self.thread[rows, 1 - kind]
        after = other // _CIRCLE * _CIRCLE + (other + 1) % _CIRCLE
        begun = (other >= 0)[:, None]
        of_other_kind = self.category // _CIRCLE == 1 - kind[:, None]
        switch = unseen * np.where(begun, self.category == after[:, None], of_other_kind)
        stay = unseen * (self.category == self.thread[rows, kind][:, None])
        return switch, stay, unseen

    def _append(self, weights: _Floats) -> _Ints:
        """Draw an item for each user, with probability proportional to its weight, and append it to the history."""
        cumulative = weights.cumsum(1)
        points = self.rng.random(len(weights)) * cumulative[:, -1]
        # the first item whose cumulative weight exceeds the point: never one of weight 0
        items: _Ints = (cumulative > points[:, None]).argmax(1)
        self.unseen[self.rows, items] = 0.0
        self.kind = self.category[items] // _CIRCLE
        self.thread[self.rows, self.kind] = self.category[items]
        return items


def expected_ndcg(probabilities: _Floats, cutoff: int = 10) -> _Floats:
    """Expected NDCG@cutoff of ranking by probability, the best possible ranking: [rows, items] to [rows]."""
    best = -np.sort(-probabilities, axis=1)[:, :cutoff]
    return (best / np.log2(np.arange(best.shape[1]) + 2)).sum(1)


def synthetic(seed: int = 0) -> Interactions:
    """1,500 users, 120 items and about 22,500 interactions; the same seed gives the same data."""
    process = SyntheticProcess(seed)
    lengths = _SHORTEST + (process.rng.random(_USERS) * (_LONGEST + 1 - _SHORTEST)).astype(np.int64)
    histories = np.empty((_USERS, _LONGEST), dtype=np.int64)
    histories[:, 0] = process.first
    best = np.zeros(_USERS)
    for place in range(1, _LONGEST):
        ends = lengths == place + 1
        best[ends] = expected_ndcg(process.probabilities(np.flatnonzero(ends)))
        histories[:, place] = process.step()
    kept = np.arange(_LONGEST) < lengths[:, None]
    data = from_codes(
        NAME,
        np.repeat(np.arange(_USERS), lengths),
        histories[kept] + 1,
        tuple(f"user{u + 1}" for u in range(_USERS)),
        tuple(f"item{i + 1}" for i in range(_ITEMS)),
        _times(process.rng)[kept],
    )
    names = [f"{kind} {place + 1}" for kind in _KINDS for place in range(_CIRCLE)]
    categories = tuple((names[category],) for category in process.category)
    return replace(data, best_ndcg=float(best.mean()), item_categories=categories)


def _times(rng: np.random.Generator) -> _Floats:
    """Increasing whole seconds for every place of every history, [users, longest]."""
    shape = (_USERS, _LONGEST)
    mean_gap = np.where(rng.random(shape) < _NEW_SESSION, 5 * _DAY, 10 * _MINUTE)
    gaps = 1 + np.floor(-np.log(1 - rng.random(shape)) * mean_gap)
    first = np.floor(rng.random((_USERS, 1)) * 365 * _DAY)
    return _FIRST_DAY + first + gaps.cumsum(1)
