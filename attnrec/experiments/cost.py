"""What a variant costs: the score that each had reached when the fastest one was done.

An evaluation's line in `metrics.jsonl` says how many seconds of training came before it. The fastest variant is the
one whose runs took the fewest seconds, on average over seeds. For each seed, every variant gets the time that the
fastest one took with that seed, and its best validation score within that time counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from attnrec.experiments.result import EqualTime, OverSeeds

Curve = list[tuple[float, float]]
"""Seconds of training and validation score at every evaluation."""


def time_curve(log: Sequence[Mapping[str, Any]], protocol: str, metric: str) -> Curve:
    """Seconds and score of each evaluation in a run's log; empty if the run did not log seconds."""
    evaluations = [line for line in log if metric in line.get("valid", {}).get(protocol, {})]
    if any("seconds" not in line for line in evaluations):
        return []  # an old version started this run without logging seconds, so its clock starts too late
    return [(line["seconds"], line["valid"][protocol][metric]) for line in evaluations]


def at_equal_time(curves: Mapping[str, Mapping[int, Curve]]) -> tuple[EqualTime | None, dict[str, OverSeeds]]:
    """Best validation score of each run within the time of the fastest variant.

    Args:
        curves: by variant and seed; empty for runs without seconds.

    Returns:
        the fastest variant with its time, None if no run has seconds; and by variant, the scores over the seeds that it
        shares with the fastest one. Left out are variants that share no seed, or lack a score by then for one of them.
    """
    timed = {name: {seed: curve for seed, curve in runs.items() if curve} for name, runs in curves.items()}
    taken = {name: {seed: curve[-1][0] for seed, curve in runs.items()} for name, runs in timed.items() if runs}
    if not taken:
        return None, {}
    fastest = min(taken, key=lambda name: np.mean(list(taken[name].values())))
    scores = {}
    for name, runs in timed.items():
        common = [seed for seed in runs if seed in taken[fastest]]
        best = [_best_within(runs[seed], taken[fastest][seed]) for seed in common]
        if best and None not in best:
            scores[name] = OverSeeds.of([score for score in best if score is not None])
    return EqualTime(fastest, float(np.mean(list(taken[fastest].values())))), scores


def _best_within(curve: Curve, seconds: float) -> float | None:
    return max((score for when, score in curve if when <= seconds), default=None)
