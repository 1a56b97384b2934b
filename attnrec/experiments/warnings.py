"""Reasons why a training or a comparison may say less than it seems to, one plain line each.

- The best epoch is the last one evaluated: a later one may be better.
- Validation was still rising at the end: the best of the last fifth of the evaluations exceeds the best before
  by more than 1 % of it and by more than the noise of an evaluation. That noise is the standard deviation of the
  steps between evaluations in the second half, divided by sqrt 2; for independent scores around a steady rise this
  is the deviation of one score. It takes at least ten evaluations. A training that ran out of patience has stopped
  rising and is not checked.
- The compared runs differ in options that no variant sets: a run of the folder was resumed by hand.
- `comparison.toml` says an option that no run was trained with: it was edited, or all runs were resumed by hand.
- The baseline is below published results (`known_rows`), all of which use leave-one-out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from attnrec.core.options import named
from attnrec.experiments.compare import MAY_DIFFER, OF_ONE_RUN, PLAN, PROTOCOLS, Comparison
from attnrec.experiments.known_rows import NEAR, known_row
from attnrec.training.run_directory import RunDirectory

BEST_IS_LAST = "the best epoch is the last one evaluated; a later one may be better"
STILL_RISING = "validation was still rising when training ended; more epochs may raise it further"
_NOT_OPTIONS = OF_ONE_RUN | MAY_DIFFER
_FEWEST_EVALUATIONS = 10
_RISE = 0.01


def run_warnings(run: RunDirectory) -> list[str]:
    """Warnings for one finished run: `BEST_IS_LAST`, `STILL_RISING`, both or none. RunError if a file is corrupt."""
    summary = run.summary()
    if summary is None or summary["stopped_early"]:
        return []
    evaluations = [line for line in run.log() if "valid" in line]
    scores = [_selected(line["valid"][run.config().evaluation.select]) for line in evaluations]
    found = []
    if evaluations and evaluations[-1]["epoch"] == summary["best_epoch"]:
        found.append(BEST_IS_LAST)
    if still_rising(scores):
        found.append(STILL_RISING)
    return found


def still_rising(scores: Sequence[float]) -> bool:
    """Whether validation scores, one per evaluation, rise to the end; the rule is at the top of this file."""
    if len(scores) < _FEWEST_EVALUATIONS:
        return False
    fifth = len(scores) // 5
    before, last = max(scores[:-fifth]), max(scores[-fifth:])
    varies = np.diff(scores[len(scores) // 2 :]).std(ddof=1) / np.sqrt(2)
    return bool(last - before > max(varies, _RISE * before))


def comparison_warnings(comparison: Comparison, baseline: Mapping[str, float]) -> list[str]:
    """Warnings for a comparison and all its finished runs.

    ``baseline``: NDCG@10 of the first variant by protocol; empty if it has no finished run, or no cut-off 10.
    """
    runs = [run for run in comparison.runs() if comparison.finished(*run)]
    by_kind: dict[str, dict[str, list[int]]] = {}
    for variant, seed in runs:
        for words in run_warnings(comparison.run(variant, seed)):
            by_kind.setdefault(words, {}).setdefault(variant, []).append(seed)
    lines = [f"{words}: {_listed(by_kind[words])}" for words in (BEST_IS_LAST, STILL_RISING) if words in by_kind]
    return [*lines, *_differing_options(comparison, runs), *_below_known_rows(comparison, runs, baseline)]


def _selected(metrics: Mapping[str, float]) -> float:
    """NDCG@10, or NDCG at the largest cut-off if the catalogue has fewer than ten items."""
    return metrics.get("NDCG@10", [value for name, value in metrics.items() if name.startswith("NDCG@")][-1])


def _listed(found: Mapping[str, Sequence[int]]) -> str:
    """``sdpa (seeds 0, 1), awr (seed 2)``."""
    return ", ".join(
        f"{variant} (seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))})" for variant, seeds in found.items()
    )


def _differing_options(comparison: Comparison, runs: Sequence[tuple[str, int]]) -> list[str]:
    """Options, or the device, that are not the same for all runs."""
    found: dict[str, dict[str, dict[str, list[int]]]] = {}  # by option, value and variant: the seeds
    for variant, seed in runs:
        run = comparison.run(variant, seed)
        own = comparison.variants[variant]  # these are meant to differ
        options = {key: value for key, value in run.config().to_mapping().items() if key not in {*_NOT_OPTIONS, *own}}
        options["device"] = run.result()["device"]
        for name, value in options.items():
            found.setdefault(name, {}).setdefault(str(value), {}).setdefault(variant, []).append(seed)
    differing = [
        f"the runs compared differ in {named(name)}: "
        + "; ".join(f"{value} for {_listed(of_value)}" for value, of_value in values.items())
        for name, values in found.items()
        if len(values) > 1
    ]
    planned = comparison.config.to_mapping()
    edited = [name for name, values in found.items() if name != "device" and str(planned[name]) not in values]
    return differing + [f"{PLAN} says {named(name, planned[name])}, but no run was trained with it" for name in edited]


def _below_known_rows(
    comparison: Comparison, runs: Sequence[tuple[str, int]], baseline: Mapping[str, float]
) -> list[str]:
    if not baseline or comparison.config.data.split in ("time", "given"):
        return []
    first, training = comparison.shown()[0], comparison.config.training
    summary = comparison.run(*runs[0]).result()  # the data are the same for all runs
    lines = []
    for protocol, mean in baseline.items():
        row = known_row(summary["data_fingerprint"], training.loss, training.negatives, protocol)
        if row and mean < NEAR * row.ndcg10:
            lines.append(
                f"the baseline {first} reaches {mean:.4f} ({PROTOCOLS[protocol]} NDCG@10), below the "
                f"{row.ndcg10:.4f} that {row.source} reports for {row.model} on these data: it may not be fully "
                "trained, and a difference from it shows little"
            )
    return lines
