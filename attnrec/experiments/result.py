"""The result of a comparison, field by field, and the JSON that holds it.

`comparison.json` has a key for each field, with the same name. The fields of a variant's `RunFigures` are directly
among its own; they are missing until it has a finished run, and ``difference`` is missing if there is none. Scores are
between 0 and 1; protocols are ``full`` and ``sampled``; metrics are ``NDCG@N``, ``Hit@N`` and ``MRR``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from attnrec.core.errors import InputError
from attnrec.core.inputs import content_of
from attnrec.core.plain import FLAT, LEFT_OUT, as_plain, from_plain
from attnrec.evaluation.significance import Difference

JSON_RESULT = "comparison.json"

Verdict = Literal["better", "worse", "no difference shown", "not tested"]


@dataclass(frozen=True)
class OverSeeds:
    """One number from each of a variant's finished runs.

    Attributes:
        mean: mean over the runs.
        sd: sample standard deviation (n - 1); None for one run.
        values: the number of each run, in the order of the variant's ``seeds``.
    """

    mean: float
    sd: float | None
    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float]) -> OverSeeds:
        """Mean and deviation of at least one value."""
        deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
        return cls(float(np.mean(values)), deviation, tuple(values))


@dataclass(frozen=True)
class GradientNorms:
    """The global gradient norm before clipping; each value over the seeds.

    Attributes:
        mean, max: over all steps of a run.
        last: at the last step of a run.
        trend: mean over the last fifth of the epochs divided by that over the first fifth; NaN if the divisor is 0.
        mean_of_last_batch_of_epoch: mean over only the last step of each epoch.
    """

    mean: OverSeeds
    max: OverSeeds
    last: OverSeeds
    trend: OverSeeds
    mean_of_last_batch_of_epoch: OverSeeds


@dataclass(frozen=True)
class RunFigures:
    """The figures of a variant's finished runs, independent of other variants.

    Attributes:
        parameters: number of trained parameters.
        seconds_per_epoch: median over the seeds of each run's median.
        peak_memory_bytes: the largest of the runs; GPU memory on a GPU, otherwise that of the process.
        epochs, best_epoch: number of trained epochs, and the epoch chosen on validation, from 1; one per seed.
        test: scores by protocol and metric, at the chosen epoch.
        grad_norm: global gradient norm over the steps of the training.
    """

    parameters: int
    seconds_per_epoch: float
    peak_memory_bytes: int
    epochs: tuple[int, ...]
    best_epoch: tuple[int, ...]
    test: Mapping[str, Mapping[str, OverSeeds]]
    grad_norm: GradientNorms


@dataclass(frozen=True)
class StatedDifference(Difference):
    """A difference from the first variant, with a verdict and advice.

    Attributes:
        verdict: ``not tested`` with one seed; the others depend only on the adjusted result.
        more_seeds: how many more would show a difference of this size half of the time; None if it is shown, if too
            many would be needed, or with one seed.
        users_part: half the width of the interval that would remain with infinitely many seeds; None if the difference
            is shown, or with one seed.
        advice: the same in words; "" if there is nothing to say.
    """

    verdict: Verdict
    more_seeds: int | None
    users_part: float | None
    advice: str


Differences = Mapping[str, Mapping[str, StatedDifference]]
"""By variant and protocol, for the variants that share a seed with the first."""


@dataclass(frozen=True)
class FailedRun:
    """A run that was tried and has no result; ``message`` says why, in one or a few lines."""

    seed: int
    message: str


@dataclass(frozen=True)
class VariantResult:
    """One variant of a comparison.

    Attributes:
        attention: its label.
        options: its own options by name, as TOML and JSON values, including ``attention`` or ``model``.
        seeds: seeds of its finished runs, ascending; may be empty.
        failed: runs that failed when the comparison was last run.
        missing: seeds of requested runs that have neither finished nor failed.
        figures: figures of its finished runs; None if there are none.
        seconds_ratio: seconds per epoch as a multiple of the first variant's; None if one of them is unknown.
        difference: difference from the first variant in `ComparisonFindings.metric`, by protocol, over the seeds that
            both have finished; empty for the first variant, and if they share no seed.
        valid_at_equal_time: best validation score within the time that the fastest variant took (`EqualTime`); None
            if a run had none by then or did not log its seconds.
    """

    attention: str
    options: Mapping[str, Any]
    seeds: tuple[int, ...]
    failed: tuple[FailedRun, ...]
    missing: tuple[int, ...]
    figures: RunFigures | None = field(metadata=FLAT)
    seconds_ratio: float | None
    difference: Mapping[str, StatedDifference] = field(metadata=LEFT_OUT)
    valid_at_equal_time: OverSeeds | None


@dataclass(frozen=True)
class EqualTime:
    """The time that every variant gets for `VariantResult.valid_at_equal_time`.

    Attributes:
        fastest: label of the variant whose runs took the fewest seconds.
        seconds: its seconds of training, the mean over its seeds.
    """

    fastest: str
    seconds: float


@dataclass(frozen=True)
class ComparisonFindings:
    """Everything that is known about a comparison.

    Attributes:
        out: its folder, as it was given.
        dataset: name or path, as it was given.
        loss: the loss that all variants were trained with, unless one has its own.
        selected_by: the protocol that chose the epoch, on validation.
        metric: the metric of the differences: ``NDCG@10``, or NDCG at the largest cut-off of a smaller catalogue.
        seeds: seeds of all runs, requested or already there; ascending.
        variants: the requested ones, then others in the folder with a finished run. Differences are from the first.
        differing: what differs besides the variants, one line each.
        equal_time: the time behind `VariantResult.valid_at_equal_time`; None if no run logged its seconds.
        warnings: why the comparison may say less than it seems to, one line each.
    """

    out: str
    dataset: str
    loss: str
    selected_by: str
    metric: str
    seeds: tuple[int, ...]
    variants: tuple[VariantResult, ...]
    differing: tuple[str, ...]
    equal_time: EqualTime | None
    warnings: tuple[str, ...]

    def trained(self) -> list[tuple[VariantResult, RunFigures]]:
        """The variants that have a finished run, each with the figures of its runs."""
        return [(variant, variant.figures) for variant in self.variants if variant.figures is not None]

    def differences(self) -> Differences:
        """The differences from the first variant, of all variants that have any."""
        return {variant.attention: variant.difference for variant in self.variants if variant.difference}

    def as_json(self) -> dict[str, Any]:
        """Plain values, as in `comparison.json`."""
        return dict(as_plain(self))


def read_result(folder: str | Path) -> ComparisonFindings:
    """The result that a comparison wrote when it was last run; the runs themselves are not read.

    Raises InputError if there is none, or if the file was not written by a comparison.
    """
    file = Path(folder) / JSON_RESULT
    content = content_of(file, file)
    try:
        return from_plain(ComparisonFindings, json.loads(content))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file} is not what a comparison writes: {error}") from error
