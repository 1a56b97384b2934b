"""Scores at equal time, on curves whose answer can be read off."""

from __future__ import annotations

from typing import Any

import pytest

from attnrec.experiments.cost import add_equal_time, scores_at_equal_time, time_curve

FAST = {0: [(1.0, 0.1), (2.0, 0.3), (3.0, 0.2)], 1: [(1.0, 0.1), (2.5, 0.4)]}
SLOW = {0: [(1.5, 0.2), (3.0, 0.25), (4.5, 0.9)], 1: [(2.6, 0.5), (5.2, 0.9)]}


def test_each_has_the_time_that_the_fastest_took_with_the_same_seed() -> None:
    slow = {0: SLOW[0], 1: [(2.4, 0.35), *SLOW[1]]}
    assert scores_at_equal_time({"slow": slow, "fast": FAST}) == (
        "fast",
        2.75,
        {"slow": [0.25, 0.35], "fast": [0.3, 0.4]},
    )


def test_a_variant_without_a_score_by_then_has_none() -> None:
    found = scores_at_equal_time({"fast": FAST, "slow": SLOW})
    assert found is not None
    assert found[2] == {"fast": [0.3, 0.4]}


def test_runs_without_seconds_are_left_out() -> None:
    fast, other = scores_at_equal_time({"fast": FAST, "old": {0: [], 1: SLOW[0]}}), scores_at_equal_time({"a": {0: []}})
    assert fast is not None
    assert fast[2] == {"fast": [0.3, 0.4], "old": [0.2]}
    assert other is None


def test_the_curve_of_a_log() -> None:
    log: list[dict[str, Any]] = [
        {"step": 1, "epoch": 1, "loss": 0.5, "grad_norm": 1.0},
        {"epoch": 1, "seconds": 2.0, "valid": {"full": {"NDCG@10": 0.1}, "sampled": {"NDCG@10": 0.3}}},
        {"epoch": 2, "seconds": 4.0, "valid": {"full": {"NDCG@10": 0.2}}},
    ]
    assert time_curve(log, "full", "NDCG@10") == [(2.0, 0.1), (4.0, 0.2)]
    assert time_curve(log, "sampled", "NDCG@10") == [(2.0, 0.3)]
    assert time_curve(log, "full", "NDCG@3") == []
    del log[1]["seconds"]  # of an older version, which resumed runs go on from
    assert time_curve(log, "full", "NDCG@10") == []


@pytest.mark.parametrize("curves", [{"a": FAST}, {"a": {0: []}}])
def test_in_the_result(curves: dict[str, dict[int, list[tuple[float, float]]]]) -> None:
    result: dict[str, Any] = {"variants": [{"attention": "a"}]}
    add_equal_time(result, curves, lambda values: {"mean": max(values)})
    timed = curves["a"] == FAST
    assert result["equal_time"] == ({"fastest": "a", "seconds": 2.75} if timed else None)
    assert result["variants"][0]["valid_at_equal_time"] == ({"mean": 0.4} if timed else None)
