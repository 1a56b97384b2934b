"""Draws from the unseen items: never a seen one, uniform, distinct where promised."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attnrec.data.interactions import DataError
from attnrec.data.negatives import UnseenItems


def unseen_of(histories: list[list[int]], num_items: int) -> UnseenItems:
    flat = np.array([item for history in histories for item in history], dtype=np.int32)
    return UnseenItems(flat, np.array([len(history) for history in histories]), num_items)


@given(
    st.lists(st.lists(st.integers(1, 12), max_size=11), min_size=1, max_size=6),
)
def test_every_rank_is_an_unseen_item_in_order(histories: list[list[int]]) -> None:
    unseen = unseen_of(histories, 12)
    for user, history in enumerate(histories):
        expected = [item for item in range(1, 13) if item not in history]
        assert int(unseen.unseen[user]) == len(expected)
        found = unseen.at(torch.tensor([user]), torch.arange(len(expected)))
        assert found.tolist() == expected


def test_draws_are_uniform_over_the_unseen() -> None:
    unseen = unseen_of([[2, 2, 9], [], [1]], 10)
    generator = torch.Generator().manual_seed(1)
    draws = unseen.draw(torch.tensor([[0], [1], [2]]), (3, 40_000), generator)
    for user, allowed in enumerate(([1, 3, 4, 5, 6, 7, 8, 10], list(range(1, 11)), list(range(2, 11)))):
        counts = torch.bincount(draws[user], minlength=11)
        assert counts.nonzero()[:, 0].tolist() == allowed
        expected = 40_000 / len(allowed)
        # chi-squared with at most 9 degrees of freedom: 30 has a probability under 0.0005
        assert float(((counts[allowed] - expected) ** 2 / expected).sum()) < 30


def test_distinct_draws() -> None:
    unseen = unseen_of([[1, 5], list(range(1, 9)), []], 10)
    generator = torch.Generator().manual_seed(2)
    counts = torch.zeros(11)
    for _ in range(300):
        drawn = unseen.draw_distinct(torch.tensor([0, 1, 2]), 4, generator)
        assert all(len(set(row.tolist())) == 4 for row in drawn[[0, 2]])
        assert not set(drawn[0].tolist()) & {1, 5}
        assert drawn[1].tolist() == [9, 10, 0, 0]  # fewer than four unseen: all of them
        counts += torch.bincount(drawn[0], minlength=11)
    allowed = counts[[2, 3, 4, 6, 7, 8, 9, 10]]
    assert float(((allowed - 150) ** 2 / 150).sum()) < 26  # 7 degrees of freedom: p < 0.0005


def test_a_user_without_unseen_items_is_refused() -> None:
    unseen = unseen_of([[1, 2, 3], [1]], 3)
    with pytest.raises(DataError, match=r"all 3 items, so no$"):
        unseen.require(1, np.array([0, 1]), "no")
    unseen.require(1, np.array([1]), "no")
    unseen.require(1, np.array([], dtype=np.int64), "no")
