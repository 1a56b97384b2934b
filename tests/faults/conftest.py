"""A training that is over in a moment and takes a snapshot at every step, and what its result is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from attnrec.training import loop
from attnrec.training.config import TrainConfig
from attnrec.training.run import train
from attnrec.training.run_directory import RunDirectory


@pytest.fixture
def config(small_file: Path) -> TrainConfig:
    return TrainConfig.of(
        dataset=str(small_file),
        epochs=2,
        batch_size=16,
        dim=4,
        blocks=1,
        max_len=5,
        lr=0.01,
        eval_every=1,
        cutoffs=(5,),
    )


@pytest.fixture
def _every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reading and a snapshot at every step."""
    monkeypatch.setattr(loop, "_FLUSH_EVERY", 1)
    monkeypatch.setattr(loop, "_SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr(loop, "_SNAPSHOT_SHARE", float("inf"))


@dataclass
class Outcome:
    """What must be the same however a training came to its end."""

    weights: dict[str, Any]
    test: dict[str, Any]
    valid: dict[str, Any]
    best_epoch: int
    log: list[dict[str, Any]]

    @classmethod
    def of(cls, path: Path) -> Outcome:
        run = RunDirectory.open(path)
        summary = run.summary()
        assert summary is not None
        assert not summary["interrupted"]
        log = [{key: value for key, value in line.items() if key != "seconds"} for line in run.log()]
        weights = {name: tensor.tolist() for name, tensor in run.weights().items()}
        return cls(weights, summary["test"], summary["valid"], summary["best_epoch"], log)


@pytest.fixture
def whole(config: TrainConfig, tmp_path: Path) -> Outcome:
    """Of a training that nothing happened to."""
    train(config, tmp_path / "whole")
    return Outcome.of(tmp_path / "whole")


def go_on(config: TrainConfig, path: Path) -> Outcome:
    """Resume the run that a mishap has left, or start it again where there was none yet."""
    train(config, path, resume=RunDirectory(path).is_run())
    return Outcome.of(path)
