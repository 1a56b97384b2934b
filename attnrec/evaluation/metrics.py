"""NDCG@N, Hit@N and MRR with one true item per user, from its rank.

With one relevant item the ideal DCG is 1, so at rank r (from 0)

    NDCG@N = 1 / log2(r + 2) if r < N else 0,   Hit@N = [r < N],   MRR = 1 / (r + 1)

(Järvelin & Kekäläinen, ACM TOIS 2002; for leave-one-out: He et al., "Neural Collaborative Filtering", WWW
2017). Candidates tied with the true item count as being in random order, and each metric is its expected value: a
scorer that gives all items the same score gets the metrics of a random ranking.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attnrec.core.errors import InputError

DEFAULT_CUTOFFS = (1, 5, 10, 20)


@dataclass(frozen=True, eq=False)
class Ranks:
    """Ranks of the true items among their candidates.

    Attributes:
        above: int64 [M], candidates with a strictly higher score than the true item.
        tied: int64 [M], other candidates with the same score.
    """

    above: Tensor
    tied: Tensor

    def of(self, chosen: Tensor) -> Ranks:
        """The ranks of some of the users; ``chosen`` is a mask [M]."""
        return Ranks(self.above[chosen], self.tied[chosen])

    def expected(self, gain_by_rank: Tensor) -> Tensor:
        """Expected gain over the order of ties, [M]; ``gain_by_rank`` is the gain at ranks 0, 1, ... (0 beyond)."""
        totals = torch.cat([gain_by_rank.new_zeros(1), gain_by_rank.cumsum(0)])
        last = len(gain_by_rank)
        low = totals[self.above.clamp(max=last)]
        high = totals[(self.above + self.tied + 1).clamp(max=last)]
        return (high - low) / (self.tied + 1)


def per_user_metrics(ranks: Ranks, cutoffs: Sequence[int] = DEFAULT_CUTOFFS) -> dict[str, Tensor]:
    """Every metric of every user: ``NDCG@N`` and ``Hit@N`` for each cut-off, and ``MRR``; float64 [M] each."""
    longest = int((ranks.above + ranks.tied).max()) + 1 if len(ranks.above) else 1
    places = torch.arange(max(longest, *cutoffs), dtype=torch.float64, device=ranks.above.device)
    discounts = 1 / torch.log2(places + 2)
    values = {f"NDCG@{n}": ranks.expected(discounts[:n]) for n in cutoffs}
    values |= {f"Hit@{n}": ranks.expected(torch.ones_like(discounts[:n])) for n in cutoffs}
    values["MRR"] = ranks.expected(1 / (places + 1))
    return values


def mean_metrics(ranks: Ranks, cutoffs: Sequence[int] = DEFAULT_CUTOFFS) -> dict[str, float]:
    """Mean over users of `per_user_metrics`."""
    return {name: float(value.mean()) for name, value in per_user_metrics(ranks, cutoffs).items()}


def check_cutoffs(cutoffs: Sequence[int], num_items: int) -> tuple[int, ...]:
    """The cut-offs sorted, each once; InputError unless each is 1..num_items."""
    if not cutoffs:
        raise InputError("give at least one cut-off N")
    for n in cutoffs:
        if not 1 <= n <= num_items:
            raise InputError(f"the cut-off N = {n} is not between 1 and the number of items, {num_items}")
    return tuple(sorted(set(cutoffs)))
