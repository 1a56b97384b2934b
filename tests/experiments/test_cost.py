"""Scores at equal time, on curves whose answer can be read off."""

from __future__ import annotations

from typing import Any

from attnrec.experiments.cost import at_equal_time, time_curve
from attnrec.experiments.result import EqualTime, OverSeeds

FAST = {0: [(1.0, 0.1), (2.0, 0.3), (3.0, 0.2)], 1: [(1.0, 0.1), (2.5, 0.4)]}
SLOW = {0: [(1.5, 0.2), (3.0, 0.25), (4.5, 0.9)], 1: [(2.6, 0.5), (5.2, 0.9)]}


def test_each_has_the_time_that_the_fastest_took_with_the_same_seed() -> None:
    slow = {0: SLOW[0], 1: [(2.4, 0.35), *SLOW[1]]}
    assert at_equal_time({"slow": slow, "fast": FAST}) == (
        EqualTime("fast", 2.75),
        {"slow": OverSeeds.of([0.25, 0.35]), "fast": OverSeeds.of([0.3, 0.4])},
    )


def test_a_variant_without_a_score_by_then_has_none() -> None:
    assert at_equal_time({"fast": FAST, "slow": SLOW})[1] == {"fast": OverSeeds.of([0.3, 0.4])}


def test_runs_without_seconds_are_left_out() -> None:
    _, scores = at_equal_time({"fast": FAST, "old": {0: [], 1: SLOW[0]}})
    assert scores == {"fast": OverSeeds.of([0.3, 0.4]), "old": OverSeeds.of([0.2])}
    assert at_equal_time({"a": {0: []}}) == (None, {})


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
