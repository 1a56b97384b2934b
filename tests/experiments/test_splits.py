"""Experiments on data that are split by time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import attnrec
from attnrec.core.errors import InputError
from attnrec.data.load import load_interactions
from attnrec.data.splits import make_split
from attnrec.experiments.compare import plan, prepare
from attnrec.experiments.report import build_result
from attnrec.experiments.shuffle_test import AT_EVALUATION, quick_options
from attnrec.training.config import TrainConfig
from attnrec.training.run import train

MOMENTS = {"valid_from": "600", "test_from": "800"}


@pytest.fixture
def timed(tmp_path: Path) -> Path:
    """40 users with 6 interactions each."""
    rng = np.random.default_rng(3)
    lines = [(user, rng.integers(1, 15), time) for user in range(40) for time in sorted(rng.integers(0, 1000, 6))]
    path = tmp_path / "timed.txt"
    path.write_text("user item time\n" + "".join(f"u{user} i{item} {time}\n" for user, item, time in lines))
    return path


@pytest.fixture
def config(timed: Path) -> TrainConfig:
    return TrainConfig.of(dataset=str(timed), split="time", **MOMENTS, epochs=1, dim=4, max_len=5, cutoffs=(5,))


def test_a_comparison_is_over_the_same_users(config: TrainConfig, timed: Path, tmp_path: Path) -> None:
    comparison = plan(config, ("sdpa", "alibi"), 2, tmp_path / "comparison")
    prepare(comparison)
    for variant, seed in comparison.runs():
        train(comparison.run_config(variant, seed), comparison.run(variant, seed).path)
    users = len(make_split(load_interactions(str(timed)), "time", **MOMENTS).users("test"))
    result = build_result(comparison)
    assert result.variants[1].difference["full"].users == users
    plan(config, ("sdpa", "alibi"), 2, tmp_path / "comparison")
    with pytest.raises(InputError, match="holds a comparison with `test_from='800'`, not 900"):
        plan(config.changed(test_from="900"), ("sdpa", "alibi"), 2, tmp_path / "comparison")
    rows = [line.split() for line in timed.read_text().splitlines()[1:]]
    timed.write_text("user item time\n" + "".join(f"{user} {item} {int(time) + 50}\n" for user, item, time in rows))
    with pytest.raises(InputError, match=r"holds runs on other data than .*, or that hold out other items"):
        plan(config, ("sdpa", "alibi"), 2, tmp_path / "comparison")


def test_a_plan_says_what_auto_means(config: TrainConfig, tmp_path: Path) -> None:
    auto = config.changed(split="auto", valid_from="", test_from="")
    assert plan(auto, ("sdpa", "alibi"), 1, tmp_path / "comparison").config.data.split == "leave-one-out"
    with pytest.raises(InputError, match="`valid_from='800'` is not before `test_from='600'`"):
        plan(config.changed(valid_from="800", test_from="600"), ("sdpa", "alibi"), 1, tmp_path / "comparison")


def test_a_shuffle_test_asks_the_users_of_the_split(timed: Path) -> None:
    options: dict[str, Any] = {"split": "time", **MOMENTS}
    tested = attnrec.shuffle_test(str(timed), epochs=1, dim=4, max_len=5, **options)
    data = load_interactions(str(timed))
    split = make_split(data, "time", **MOMENTS)
    assert tested.users == len(split.users("test"))
    assert tested.options["split"] == "time"
    assert set(tested.scores) >= {AT_EVALUATION}
    steps = -(-int((split.train_lengths >= 2).sum()) // 4)
    assert quick_options(data, {"batch_size": 4, **options})["epochs"] == min(100, -(-1000 // steps))
