"""Trained models of one variant under ten seeds, in groups against each other: no difference is to be found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import pytest

from attnrec.data.load import load_interactions
from attnrec.evaluation.metrics import per_user_metrics
from attnrec.evaluation.ranking import Evaluator
from attnrec.evaluation.significance import Difference, paired_differences
from attnrec.experiments.compare import PROTOCOLS
from attnrec.training.config import TrainConfig
from attnrec.training.loop import Trainer
from attnrec.training.observer import Observer
from attnrec.training.run_directory import RunDirectory

MODELS = 10
PAIRS = 100  # of groups, for each size of them

Scores = npt.NDArray[np.float64]


@pytest.fixture(scope="module")
def scores() -> Scores:
    """NDCG@10 of every test user, [protocols, models, users]; a high learning rate makes the seeds differ much."""
    data = load_interactions("synthetic")
    evaluator = None
    found = []
    for seed in range(MODELS):
        config = TrainConfig.of(
            dim=16, max_len=10, blocks=1, batch_size=128, lr=0.02, loss="ce", seed=seed, device="cpu"
        )
        trainer = Trainer(config, RunDirectory(Path("unused")), data, Observer())
        trainer.model.train()
        for epoch in range(1, 4):
            for batch in trainer.batches.epoch(epoch, 0):
                trainer.step(batch)
        trainer.model.eval()
        evaluator = evaluator or Evaluator(trainer.split, "test", config.model.max_len)
        result = evaluator.run(trainer.model, trainer.device)
        found.append([per_user_metrics(getattr(result, name), [10])["NDCG@10"].numpy() for name in PROTOCOLS])
    return np.stack(found, axis=1)


def compared(scores: Scores, seeds: int) -> Iterator[list[Difference]]:
    """Pairs of disjoint groups of ``seeds`` models; both protocols together, as a comparison has them."""
    generator = np.random.default_rng(seeds)
    for _ in range(PAIRS):
        drawn = generator.permutation(MODELS)[: 2 * seeds]
        yield paired_differences(list(scores[:, drawn[:seeds]] - scores[:, drawn[seeds:]]), draws=200)


def most_false() -> float:
    """What a binomial of 5 % exceeds once in a thousand times.

    The pairs share models, so that their rate varies more than that of as many independent ones, whose bound this is.
    """
    return 0.05 + NormalDist().inv_cdf(0.999) * float(np.sqrt(0.05 * 0.95 / PAIRS))


@pytest.mark.parametrize("seeds", [1, 2, 3, 4, 5])
def test_nothing_is_found(scores: Scores, seeds: int) -> None:
    rate = np.mean([any(found.shown for found in pair) for pair in compared(scores, seeds)])
    assert rate <= (0 if seeds == 1 else most_false())


def test_the_interval_over_users_alone_finds_what_is_not_there(scores: Scores) -> None:
    """The rule before, by which one seed was enough: it fails on these models."""
    rate = np.mean([any(found.low > 0 or found.high < 0 for found in pair) for pair in compared(scores, 1)])
    assert rate > 2 * most_false()
