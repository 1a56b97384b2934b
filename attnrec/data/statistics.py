"""Statistics of a data set: those that papers report, and lengths, popularity and ties."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from attnrec.data.interactions import DataError, Interactions
from attnrec.data.moments import shown_moment
from attnrec.data.splits import make_split, resolved_kind

_EDGES = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 100_000, 1_000_000)


@dataclass(frozen=True)
class Statistics:
    """Figures of a data set.

    Attributes:
        mean_length: mean number of interactions of a user.
        mean_popularity: mean number of interactions of an item.
        density: interactions divided by users times items.
        lengths: users by the length of their histories, as (range, users).
        popularity: items by their interactions, as (range, items).
        tied: interactions at the same time as the user's previous one; None without times.
        first, last: dates, or the plain numbers if they are not dates; None without times.
    """

    users: int
    items: int
    interactions: int
    mean_length: float
    mean_popularity: float
    density: float
    lengths: tuple[tuple[str, int], ...]
    popularity: tuple[tuple[str, int], ...]
    tied: int | None = None
    first: str | None = None
    last: str | None = None


@dataclass(frozen=True)
class Overview:
    """The first figures of a data set.

    Attributes:
        median_length, max_length: of the histories, in interactions.
        evaluated_users: users that have a test item under the split ``auto``; 0 if none can be held out.
        timestamps: whether interactions have times.
    """

    users: int
    items: int
    interactions: int
    median_length: float
    max_length: int
    evaluated_users: int
    timestamps: bool


def overview(data: Interactions) -> Overview:
    """The first figures of a data set."""
    try:
        evaluated = len(make_split(data, resolved_kind("auto", data)).users("test"))
    except DataError:  # too few interactions to hold any out
        evaluated = 0
    return Overview(
        data.num_users,
        data.num_items,
        data.num_interactions,
        float(np.median(data.lengths)),
        int(data.lengths.max()),
        evaluated,
        data.timestamps is not None,
    )


def statistics(data: Interactions) -> Statistics:
    """The figures of a data set."""
    counts = np.bincount(data.items, minlength=data.num_items + 1)[1:]
    tied, first, last = None, None, None
    if data.timestamps is not None:
        same = np.diff(data.timestamps) == 0
        same[data.offsets[1:-1] - 1] = False  # do not compare one user's last with the next user's first
        tied = int(same.sum())
        first, last = (shown_moment(float(edge(data.timestamps)), data.timestamps) for edge in (np.min, np.max))
    return Statistics(
        data.num_users,
        data.num_items,
        data.num_interactions,
        data.num_interactions / data.num_users,
        data.num_interactions / data.num_items,
        data.num_interactions / (data.num_users * data.num_items),
        _histogram(data.lengths),
        _histogram(counts),
        tied,
        first,
        last,
    )


def _histogram(values: npt.NDArray[np.int64]) -> tuple[tuple[str, int], ...]:
    places = np.searchsorted(_EDGES, values, side="right") - 1
    found = []
    for place in range(max(0, int(places.min())), int(places.max()) + 1):
        low = _EDGES[place]
        high = _EDGES[place + 1] - 1 if place + 1 < len(_EDGES) else None
        label = f"{low:,}+" if high is None else f"{low:,}" if high == low else f"{low:,}-{high:,}"
        found.append((label, int((places == place).sum())))
    return tuple(found)
