"""A tiny data set, and a comparison on it that is trained once for all tests here."""

from __future__ import annotations

import numpy as np
import pytest

from attnrec.experiments.compare import Comparison, plan, prepare
from attnrec.experiments.pool import run_all
from attnrec.training.config import TrainConfig

VARIANTS = ("sdpa", "awr:refinement=value,width=4")


@pytest.fixture(scope="session")
def config(tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    """40 users, 30 items."""
    generator = np.random.default_rng(3)
    lines = [f"u{u} i{item}" for u in range(40) for item in generator.integers(1, 31, generator.integers(4, 20))]
    path = tmp_path_factory.mktemp("data") / "tiny.txt"
    path.write_text("\n".join(lines) + "\n")
    return TrainConfig.of(
        dataset=str(path), max_len=10, dim=8, batch_size=8, epochs=3, eval_every=1, cutoffs=(1, 5, 10), seed=4
    )


@pytest.fixture(scope="session")
def finished(config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """Two variants, two seeds, trained two at a time."""
    comparison = plan(config, VARIANTS, 2, tmp_path_factory.mktemp("out") / "comparison")
    prepare(comparison)
    outcome = run_all(comparison, jobs=2)
    assert not outcome.failures
    assert not outcome.interrupted
    return comparison
