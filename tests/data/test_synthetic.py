"""The embedded data set: reproducible, and its best NDCG is what its own probabilities give."""

from __future__ import annotations

import numpy as np

from attnrec.data.synthetic import FOLLOW, REVISIT, SUCCESSOR, SyntheticProcess, expected_ndcg, synthetic


def test_the_data_set_is_as_documented() -> None:
    data = synthetic()
    again = synthetic()
    assert (data.items == again.items).all()
    assert data.num_users == 2000
    assert data.num_items == 500
    assert all(len(set(data.history(u).tolist())) == len(data.history(u)) for u in range(50))  # nothing twice
    counts = np.sort(np.bincount(data.items))[::-1]
    assert counts[:50].sum() > 0.2 * counts.sum()  # popularity is skewed: a tenth of the items
    assert data.best_ndcg is not None
    assert 0.25 < data.best_ndcg < 0.5
    assert not (synthetic(1).items[:100] == data.items[:100]).all()


def test_steps_follow_the_stated_probabilities() -> None:
    process = SyntheticProcess(users=20_000)
    process.unseen[:] = process.unseen[0]  # all users alike: the draws estimate one distribution
    process.last[:] = process.last[0]
    current = process.category[process.last[0]]
    followed, visited = (current + 1) % 25, (current + 2) % 25
    process.visited[:] = False
    process.visited[:, [current, visited]] = True
    process.followed_by[:, current] = followed
    stated = process.probabilities(np.array([0, 19_999]))
    assert np.allclose(stated.sum(1), 1)
    assert (stated[0] == stated[1]).all()
    assert FOLLOW < stated[0][process.category == followed].sum() < FOLLOW + SUCCESSOR + 0.01
    assert REVISIT < stated[0][process.category == visited].sum() < REVISIT + SUCCESSOR + 0.01
    assert stated[0][process.category == current].sum() == 0
    drawn = np.bincount(process.step(), minlength=500) / 20_000
    assert np.abs(drawn - stated[0]).max() < 5 * np.sqrt(stated[0].max() / 20_000)
    assert drawn[stated[0] == 0].sum() == 0


def test_expected_ndcg_is_the_mean_over_outcomes() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(30), 3)
    for row, value in zip(probabilities, expected_ndcg(probabilities), strict=True):
        order = np.argsort(-row)
        by_outcome = sum(row[item] / np.log2(rank + 2) for rank, item in enumerate(order) if rank < 10)
        assert np.isclose(value, by_outcome)
