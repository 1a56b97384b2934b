"""Ranks and metrics against a plain loop over users."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from attnrec.core.errors import InputError, RunError
from attnrec.data.batches import SequenceBatch
from attnrec.data.interactions import Interactions, from_codes
from attnrec.data.splits import PARTS, leave_one_out
from attnrec.evaluation import ranking
from attnrec.evaluation.metrics import Ranks, check_cutoffs, mean_metrics, per_user_metrics
from attnrec.evaluation.ranking import Evaluator


class FixedScorer:
    """Outputs that depend on the history through its items' sum and length."""

    item_bias = None

    def __init__(self, num_items: int, dim: int = 5, levels: int | None = None) -> None:
        generator = torch.Generator().manual_seed(3)
        self.vectors = torch.randn(num_items + 1, dim, generator=generator)
        if levels:  # few different scores: many ties
            self.vectors = (self.vectors * levels).round()
        self.levels = levels

    @property
    def item_vectors(self) -> Tensor:
        return self.vectors

    def output(self, items: list[int]) -> Tensor:
        total = self.vectors[items].sum(0) / len(items)
        return total.round() if self.levels else total

    def last_output(self, batch: SequenceBatch) -> Tensor:
        return torch.stack([self.output(part.tolist()) for part in batch.items.split(batch.lengths.tolist())])


def gains(above: int, tied: int, cutoff: int) -> tuple[float, float, float]:
    """NDCG, hit and reciprocal rank, averaged over every order of the ties."""
    places = range(above, above + tied + 1)
    ndcg = [1 / math.log2(r + 2) if r < cutoff else 0.0 for r in places]
    hit = [float(r < cutoff) for r in places]
    return tuple(sum(x) / len(x) for x in (ndcg, hit, [1 / (r + 1) for r in places]))  # type: ignore[return-value]


def place(scores: Tensor, true: int, candidates: list[int]) -> tuple[int, int]:
    above = sum(float(scores[c]) > float(scores[true]) for c in candidates if c != true)
    tied = sum(float(scores[c]) == float(scores[true]) for c in candidates if c != true)
    return above, tied


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("levels", [None, 1])
@pytest.mark.parametrize("max_len", [3, 50])
def test_evaluation_is_the_plain_loop_over_users(
    small: Interactions, part: str, levels: int | None, max_len: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranking, "NUM_SAMPLED", 9)
    monkeypatch.setattr(ranking, "_CHUNK_ELEMENTS", 100)  # three users at a time
    split = leave_one_out(small)
    evaluator = Evaluator(split, part, max_len, batch_size=7)
    scorer = FixedScorer(small.num_items, levels=levels)
    result = evaluator.run(scorer)
    expected: dict[str, list[float]] = {}
    for number, user in enumerate(split.users("test")):
        history = small.history(int(user)).tolist()
        shown, true = (history[:-2], history[-2]) if part == "valid" else (history[:-1], history[-1])
        # the same matrix product as the code's, so that ties are ties to the bit
        scores = torch.cat([torch.zeros(1), scorer.vectors[1:] @ scorer.output(shown[-max_len:])])
        unseen = [item for item in range(1, 31) if item not in shown]
        drawn = [int(c) for c in evaluator.candidates[number] if c > 0]
        assert len(drawn) == len(set(drawn)) == min(9, 30 - len(set(history)))
        assert not set(drawn) & set(history)
        for protocol, candidates in (("full", unseen), ("sampled", drawn)):
            at = place(scores.round(decimals=4), true, candidates)
            for cutoff in (1, 5, 10):
                ndcg, hit, reciprocal = gains(*at, cutoff)
                expected.setdefault(f"{protocol} NDCG@{cutoff}", []).append(ndcg)
                expected.setdefault(f"{protocol} Hit@{cutoff}", []).append(hit)
            expected.setdefault(f"{protocol} MRR", []).append(reciprocal)
    for protocol, ranks in (("full", result.full), ("sampled", result.sampled)):
        users = per_user_metrics(ranks, (1, 5, 10))
        for name, values in users.items():
            np.testing.assert_allclose(values.numpy(), expected[f"{protocol} {name}"], rtol=1e-12)
        for name, value in mean_metrics(ranks, (1, 5, 10)).items():
            assert value == pytest.approx(np.mean(expected[f"{protocol} {name}"]))


def test_a_constant_scorer_gets_what_a_random_ranking_gets(small: Interactions) -> None:
    split = leave_one_out(small)
    scorer = FixedScorer(small.num_items)
    scorer.vectors = torch.zeros_like(scorer.vectors)
    ranks = Evaluator(split, "test", 10).run(scorer).full
    assert (ranks.above == 0).all()
    metrics = mean_metrics(ranks, (1, 10))
    count = (ranks.tied + 1).double()
    assert metrics["Hit@1"] == pytest.approx(float((1 / count).mean()))
    assert metrics["Hit@10"] == pytest.approx(float((10 / count).clamp(max=1).mean()))
    assert metrics["NDCG@10"] < 0.5


def test_a_perfect_and_a_worst_scorer() -> None:
    best, worst = Ranks(torch.tensor([0]), torch.tensor([0])), Ranks(torch.tensor([500]), torch.tensor([0]))
    assert set(mean_metrics(best, (1, 10)).values()) == {1.0}
    assert mean_metrics(worst, (1, 10))["NDCG@10"] == 0.0
    assert mean_metrics(worst, (1, 10))["MRR"] == pytest.approx(1 / 501)


def test_seen_items_with_high_scores_do_not_push_the_true_item_down() -> None:
    # scores fall with the item number; the history 1, 2 outranks the target 3 but is excluded
    data = from_codes("d", [0] * 5, [1, 2, 4, 5, 3], ("a",), tuple("vwxyz"))
    scorer = FixedScorer(5, dim=1)
    scorer.vectors = -torch.arange(6.0)[:, None]
    scorer.output = lambda items: torch.ones(1)  # type: ignore[method-assign]
    result = Evaluator(leave_one_out(data), "test", 10).run(scorer)
    assert result.full.above.tolist() == [0]


def test_a_repeated_true_item_stays_a_candidate() -> None:
    data = from_codes("d", [0] * 4, [1, 2, 3, 1], ("a",), tuple("wxyz"))
    scorer = FixedScorer(4, dim=1)
    scorer.vectors = torch.tensor([0.0, 2.0, 9.0, 9.0, 5.0])[:, None]
    scorer.output = lambda items: torch.ones(1)  # type: ignore[method-assign]
    ranks = Evaluator(leave_one_out(data), "test", 10).run(scorer).full
    assert (ranks.above.tolist(), ranks.tied.tolist()) == ([1], [0])  # item 4 alone is above


BAD_VALUES = [float("nan"), float("inf"), float("-inf")]


@pytest.mark.parametrize("value", BAD_VALUES)
@pytest.mark.parametrize("item", [3, 4])
def test_a_bad_item_vector_is_an_error(value: float, item: int) -> None:
    """Item 3 is a target alone, item 4 a candidate alone: no output depends on their vectors."""
    data = from_codes("d", [0] * 4 + [1], [1, 2, 5, 3, 4], ("a", "b"), tuple("vwxyz"))
    scorer = FixedScorer(5)
    scorer.vectors[item] = value
    with pytest.raises(RunError, match="item vectors are not finite"):
        Evaluator(leave_one_out(data), "test", 10).run(scorer)


@pytest.mark.parametrize("value", BAD_VALUES)
def test_a_bad_output_is_an_error(small: Interactions, value: float) -> None:
    scorer = FixedScorer(small.num_items)
    plain = scorer.output
    scorer.output = lambda items: plain(items) * (value if len(items) > 9 else 1)  # type: ignore[method-assign]
    with pytest.raises(RunError, match="outputs are not finite"):
        Evaluator(leave_one_out(small), "valid", 10).run(scorer)


def test_the_padding_row_is_never_ranked(small: Interactions) -> None:
    scorer = FixedScorer(small.num_items)
    evaluator = Evaluator(leave_one_out(small), "test", 10)
    before = mean_metrics(evaluator.run(scorer).full)
    scorer.vectors[0] = float("nan")
    assert mean_metrics(evaluator.run(scorer).full) == before


def test_scores_that_overflow_are_an_error_and_large_ones_are_not(small: Interactions) -> None:
    """Outputs and vectors are finite, their products may not be."""
    evaluator = Evaluator(leave_one_out(small), "test", 10)
    scorer = FixedScorer(small.num_items, dim=1)
    scorer.vectors[1:] /= scorer.vectors[1:].abs().max()
    scorer.output = lambda items: torch.ones(1)  # type: ignore[method-assign]
    before = mean_metrics(evaluator.run(scorer).full)
    scorer.vectors *= 2.0**100
    scorer.output = lambda items: torch.full((1,), 2.0**27)  # type: ignore[method-assign]
    assert mean_metrics(evaluator.run(scorer).full) == before  # the largest score is 2^127
    scorer.output = lambda items: torch.full((1,), 2.0**28)  # type: ignore[method-assign]
    with pytest.raises(RunError, match="scores are not finite"):
        evaluator.run(scorer)


def test_candidates_depend_on_part_and_seed_alone(small: Interactions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking, "NUM_SAMPLED", 9)
    split = leave_one_out(small)
    valid = Evaluator(split, "valid", 10).candidates
    assert valid.equal(Evaluator(split, "valid", 3).candidates)
    assert not valid.equal(Evaluator(split, "valid", 10, seed=1).candidates)
    assert not valid.equal(Evaluator(split, "test", 10).candidates)


def test_cutoffs() -> None:
    assert check_cutoffs([10, 1, 5, 10], 12) == (1, 5, 10)
    with pytest.raises(InputError, match="at least one cut-off"):
        check_cutoffs([], 10)
    for bad in (0, -1, 11):
        with pytest.raises(InputError, match=f"N = {bad} is not between 1 and the number of items, 10"):
            check_cutoffs([bad], 10)
