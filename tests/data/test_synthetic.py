"""The embedded data set: its rule, its best NDCG, and that only a model that looks back in order can follow it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from attnrec.data.interactions import Interactions
from attnrec.data.load import fingerprint
from attnrec.data.splits import leave_one_out
from attnrec.data.synthetic import STAY, SWITCH, SyntheticProcess, expected_ndcg, synthetic
from attnrec.evaluation.metrics import mean_metrics
from attnrec.evaluation.ranking import Evaluator
from attnrec.recommender import load
from attnrec.training.config import TrainConfig
from attnrec.training.run import train


@pytest.fixture(scope="module")
def data() -> Interactions:
    return synthetic()


def stated_distribution(history: list[int], category: list[int], popularity: list[float]) -> list[float]:
    """The table at the head of `attnrec.data.synthetic` in plain loops: categories 0 to 5 are books, 6 to 11 films."""
    kinds = [number // 6 for number in category]
    last = history[-1]
    others = [item for item in history if kinds[item] != kinds[last]]
    after = {5: 0, 11: 6}.get(category[others[-1]], category[others[-1]] + 1) if others else None
    unseen = [item for item in range(len(category)) if item not in history]
    switch = [i for i in unseen if kinds[i] != kinds[last] and category[i] == (category[i] if after is None else after)]
    stay = [i for i in unseen if category[i] == category[last]]
    result = [0.0] * len(category)
    waiting = 0.0
    for share, candidates in ((SWITCH, switch), (STAY, stay), (1 - SWITCH - STAY, unseen)):
        waiting += share
        total = sum(popularity[item] for item in candidates)
        for item in candidates:
            result[item] += waiting * popularity[item] / total
        waiting = 0.0 if candidates else waiting
    return result


def test_the_data_set_is_as_documented(data: Interactions) -> None:
    assert (data.num_users, data.num_items) == (1500, 120)
    assert 22_000 < data.num_interactions < 23_000
    assert (data.lengths.min(), data.lengths.max()) == (10, 20)
    assert all(len(set(data.history(u).tolist())) == len(data.history(u)) for u in range(data.num_users))
    assert data.item_categories is not None
    counts = Counter(category for (category,) in data.item_categories)
    assert counts == {f"{kind} {place}": 10 for kind in ("books", "films") for place in range(1, 7)}
    assert data.best_ndcg is not None
    assert 0.4 < data.best_ndcg < 0.45


def test_a_seed_gives_the_same_data(data: Interactions) -> None:
    assert data.timestamps is not None
    again, other = synthetic(), synthetic(1)
    assert again.timestamps is not None
    assert fingerprint(again) == fingerprint(data)
    assert np.array_equal(again.timestamps, data.timestamps)
    assert (again.item_categories, again.best_ndcg) == (data.item_categories, data.best_ndcg)
    assert fingerprint(other) != fingerprint(data)


def test_timestamps_increase_irregularly(data: Interactions) -> None:
    assert data.timestamps is not None
    gaps = np.concatenate([np.diff(data.timestamps[a:b]) for a, b in zip(data.offsets, data.offsets[1:], strict=False)])
    assert gaps.min() >= 1
    assert (gaps % 1 == 0).all()
    assert 0.6 < (gaps < 3600).mean() < 0.8  # within a session
    assert np.quantile(gaps, 0.9) > 86_400


def test_probabilities_are_the_stated_ones() -> None:
    process = SyntheticProcess(users=60)
    histories = [[int(item)] for item in process.first]
    category, popularity = process.category.tolist(), process.popularity.tolist()
    for _ in range(20):
        found = process.probabilities(process.rows)
        assert found.sum(1) == pytest.approx(1)
        assert all(not found[user, history].any() for user, history in enumerate(histories))
        for user in range(0, 60, 5):
            assert found[user] == pytest.approx(stated_distribution(histories[user], category, popularity))
        for history, item in zip(histories, process.step(), strict=True):
            history.append(int(item))


def test_a_category_that_is_used_up_gives_its_share_on() -> None:
    process = SyntheticProcess(users=2)
    last = process.category[process.first]
    process.unseen[:, process.category // 6 != last[0] // 6] = 0.0
    found = process.probabilities(np.array([0]))[0]
    assert found.sum() == pytest.approx(1)
    assert found[process.category == last[0]].sum() > SWITCH + STAY


def test_the_best_ndcg_is_that_of_ranking_by_probability() -> None:
    process = SyntheticProcess(users=5_000)
    for _ in range(6):
        process.step()
    probabilities = process.probabilities(process.rows)
    drawn = process.step()
    ranks = (probabilities > probabilities[process.rows, drawn][:, None]).sum(1)
    reached = np.where(ranks < 10, 1 / np.log2(ranks + 2), 0.0)
    stated = expected_ndcg(probabilities)
    assert abs(reached.mean() - stated.mean()) < 4 * reached.std() / np.sqrt(len(reached))


def test_expected_ndcg_is_the_mean_over_outcomes() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(30), 3)
    for row, value in zip(probabilities, expected_ndcg(probabilities), strict=True):
        order = np.argsort(-row)
        by_outcome = sum(row[item] / np.log2(rank + 2) for rank, item in enumerate(order) if rank < 10)
        assert np.isclose(value, by_outcome)


def shuffled_before_the_target(data: Interactions) -> Interactions:
    rng = np.random.default_rng(0)
    items = data.items.copy()
    for start, end in zip(data.offsets, data.offsets[1:], strict=False):
        items[start : end - 1] = rng.permutation(items[start : end - 1])
    return replace(data, items=items)


def test_only_a_model_that_looks_back_in_order_learns_it(data: Interactions, tmp_path: Path) -> None:
    assert data.best_ndcg is not None
    small = TrainConfig.of(loss="ce", dim=32, batch_size=32, lr=5e-3, dropout=0.1, max_len=20, epochs=5, eval_every=5)
    reached = {}
    for blocks in (0, 1):
        summary = train(small.changed(blocks=blocks), tmp_path / str(blocks))
        reached[blocks] = summary["test"]["full"]["NDCG@10"] / data.best_ndcg
    assert reached[1] > 0.8
    assert reached[1] > 2 * reached[0]
    model = load(tmp_path / "1")
    shuffled = Evaluator(leave_one_out(shuffled_before_the_target(data)), "test", 20).run(model.model, model.device)
    assert mean_metrics(shuffled.full)["NDCG@10"] / data.best_ndcg < 0.3
