"""Segments, ties and top-N lists against plain loops over users."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from attnrec.data.batches import SequenceBatch
from attnrec.data.interactions import Interactions, from_codes
from attnrec.data.splits import PARTS, leave_one_out
from attnrec.evaluation import ranking
from attnrec.evaluation.metrics import per_user_metrics
from attnrec.evaluation.ranking import Evaluator
from attnrec.evaluation.segments import Segment, SegmentReport, segment_report

CUTOFFS = (1, 5)


class Scorer:
    """Scores whole numbers, so that ties are exact: output of a history times the vector of an item."""

    item_bias = None

    def __init__(self, num_items: int) -> None:
        generator = torch.Generator().manual_seed(5)
        self.item_vectors = torch.randint(-2, 3, (num_items + 1, 4), generator=generator).float()

    def last_output(self, batch: SequenceBatch) -> Tensor:
        parts = batch.items.split(batch.lengths.tolist())
        return torch.stack([self.item_vectors[part[-1]] * (1 + len(part) % 3) for part in parts])


@pytest.fixture
def timed(small: Interactions) -> Interactions:
    """Many equal gaps, and some that are no whole numbers."""
    rng = np.random.default_rng(2)
    gaps = rng.choice([0.0, 0.0, 60.0, 90.5, 3600.0, 86400.0], small.num_interactions)
    times = np.concatenate([1e9 + np.cumsum(gaps[low:high]) for low, high in pairwise(small.offsets)])
    return replace(small, timestamps=times)


def shown_and_true(data: Interactions, part: str) -> list[tuple[list[int], int]]:
    histories = [data.history(user).tolist() for user in range(data.num_users)]
    cut = -2 if part == "valid" else -1
    return [(history[:cut], history[cut]) for history in histories if len(history) >= 3]


def popularity(data: Interactions) -> list[int]:
    counts = [0] * (data.num_items + 1)
    for user in range(data.num_users):
        history = data.history(user).tolist()
        for item in history[:-2] if len(history) >= 3 else history:
            counts[item] += 1
    return counts


def divisions(report: SegmentReport) -> list[tuple[Segment, ...]]:
    found = [
        report.by_history_length,
        report.by_target_popularity,
        report.by_time_since_last,
        report.by_target_in_training,
    ]
    return [part for part in found if part]


@pytest.mark.parametrize("part", PARTS)
def test_each_user_is_in_one_segment_and_their_mean_is_the_whole(timed: Interactions, part: str) -> None:
    split = leave_one_out(timed)
    report = segment_report(Evaluator(split, part, 10), Scorer(30), CUTOFFS)
    assert len(divisions(report)) == 4
    for division in divisions(report):
        assert sum(segment.users for segment in division) == len(split.users("test"))
        assert sum(segment.share for segment in division) == pytest.approx(1)
        assert all(segment.users > 0 for segment in division)
        assert all(before.high < after.low for before, after in pairwise(division))
        for name in division[0].metrics:
            weighted = sum(segment.metrics[name] * segment.users for segment in division) / len(split.users("test"))
            assert weighted == pytest.approx(report.metrics["full"][name], rel=1e-12)


@pytest.mark.parametrize("part", PARTS)
def test_segments_are_the_plain_loop(timed: Interactions, part: str) -> None:
    split = leave_one_out(timed)
    evaluator = Evaluator(split, part, 10)
    scorer = Scorer(30)
    report = segment_report(evaluator, scorer, CUTOFFS)
    values = per_user_metrics(evaluator.run(scorer).full, CUTOFFS)
    users = shown_and_true(timed, part)
    counts = popularity(timed)
    times = []
    for user in split.users("test"):
        own = timed.timestamps[timed.offsets[user] : timed.offsets[user + 1]].tolist()  # type: ignore[index]
        times.append(own[-2] - own[-3] if part == "valid" else own[-1] - own[-2])
    keys: list[tuple[tuple[Segment, ...], Callable[[int], float]]] = [
        (report.by_history_length, lambda place: len(users[place][0])),
        (report.by_target_popularity, lambda place: counts[users[place][1]]),
        (report.by_time_since_last, lambda place: times[place]),
        (report.by_target_in_training, lambda place: float(counts[users[place][1]] > 0)),
    ]
    for division, key in keys:
        for segment in division:
            inside = [place for place in range(len(users)) if segment.low <= key(place) <= segment.high]
            assert segment.users == len(inside)
            assert {key(place) for place in inside} >= {segment.low, segment.high}
            for name, mean in segment.metrics.items():
                assert mean == pytest.approx(np.mean([float(values[name][place]) for place in inside]))
            assert set(segment.metrics) == {"NDCG@1", "NDCG@5", "Hit@1", "Hit@5"}


def test_labels() -> None:
    # training popularity: items 1 and 2 once, item 3 never; histories of 2 and 11
    data = from_codes("d", [0] * 3 + [1] * 12, [1, 2, 3, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 1], ("a", "b"),
                      tuple(f"i{item}" for item in range(1, 14)), np.arange(15.0) ** 2)  # fmt: skip
    report = segment_report(Evaluator(leave_one_out(data), "test", 10), Scorer(13), CUTOFFS)
    assert [part.label for part in report.by_history_length] == ["1 to 4", "10 to 19"]
    assert [part.label for part in report.by_target_popularity] == ["0", "1 to 4"]
    assert [part.label for part in report.by_time_since_last] == ["3", "27"]
    assert [part.label for part in report.by_target_in_training] == ["never in training", "in training"]
    untimed = replace(data, timestamps=None)
    assert segment_report(Evaluator(leave_one_out(untimed), "test", 10), Scorer(13), CUTOFFS).by_time_since_last == ()


def test_time_segments_hold_about_as_many_users() -> None:
    count = 1000
    gaps = np.random.default_rng(0).permutation(count).astype(float)
    times = np.stack([np.zeros(count), np.ones(count), np.ones(count), 1 + gaps], 1).ravel()
    items = np.tile([1, 2, 3, 4], count)
    users = np.repeat(np.arange(count), 4)
    data = from_codes("d", users, items, tuple(map(str, range(count))), tuple("abcd"), times)
    found = segment_report(Evaluator(leave_one_out(data), "test", 10), Scorer(4), (1,)).by_time_since_last
    assert [segment.users for segment in found] == [200] * 5
    same = replace(data, timestamps=np.tile([0.0, 1, 2, 9], count))
    (only,) = segment_report(Evaluator(leave_one_out(same), "test", 10), Scorer(4), (1,)).by_time_since_last
    assert (only.label, only.users) == ("7", count)


@pytest.mark.parametrize("part", PARTS)
def test_top_lists_are_the_plain_loop(small: Interactions, part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking, "_CHUNK_ELEMENTS", 100)  # three users at a time
    evaluator = Evaluator(leave_one_out(small), part, 50, batch_size=7)
    scorer = Scorer(30)
    noise = torch.rand(31, generator=torch.Generator().manual_seed(1))
    scorer.item_vectors = torch.cat([scorer.item_vectors, noise[:, None] / 8], 1)  # no ties, so lists are unique
    counts = popularity(small)
    cutoffs = (1, 5, 25)  # 25: longer than what some users have left
    placed: dict[int, list[int]] = {cutoff: [] for cutoff in cutoffs}
    for shown, _ in shown_and_true(small, part):
        output = scorer.item_vectors[shown[-1]] * (1 + len(shown) % 3)
        scores = (scorer.item_vectors @ output).tolist()
        order = sorted((item for item in range(1, 31) if item not in shown), key=lambda item: -scores[item])
        for cutoff in cutoffs:
            placed[cutoff] += order[:cutoff]
    report = segment_report(evaluator, scorer, cutoffs)
    for found in report.top_lists:
        items = placed[found.cutoff]
        assert found.coverage == pytest.approx(len(set(items)) / 30)
        assert found.mean_popularity == pytest.approx(np.mean([counts[item] for item in items]))
    assert report.target_popularity == pytest.approx(np.mean([counts[true] for _, true in shown_and_true(small, part)]))
    assert report.catalogue_popularity == pytest.approx(sum(counts) / 30)


def test_ties_are_counted(small: Interactions) -> None:
    evaluator = Evaluator(leave_one_out(small), "test", 10)
    scorer = Scorer(30)
    ranks = evaluator.run(scorer).full
    ties = segment_report(evaluator, scorer, CUTOFFS).ties
    tied = [size for size in ranks.tied.tolist() if size]
    assert 0 < ties.users == len(tied) < len(ranks.tied)
    assert ties.share == pytest.approx(len(tied) / len(ranks.tied))
    assert ties.mean_size == pytest.approx(sum(tied) / len(tied))
    scorer.item_vectors = torch.rand(31, 4, generator=torch.Generator().manual_seed(1))
    none = segment_report(evaluator, scorer, CUTOFFS).ties
    assert (none.users, none.share, none.mean_size) == (0, 0.0, 0.0)
