"""Differences of a comparison from its first variant, tested together, and put into words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np
import numpy.typing as npt

from attnrec.evaluation.metrics import Ranks, per_user_metrics
from attnrec.evaluation.more_seeds import MOST_SEEDS, SeedsWanted, seeds_wanted
from attnrec.evaluation.significance import Difference, paired_differences
from attnrec.experiments.compare import PROTOCOLS, Comparison
from attnrec.experiments.result import Differences, StatedDifference, Verdict
from attnrec.training.run_directory import RunDirectory

_Table = npt.NDArray[np.float64]


def headline_metric(comparison: Comparison) -> str:
    """NDCG@10, or NDCG at the largest cut-off if the catalogue has fewer than ten items."""
    metrics = [
        name
        for run in comparison.runs()
        if comparison.finished(*run)
        for name in comparison.run(*run).result()["test"]["full"]
    ]
    return "NDCG@10" if "NDCG@10" in metrics or not metrics else [m for m in metrics if m.startswith("NDCG@")][-1]


def differences_from_first(comparison: Comparison, seeds: Mapping[str, Sequence[int]], metric: str) -> Differences:
    """The difference of each variant from the first, over the seeds that both have finished; all tested together.

    Args:
        comparison: holds the runs.
        seeds: seeds of each variant's finished runs, with the first variant first.
        metric: for example ``NDCG@10``.

    Raises RunError when a file of a run is corrupt.
    """
    first, *others = seeds
    common = {variant: [seed for seed in seeds[variant] if seed in seeds[first]] for variant in others}
    places = [(variant, protocol) for variant in others if common[variant] for protocol in PROTOCOLS]
    tables = [
        _scores(comparison, variant, common[variant], protocol, metric)
        - _scores(comparison, first, common[variant], protocol, metric)
        for variant, protocol in places
    ]
    found = {
        place: _stated(one, table) for place, table, one in zip(places, tables, paired_differences(tables), strict=True)
    }
    return {
        variant: {protocol: found[variant, protocol] for protocol in PROTOCOLS} for variant in others if common[variant]
    }


def _scores(comparison: Comparison, variant: str, seeds: Sequence[int], protocol: str, metric: str) -> _Table:
    """The metric of each run and user, [seeds, users]."""
    return np.stack([_per_user(comparison.run(variant, seed), protocol, metric) for seed in seeds])


def _per_user(run: RunDirectory, protocol: str, metric: str) -> _Table:
    ranks: Ranks = getattr(run.test_ranks(), protocol)
    return per_user_metrics(ranks, [int(metric.split("@")[1])])[metric].numpy()


def _stated(found: Difference, table: _Table) -> StatedDifference:
    """A difference with the verdict and what more seeds would do."""
    wanted = None
    if found.adjusted_level is not None and not found.shown and table.any():
        wanted = seeds_wanted(table, 1 - found.adjusted_level)
    return StatedDifference(
        **asdict(found),
        verdict=verdict(found),
        more_seeds=wanted.more if wanted else None,
        users_part=wanted.users_part if wanted else None,
        advice="the same for every user and seed" if not table.any() else advice(found, wanted),
    )


def verdict(found: Difference) -> Verdict:
    """What can be said about the variants, given all differences that are shown together."""
    if found.p_holm is None:
        return "not tested"
    if not found.shown:
        return "no difference shown"
    return "better" if found.mean > 0 else "worse"


def advice(found: Difference, wanted: SeedsWanted | None) -> str:
    """What more seeds would achieve; empty if the difference is shown."""
    if found.seeds == 1:
        return "one seed says nothing about the variants; run at least two more"
    if wanted is None:
        return ""
    if wanted.hopeless:
        return f"more seeds would not help: the uncertainty over users alone is ±{wanted.users_part:.4f}"
    if wanted.more is None and found.seeds >= MOST_SEEDS:
        return ""
    if wanted.more is None:
        return f"more than {MOST_SEEDS} seeds would be needed to show a difference of this size"
    return f"about {found.seeds + wanted.more} seeds in all would show a difference of this size half of the time"
