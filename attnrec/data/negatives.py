"""Uniform draws from the items that a user has not interacted with, exact and without rejection.

Let s_0 < s_1 < ... be the items a user has seen, numbered from 1. Before s_j there are s_j - 1 - j unseen
ones, so the unseen item of rank r (from 0) is r + 1 + #{j : s_j - 1 - j <= r}. A draw takes one binary search; memory
grows only with the number of interactions.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from attnrec.data.interactions import DataError

_ROWS_AT_ONCE = 4096  # users drawn for at once, to limit memory


class UnseenItems:
    """Draws items a user has not seen, uniformly.

    Args:
        items: the seen items of all users, one user after another, numbered from 1, [M]; repeats allowed.
        lengths: how many of them belong to each user, [num_users].
        num_items: size of the catalogue.
    """

    def __init__(self, items: npt.NDArray[np.int32], lengths: npt.NDArray[np.int64], num_items: int) -> None:
        self.num_items = num_items
        stride = num_items + 1
        users = np.repeat(np.arange(len(lengths)), lengths)
        seen = np.unique(users * stride + items)
        owner, item = np.divmod(seen, stride)
        counts = np.bincount(owner, minlength=len(lengths))
        first = np.cumsum(counts) - counts
        unseen_before = item - 1 - (np.arange(len(seen)) - first[owner])
        self.keys = torch.from_numpy(owner * stride + unseen_before)
        self.first = torch.from_numpy(first)
        self.unseen = torch.from_numpy(num_items - counts)

    def require(self, count: int, users: npt.NDArray[np.int64], what: str) -> None:
        """Raise DataError unless each of ``users`` has at least ``count`` unseen items."""
        if len(users) and int(self.unseen[torch.from_numpy(users)].min()) < count:
            raise DataError(f"a user has interacted with all {self.num_items} items, so {what}")

    def to(self, device: torch.device) -> UnseenItems:
        """Move the tables to another device; returns self."""
        self.keys, self.first, self.unseen = (tensor.to(device) for tensor in (self.keys, self.first, self.unseen))
        return self

    def at(self, users: Tensor, ranks: Tensor) -> Tensor:
        """The unseen item of the given rank, int64 of the shape of ``ranks``; ``users`` broadcasts with it."""
        users = users.expand_as(ranks)
        stride = self.num_items + 1
        found = torch.searchsorted(self.keys, users * stride + ranks, right=True)
        return ranks + 1 + found - self.first[users]

    def draw(self, users: Tensor, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Independent uniform draws, int64 ``shape``; ``users`` broadcasts with it.

        A user without an unseen item gives item numbers out of range: call `require` first.
        """
        # float64, because float32 cannot tell apart millions of items
        fractions = torch.rand(shape, generator=generator, dtype=torch.float64, device=self.keys.device)
        return self.at(users, (fractions * self.unseen[users]).long())

    def draw_distinct(self, users: Tensor, count: int, generator: torch.Generator) -> Tensor:
        """``count`` different unseen items for each user, uniform over such sets, int64 [len(users), count].

        A user with fewer unseen items gets all of them; the rest of the row is 0.
        """
        limit = self.unseen[users][:, None]
        few = limit[:, 0] < count
        pending = torch.nonzero(~few)[:, 0]
        ranks = torch.empty(len(users), count, dtype=torch.int64)
        for rows in torch.arange(len(users)).split(_ROWS_AT_ONCE):
            ranks[rows] = (self._uniform(rows, count, generator) * limit[rows]).long()
        ranks[few] = torch.arange(count).expand(int(few.sum()), -1)
        # redrawing only repeats stays uniform over sets, because no step prefers one item to another
        while len(pending):
            again = []
            for rows in pending.split(_ROWS_AT_ONCE):
                ordered, _ = ranks[rows].sort(dim=1)
                repeated = torch.zeros_like(ordered, dtype=torch.bool)
                repeated[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
                fresh = self._uniform(rows, count, generator) * limit[rows]
                ranks[rows] = torch.where(repeated, fresh.long(), ordered)
                again.append(rows[repeated.any(dim=1)])
            pending = torch.cat(again)
        for rows in torch.arange(len(users)).split(_ROWS_AT_ONCE):
            own, most = ranks[rows], limit[rows]
            items = self.at(users[rows, None], own.clamp(max=(most - 1).clamp(min=0)))
            ranks[rows] = torch.where(own < most, items, 0)
        return ranks

    @staticmethod
    def _uniform(rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
        return torch.rand((len(rows), count), generator=generator, dtype=torch.float64)
