"""Differences of a comparison against its first variant, tested together, and what is said of them in words."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from attnrec.evaluation.metrics import Ranks, per_user_metrics
from attnrec.evaluation.more_seeds import MOST_SEEDS, SeedsWanted, seeds_wanted
from attnrec.evaluation.significance import Difference, paired_differences
from attnrec.experiments.compare import PROTOCOLS, Comparison
from attnrec.training.run_directory import RunDirectory

_Table = npt.NDArray[np.float64]


def headline_metric(comparison: Comparison) -> str:
    """NDCG@10, or at the largest cut-off there is in a catalogue of fewer than ten items."""
    metrics = [
        name
        for run in comparison.runs()
        if comparison.finished(*run)
        for name in (comparison.run(*run).summary() or {})["test"]["full"]
    ]
    return "NDCG@10" if "NDCG@10" in metrics or not metrics else [m for m in metrics if m.startswith("NDCG@")][-1]


def with_differences(comparison: Comparison) -> list[dict[str, Any]]:
    """The variants in their order, each with ``attention``, its finished ``seeds`` and where it has one ``difference``.

    Raises RunError when a file of a run is corrupt.
    """
    variants: list[dict[str, Any]] = [
        {"attention": variant, "seeds": [seed for seed in comparison.seeds if comparison.finished(variant, seed)]}
        for variant in comparison.variants
    ]
    add_differences(comparison, variants, headline_metric(comparison))
    return variants


def add_differences(comparison: Comparison, variants: list[dict[str, Any]], metric: str) -> None:
    """Add ``difference`` by protocol to all variants but the first, over the seeds that both have finished.

    Args:
        comparison: whose runs they are.
        variants: an entry a variant with ``attention`` and ``seeds``, as in `comparison.json`.
        metric: such as ``NDCG@10``.
    """
    first, *others = variants
    tables: list[_Table] = []
    places: list[tuple[dict[str, Any], str]] = []
    for entry in others:
        seeds = [seed for seed in entry["seeds"] if seed in first["seeds"]]
        for protocol in PROTOCOLS if seeds else ():
            own, baseline = (
                np.stack([_per_user(comparison.run(name, seed), protocol, metric) for seed in seeds])
                for name in (entry["attention"], first["attention"])
            )
            tables.append(own - baseline)
            places.append((entry, protocol))
    for (entry, protocol), table, found in zip(places, tables, paired_differences(tables), strict=True):
        entry.setdefault("difference", {})[protocol] = _described(found, table)


def _per_user(run: RunDirectory, protocol: str, metric: str) -> _Table:
    ranks: Ranks = getattr(run.test_ranks(), protocol)
    return per_user_metrics(ranks, [int(metric.split("@")[1])])[metric].numpy()


def _described(found: Difference, table: _Table) -> dict[str, Any]:
    """A difference as plain values, with the verdict and what more seeds would do."""
    wanted = None
    if found.adjusted_level is not None and not found.shown and table.any():
        wanted = seeds_wanted(table, 1 - found.adjusted_level)
    return asdict(found) | {
        "verdict": verdict(found),
        "more_seeds": wanted.more if wanted else None,
        "users_part": wanted.users_part if wanted else None,
        "advice": "the same for every user and seed" if not table.any() else advice(found, wanted),
    }


def verdict(found: Difference) -> str:
    """What can be said of the variants, given all that is shown together."""
    if found.p_holm is None:
        return "not tested"
    if not found.shown:
        return "no difference shown"
    return "better" if found.mean > 0 else "worse"


def advice(found: Difference, wanted: SeedsWanted | None) -> str:
    """What more seeds would do; empty where the difference is shown."""
    if found.seeds == 1:
        return "one seed: nothing can be said of the variants; at least two more are worth having"
    if wanted is None:
        return ""
    if wanted.hopeless:
        return f"more seeds would not help: the users' part of the uncertainty alone is ±{wanted.users_part:.4f}"
    if wanted.more is None and found.seeds >= MOST_SEEDS:
        return ""
    if wanted.more is None:
        return f"more than {MOST_SEEDS} seeds would be needed to show a difference of this size"
    return f"about {found.seeds + wanted.more} seeds in all would show a difference of this size in half of all cases"
