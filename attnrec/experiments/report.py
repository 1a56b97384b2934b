"""The result of a comparison as plain values: figures over seeds, differences, cost, warnings."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from attnrec.core.files import write_atomically
from attnrec.experiments.compare import PROTOCOLS, Comparison
from attnrec.experiments.cost import add_equal_time, time_curve
from attnrec.experiments.differences import add_differences, headline_metric
from attnrec.experiments.tables import to_markdown
from attnrec.experiments.variants import differing, plain
from attnrec.experiments.warnings import comparison_warnings
from attnrec.training.run_directory import RunDirectory

JSON_RESULT, MARKDOWN_RESULT = "comparison.json", "comparison.md"


def build_result(comparison: Comparison, failures: dict[tuple[str, int], str] | None = None) -> dict[str, Any]:
    """Everything known of a comparison as plain values; what `comparison.json` holds.

    Runs that are not finished are left out, and named under ``failed`` or ``missing``.

    Raises RunError when a file of a run is corrupt.
    """
    failures = failures or {}
    metric = headline_metric(comparison)
    variants = []
    wanted = comparison.wanted()
    for variant in comparison.shown():
        seeds = [seed for seed in comparison.seeds if comparison.finished(variant, seed)]
        entry: dict[str, Any] = {"attention": variant, "options": plain(comparison.variants[variant]), "seeds": seeds}
        entry["failed"] = [
            {"seed": seed, "message": failures[variant, seed]}
            for seed in comparison.seeds
            if (variant, seed) in failures
        ]
        entry["missing"] = [
            seed
            for seed in comparison.seeds
            if (variant, seed) in wanted and seed not in seeds and (variant, seed) not in failures
        ]
        if seeds:
            entry |= _figures([comparison.run(variant, seed) for seed in seeds])
        variants.append(entry)
    for entry in variants:
        entry["seconds_ratio"] = _ratio(entry, variants[0])
    add_differences(comparison, variants, metric)
    result = {
        "out": str(comparison.path),
        "dataset": comparison.config.data.dataset,
        "loss": comparison.config.training.loss,
        "selected_by": comparison.config.evaluation.select,
        "metric": metric,
        "seeds": list(comparison.seeds),
        "variants": variants,
        "differing": list(differing(comparison.config, {v: comparison.variants[v] for v in comparison.shown()})),
    }
    curves = {
        entry["attention"]: {
            seed: time_curve(
                comparison.run(entry["attention"], seed).log(), comparison.config.evaluation.select, metric
            )
            for seed in entry["seeds"]
        }
        for entry in variants
    }
    add_equal_time(result, curves, _over_seeds)
    return result | {"warnings": comparison_warnings(comparison, result)}


def write_result(comparison: Comparison, result: dict[str, Any]) -> None:
    """Write `comparison.json` and `comparison.md`."""
    write_atomically(comparison.path / JSON_RESULT, (json.dumps(result, indent=2) + "\n").encode())
    write_atomically(comparison.path / MARKDOWN_RESULT, to_markdown(comparison, result).encode())


def trend(epoch_means: Sequence[float]) -> float:
    """Mean gradient norm over the last fifth of the epochs, divided by that over the first fifth; 1 for one epoch."""
    part = max(1, len(epoch_means) // 5)
    first = float(np.mean(epoch_means[:part]))
    return float(np.mean(epoch_means[-part:])) / first if first else math.nan


def epoch_means(log: list[dict[str, Any]]) -> list[float]:
    """Mean over the steps of each epoch of the global gradient norm, from the lines of `metrics.jsonl`."""
    lines = [line for line in log if "grad_norm" in line]
    epochs = np.array([line["epoch"] for line in lines])
    norms = np.array([line["grad_norm"] for line in lines])
    _, starts = np.unique(epochs, return_index=True)
    return [float(part.mean()) for part in np.split(norms, starts[1:])]


# -- figures over seeds ------------------------------------------------------------------------------------


def _figures(runs: Sequence[RunDirectory]) -> dict[str, Any]:
    summaries = [run.summary() or {} for run in runs]
    test = {
        protocol: {
            name: _over_seeds([summary["test"][protocol][name] for summary in summaries])
            for name in summaries[0]["test"][protocol]
        }
        for protocol in PROTOCOLS
    }
    norms = {
        kind: _over_seeds([summary["grad_norm"][kind] for summary in summaries]) for kind in summaries[0]["grad_norm"]
    }
    norms["trend"] = _over_seeds([trend(epoch_means(run.log())) for run in runs])
    norms["mean_of_last_batch_of_epoch"] = _over_seeds(
        [summary["grad_norm_last_batch_of_epoch"]["mean"] for summary in summaries]
    )
    return {
        "parameters": summaries[0]["parameters"],
        "seconds_per_epoch": float(np.median([summary["seconds_per_epoch"] for summary in summaries])),
        "peak_memory_bytes": max(summary["peak_memory_bytes"] for summary in summaries),
        "epochs": [summary["epochs"] for summary in summaries],
        "best_epoch": [summary["best_epoch"] for summary in summaries],
        "test": test,
        "grad_norm": norms,
    }


def _ratio(entry: dict[str, Any], first: dict[str, Any]) -> float | None:
    """Seconds an epoch as a multiple of the first variant's; None where one of them has none."""
    own, of_first = entry.get("seconds_per_epoch"), first.get("seconds_per_epoch")
    return own / of_first if own and of_first else None


def _over_seeds(values: Sequence[float]) -> dict[str, Any]:
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "sd": deviation, "values": list(values)}
