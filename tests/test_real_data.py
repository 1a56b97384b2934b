"""A short run on each real file: it trains, evaluates, and beats popularity at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from attnrec.data.reading.read import read_interactions
from attnrec.training.config import TrainConfig
from attnrec.training.run import train
from tests.conftest import real_file

FACTS = {
    "games.txt": (31013, 23715, 287107),
    "ml-1m.txt": (6040, 3416, 999611),
    "beauty-5core.txt": (22363, 12101, 198502),
}


@pytest.mark.real_data
@pytest.mark.parametrize("name", FACTS)
def test_the_file_is_read_as_documented(name: str) -> None:
    data = read_interactions(real_file(name))
    assert (data.num_users, data.num_items, data.num_interactions) == FACTS[name]


@pytest.mark.real_data
def test_a_short_training_learns(tmp_path: Path) -> None:
    path = real_file("beauty-5core.txt")
    config = TrainConfig.of(dataset=str(path), epochs=1, batch_size=256, dim=16, loss="bce")
    summary = train(config, tmp_path / "run")
    assert summary["test"]["sampled"]["Hit@10"] > 0.15  # 10 of 101 at random
