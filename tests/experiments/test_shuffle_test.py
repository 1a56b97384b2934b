"""The shuffle test on data where order is nearly all, and where it is nothing."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import attnrec
from attnrec.data.interactions import Interactions
from attnrec.data.splits import leave_one_out
from attnrec.evaluation.significance import Difference, paired_difference
from attnrec.experiments.shuffle_test import (
    AT_EVALUATION,
    IN_ORDER,
    THROUGHOUT,
    ShuffleTest,
    _loss,
    _verdict,
    quick_options,
    shuffled,
)
from attnrec.training.config import TrainConfig

OPTIONS: dict[str, Any] = {
    "dim": 32,
    "max_len": 10,
    "lr": 1e-2,
    "batch_size": 32,
    "dropout": 0.1,
    "eval_every": 4,
    "device": "cpu",
}
USERS, ITEMS, LENGTH = 200, 120, 25


def write(path: Path, histories: np.ndarray) -> Path:
    lines = [f"u{user} i{item}\n" for user, history in enumerate(histories) for item in history]
    path.write_text("".join(lines))
    return path


def first_order(path: Path) -> Path:
    """An item is followed by its successor on a cycle, or by a jump; the held-out items always by the rule.

    Most items of a history have a successor that is not in it, so that without order there is much to choose from.
    """
    rng = np.random.default_rng(0)
    histories = rng.integers(0, ITEMS, (USERS, LENGTH))
    for place in range(1, LENGTH):
        follows = (rng.random(USERS) < 0.4) | (place >= LENGTH - 2)
        histories[follows, place] = (histories[follows, place - 1] + 1) % ITEMS
    return write(path, histories)


def independent(path: Path) -> Path:
    """Items drawn by popularity, whatever came before."""
    rng = np.random.default_rng(1)
    weights = 1 / np.arange(1.0, ITEMS + 1)
    return write(path, rng.choice(ITEMS, (USERS, LENGTH), p=weights / weights.sum()))


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders go."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    return place


def relative(tested: ShuffleTest, condition: str) -> Difference:
    (found,) = (loss for loss in tested.losses if (loss.condition, loss.metric) == (condition, "NDCG@10"))
    assert found.relative is not None
    return found.relative


def test_most_is_lost_where_order_is_everything(tmp_path: Path, temporary: Path) -> None:
    tested = attnrec.shuffle_test(first_order(tmp_path / "ordered.txt"), epochs=8, **OPTIONS)
    assert tested.scores[IN_ORDER]["NDCG@10"] > 0.7
    for condition in (AT_EVALUATION, THROUGHOUT):
        assert relative(tested, condition).low > 0.5
    assert tested.verdict.startswith("Order matters: ")
    assert any("one seed" in caution for caution in tested.cautions)
    assert not list(temporary.glob("attnrec-*"))  # no run directory is left


def test_nothing_is_shown_where_order_says_nothing(tmp_path: Path) -> None:
    tested = attnrec.shuffle_test(independent(tmp_path / "unordered.txt"), epochs=4, seeds=2, **OPTIONS)
    assert abs(relative(tested, THROUGHOUT).mean) < 0.1
    assert not [loss for loss in tested.losses if loss.condition == THROUGHOUT and loss.absolute.leaves_out_zero]
    assert tested.verdict.startswith(("No loss is shown", "The model ranks no better than popularity"))
    assert tested.seeds == (0, 1)
    assert not any("one seed" in caution for caution in tested.cautions)
    assert {model: len(epochs) for model, epochs in tested.best_epochs.items()} == {IN_ORDER: 2, THROUGHOUT: 2}


def test_only_what_comes_before_is_shuffled(small: Interactions) -> None:
    split = leave_one_out(small)
    found = shuffled(small, split.train_lengths, 0)
    moved = 0
    for user in range(small.num_users):
        own, length = small.history(user), split.train_lengths[user]
        new = found.history(user)
        assert sorted(new[:length]) == sorted(own[:length])
        assert new[length:].tolist() == own[length:].tolist()
        moved += int((new != own).any())
    assert moved > small.num_users / 2
    assert leave_one_out(found).targets("test").tolist() == split.targets("test").tolist()
    assert shuffled(small, split.train_lengths, 0).items.tolist() == found.items.tolist()
    assert shuffled(small, split.train_lengths, 1).items.tolist() != found.items.tolist()


def test_shuffling_is_uniform() -> None:
    """Every order of three items is as likely as any other, whatever the user."""
    count = 6000
    data = Interactions("d", np.tile([1, 2, 3, 4, 5], count).astype(np.int32), np.arange(0, 5 * count + 1, 5),
                        tuple(map(str, range(count))), tuple("abcde"))  # fmt: skip
    orders = shuffled(data, np.full(count, 3), 0).items.reshape(count, 5)
    assert (orders[:, 3:] == [4, 5]).all()
    _, counts = np.unique(orders[:, :3], axis=0, return_counts=True)
    assert len(counts) == 6
    assert np.abs(counts - count / 6).max() < 5 * np.sqrt(count / 6)


def test_the_relative_loss_and_its_interval() -> None:
    """Against the ratio of means in every bootstrap sample of users."""
    rng = np.random.default_rng(3)
    ordered = rng.exponential(1.0, (1, 3000))
    other = ordered * rng.uniform(0, 1, (1, 3000))
    found = _loss(THROUGHOUT, "NDCG@10", ordered, other).relative
    assert found is not None
    assert found.mean == pytest.approx(1 - other.mean() / ordered.mean())
    ratios = []
    for _ in range(2000):
        drawn = rng.integers(0, 3000, 3000)
        ratios.append(1 - other[0, drawn].mean() / ordered[0, drawn].mean())
    low, high = np.quantile(ratios, [0.025, 0.975])
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.1 * (high - low))
    assert _loss(THROUGHOUT, "NDCG@10", ordered * 0, other).relative is None


@pytest.mark.parametrize(
    ("kept", "in_order", "words"),
    [
        (0.3, 0.4, "Order matters: 70% of the NDCG@10"),
        (0.8, 0.4, "Order matters in part: 20%"),
        (0.97, 0.4, "Order matters little: 3%"),
        (1.0, 0.4, "No loss is shown"),
        (1.2, 0.4, "No loss is shown"),
        (0.3, 0.04, "no better than popularity"),
    ],
)
def test_the_words(kept: float, in_order: float, words: str) -> None:
    ordered = np.full((3, 50), in_order)
    learned = paired_difference(ordered - 0.05)
    smaller, larger = kept * ordered, 0.1 * ordered
    for of in ((smaller, larger), (larger, smaller)):  # the smaller loss counts
        losses = [
            _loss(condition, "NDCG@10", ordered, each)
            for condition, each in zip((AT_EVALUATION, THROUGHOUT), of, strict=True)
        ]
        assert words in _verdict(losses, learned, "NDCG@10")


def test_a_quick_training_is_about_as_many_steps_on_any_data() -> None:
    def of(users: int) -> dict[str, Any]:
        items = np.tile(np.arange(1, 5, dtype=np.int32), users)
        offsets = np.arange(0, 4 * users + 1, 4)
        return quick_options(Interactions("d", items, offsets, ("u",) * users, tuple("abcd")), {})

    assert [of(users)["epochs"] for users in (40, 2000, 20000, 200000)] == [100, 63, 7, 5]
    assert TrainConfig.from_mapping(of(40)).training.loss == "ce"


def test_bad_options(tmp_path: Path) -> None:
    path = independent(tmp_path / "d.txt")
    for options, message in (
        ({"seeds": 0}, "`seeds` must be at least 1, not 0"),
        ({"epochs": 0}, "`epochs` must be at least 1, not 0"),
        ({"epoch": 2}, "unknown option 'epoch'"),
        ({"attention": "ti"}, "needs timestamps"),
    ):
        with pytest.raises(attnrec.InputError, match=message):
            attnrec.shuffle_test(path, **options)
