"""Metrics with and without targets that training never saw, against the segments and a count by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from attnrec.data.batches import SequenceBatch
from attnrec.data.interactions import from_codes
from attnrec.data.known import known_only
from attnrec.data.reading.read import read_interactions
from attnrec.data.splits import leave_one_out
from attnrec.evaluation.metrics import Ranks
from attnrec.evaluation.ranking import Evaluation, Evaluator
from attnrec.evaluation.segments import segment_report
from attnrec.evaluation.targets import report, training_popularity, unseen_targets
from tests.conftest import real_file


class Scorer:
    """Scores items by fixed numbers."""

    item_bias = None

    def __init__(self, scores: list[float]) -> None:
        self.item_vectors = torch.tensor([0.0, *scores])[:, None]

    def last_output(self, batch: SequenceBatch) -> torch.Tensor:
        return torch.ones(len(batch.lengths), 1)


def test_with_and_without_them() -> None:
    """Three users; the second one's target, item 6, is in no training history."""
    users = np.repeat([0, 1, 2], 4)
    items = [1, 2, 3, 4, 2, 1, 4, 6, 3, 4, 1, 5, 5]
    data = from_codes("d", [*users, 3], items, tuple("abcd"), tuple("uvwxyz"))
    evaluator = Evaluator(leave_one_out(data), "test", 10)
    scorer = Scorer([0, 0, 0, 3, 1, 2])
    result = evaluator.run(scorer)
    assert result.full.above.tolist() == [0, 0, 1]  # by scores 3; 2 with 4 seen; 1 below item 6
    trained = training_popularity(evaluator.split) > 0
    assert trained.tolist() == [False, True, True, True, True, True, False]
    found = report(evaluator, result, (1,), trained)
    assert found["full"]["Hit@1"] == pytest.approx(2 / 3)
    unseen = found["unseen_targets"]
    assert unseen["number"] == 1
    assert unseen["share"] == pytest.approx(1 / 3)
    assert unseen["without"] is not None
    assert unseen["without"]["full"]["Hit@1"] == 0.5
    assert set(unseen["without"]) == {"full", "sampled"}
    assert "unknown_targets" not in found
    by_segment = segment_report(evaluator, scorer, (1,))
    assert by_segment.metrics == found
    assert by_segment.by_target_in_training[1].metrics["Hit@1"] == 0.5
    none = unseen_targets(evaluator, result, (1,), np.ones(7, dtype=bool))
    assert (none["number"], none["without"]) == (0, result.means((1,)))
    assert unseen_targets(evaluator, result, (1,), np.zeros(7, dtype=bool))["without"] is None


def test_unknown_targets_are_misses() -> None:
    items = [1, 2, 3, 4, 2, 1, 4, 6, 3, 4, 1, 5]
    data = from_codes("d", np.repeat([0, 1, 2], 4), items, tuple("abc"), tuple("uvwxyz"))
    split = known_only(leave_one_out(data), tuple("uvwxy"))  # without the target of the second user
    evaluator = Evaluator(split, "test", 10)
    found = report(evaluator, evaluator.run(Scorer([0, 0, 0, 3, 1])), (1,), np.ones(6, dtype=bool))
    assert found["full"] == {"NDCG@1": 1, "Hit@1": 1, "MRR": 1}
    assert found["unknown_targets"]["number"] == 1
    assert found["unknown_targets"]["share"] == pytest.approx(1 / 3)
    assert found["unknown_targets"]["as_misses"]["full"] == pytest.approx(dict.fromkeys(found["full"], 2 / 3))


def test_ranks_of_some_users() -> None:
    ranks = Ranks(torch.tensor([0, 3, 5]), torch.tensor([1, 0, 2]))
    chosen = Evaluation(ranks, ranks).of(torch.tensor([True, False, True]))
    assert (chosen.full.above.tolist(), chosen.sampled.tied.tolist()) == ([0, 5], [1, 2])


@pytest.mark.real_data
@pytest.mark.parametrize(("name", "number", "users"), [("games.txt", 1167, 30901), ("beauty-5core.txt", 138, 22363)])
def test_the_figures_of_the_documents(name: str, number: int, users: int) -> None:
    split = leave_one_out(read_interactions(real_file(name)))
    assert (training_popularity(split)[split.targets("test")] == 0).sum() == number
    assert len(split.users("test")) == users
    text = " ".join((Path(__file__).resolve().parents[2] / "docs/evaluation.md").read_text().split())
    assert f"{number:,} of {users:,}" in text
