"""The result of a comparison from its runs: figures over seeds, differences, cost, warnings."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from attnrec.core.files import write_atomically
from attnrec.experiments.compare import PROTOCOLS, Comparison, check_places
from attnrec.experiments.cost import at_equal_time, time_curve
from attnrec.experiments.differences import differences_from_first, headline_metric
from attnrec.experiments.result import (
    JSON_RESULT,
    ComparisonFindings,
    FailedRun,
    GradientNorms,
    OverSeeds,
    RunFigures,
    VariantResult,
)
from attnrec.experiments.tables import to_markdown
from attnrec.experiments.variants import differing, plain
from attnrec.experiments.warnings import comparison_warnings
from attnrec.training.run_directory import RunDirectory

MARKDOWN_RESULT = "comparison.md"


def build_result(comparison: Comparison, failures: Mapping[tuple[str, int], str] | None = None) -> ComparisonFindings:
    """Everything known about a comparison; unfinished runs are left out, and listed as failed or missing.

    Args:
        comparison: the comparison; its runs are read as they are now.
        failures: by variant and seed, why a run failed.

    Raises InputError if a run is not that of its variant and seed, RunError if a file of one is corrupt.
    """
    check_places(comparison)  # another training may have replaced a run meanwhile
    config, metric, shown = comparison.config, headline_metric(comparison), comparison.shown()
    seeds = {name: comparison.finished_seeds(name) for name in shown}
    runs = {name: {seed: comparison.run(name, seed) for seed in of} for name, of in seeds.items()}
    figures = {name: _figures(list(of.values())) if of else None for name, of in runs.items()}
    differences = differences_from_first(comparison, seeds, metric)
    equal_time, scores = at_equal_time(
        {
            name: {seed: time_curve(run.log(), config.evaluation.select, metric) for seed, run in of.items()}
            for name, of in runs.items()
        }
    )
    first = figures[shown[0]]
    variants = tuple(
        VariantResult(
            attention=name,
            options=plain(comparison.variants[name]),
            seeds=seeds[name],
            failed=_failed(comparison, name, failures or {}),
            missing=_missing(comparison, name, failures or {}),
            figures=figures[name],
            seconds_ratio=_ratio(figures[name], first),
            difference=differences.get(name, {}),
            valid_at_equal_time=scores.get(name),
        )
        for name in shown
    )
    return ComparisonFindings(
        out=str(comparison.path),
        dataset=config.data.dataset,
        loss=config.training.loss,
        selected_by=config.evaluation.select,
        metric=metric,
        seeds=comparison.seeds,
        variants=variants,
        differing=tuple(differing(config, {name: comparison.variants[name] for name in shown})),
        equal_time=equal_time,
        warnings=tuple(comparison_warnings(comparison, _ndcg10(first))),
    )


def write_result(comparison: Comparison, result: ComparisonFindings) -> None:
    """Write `comparison.json` and `comparison.md`."""
    write_atomically(comparison.path / JSON_RESULT, (json.dumps(result.as_json(), indent=2) + "\n").encode())
    write_atomically(comparison.path / MARKDOWN_RESULT, to_markdown(comparison, result).encode())


def trend(epoch_means: Sequence[float]) -> float:
    """Mean gradient norm over the last fifth of the epochs, divided by that over the first fifth; 1 for one epoch."""
    part = max(1, len(epoch_means) // 5)
    first = float(np.mean(epoch_means[:part]))
    return float(np.mean(epoch_means[-part:])) / first if first else math.nan


def epoch_means(log: list[dict[str, Any]]) -> list[float]:
    """The mean global gradient norm over the steps of each epoch, from the lines of `metrics.jsonl`."""
    lines = [line for line in log if "grad_norm" in line]
    epochs = np.array([line["epoch"] for line in lines])
    norms = np.array([line["grad_norm"] for line in lines])
    _, starts = np.unique(epochs, return_index=True)
    return [float(part.mean()) for part in np.split(norms, starts[1:])]


# -- one variant -------------------------------------------------------------------------------------------


def _figures(runs: Sequence[RunDirectory]) -> RunFigures:
    summaries = [run.result() for run in runs]
    test = {
        protocol: {
            name: OverSeeds.of([summary["test"][protocol][name] for summary in summaries])
            for name in summaries[0]["test"][protocol]
        }
        for protocol in PROTOCOLS
    }
    norms = {
        kind: OverSeeds.of([summary["grad_norm"][kind] for summary in summaries]) for kind in ("mean", "max", "last")
    }
    return RunFigures(
        parameters=summaries[0]["parameters"],
        seconds_per_epoch=float(np.median([summary["seconds_per_epoch"] for summary in summaries])),
        peak_memory_bytes=max(summary["peak_memory_bytes"] for summary in summaries),
        epochs=tuple(summary["epochs"] for summary in summaries),
        best_epoch=tuple(summary["best_epoch"] for summary in summaries),
        test=test,
        grad_norm=GradientNorms(
            **norms,
            trend=OverSeeds.of([trend(epoch_means(run.log())) for run in runs]),
            mean_of_last_batch_of_epoch=OverSeeds.of(
                [summary["grad_norm_last_batch_of_epoch"]["mean"] for summary in summaries]
            ),
        ),
    )


def _failed(comparison: Comparison, variant: str, failures: Mapping[tuple[str, int], str]) -> tuple[FailedRun, ...]:
    return tuple(FailedRun(seed, failures[variant, seed]) for seed in comparison.seeds if (variant, seed) in failures)


def _missing(comparison: Comparison, variant: str, failures: Mapping[tuple[str, int], str]) -> tuple[int, ...]:
    """Seeds of requested runs that have no result and have not failed."""
    return tuple(
        seed
        for name, seed in comparison.wanted()
        if name == variant and not comparison.finished(variant, seed) and (variant, seed) not in failures
    )


def _ratio(own: RunFigures | None, first: RunFigures | None) -> float | None:
    """Seconds per epoch as a multiple of the first variant's; None if one of them is unknown."""
    if own is None or first is None or not own.seconds_per_epoch or not first.seconds_per_epoch:
        return None
    return own.seconds_per_epoch / first.seconds_per_epoch


def _ndcg10(figures: RunFigures | None) -> dict[str, float]:
    """Mean test NDCG@10 by protocol, if it was computed."""
    test = {} if figures is None else figures.test
    return {protocol: metrics["NDCG@10"].mean for protocol, metrics in test.items() if "NDCG@10" in metrics}
