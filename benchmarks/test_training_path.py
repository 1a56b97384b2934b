"""Time of an epoch, and of an evaluation with both protocols in one pass, with the preset `sasrec-paper`.

    pytest benchmarks/test_training_path.py --benchmark-sort=name

Compare ratios within one run: absolute times depend on the machine and its other load.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from attnrec.evaluation.ranking import Evaluator
from attnrec.training.config import TrainConfig
from attnrec.training.loop import Trainer
from attnrec.training.observer import Observer
from attnrec.training.run_directory import RunDirectory
from benchmarks.conftest import load

MAX_LEN = {"synthetic": 50, "games": 50, "beauty-5core": 50, "ml-1m": 200}


def make_trainer(dataset: str, loss: str, folder: Path) -> Trainer:
    dropout = 0.2 if dataset == "ml-1m" else 0.5
    options = {"preset": "sasrec-paper", "max_len": MAX_LEN[dataset], "loss": loss, "dropout": dropout}
    config = TrainConfig.from_mapping(options)
    return Trainer(config, RunDirectory(folder), load(dataset), Observer())


@pytest.mark.parametrize("loss", ["bce", "ce"])
@pytest.mark.parametrize("dataset", MAX_LEN)
def test_epoch(benchmark: BenchmarkFixture, tmp_path: Path, dataset: str, loss: str) -> None:
    trainer = make_trainer(dataset, loss, tmp_path)
    epochs = iter(range(1, 100))

    def epoch() -> float:
        trainer.model.train()
        losses = [trainer.step(batch)[0] for batch in trainer.batches.epoch(next(epochs))]
        return float(torch.stack(losses)[:, 0].mean())

    benchmark.extra_info["positions"] = trainer.batches.positions
    benchmark.extra_info["threads"] = torch.get_num_threads()
    rounds = 1 if loss == "ce" and dataset in ("games", "ml-1m") else 3
    assert benchmark.pedantic(epoch, rounds=rounds, warmup_rounds=0 if rounds == 1 else 1) < 12


@pytest.mark.parametrize("dataset", MAX_LEN)
def test_evaluation(benchmark: BenchmarkFixture, tmp_path: Path, dataset: str) -> None:
    trainer = make_trainer(dataset, "bce", tmp_path)
    trainer.model.eval()
    evaluator = Evaluator(trainer.split, "test", trainer.config.model.max_len)
    benchmark.extra_info["users"] = len(trainer.split.users("test"))
    result = benchmark.pedantic(evaluator.run, args=(trainer.model,), rounds=3, warmup_rounds=1)
    assert len(result.full.above) == len(trainer.split.users("test"))
