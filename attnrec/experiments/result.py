"""The result of a comparison, field by field, and the JSON that holds it.

`comparison.json` has a key for each field, of the same name; the fields of a variant's `RunFigures` stand among its
own, and are not there before it has a finished run, nor is ``difference`` where there is none. Scores are between 0
and 1; protocols are ``full`` and ``sampled``; metrics are ``NDCG@N``, ``Hit@N`` and ``MRR``.
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
    """One number of each of a variant's finished runs.

    Attributes:
        mean: over the runs.
        sd: standard deviation of a sample (n - 1); None for one run.
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
    """The norm of all gradients together, before clipping; each over the seeds.

    Attributes:
        mean, max, last: over all steps of a run; of its last step.
        trend: mean over the last fifth of the epochs divided by that over the first; NaN where the latter is 0.
        mean_of_last_batch_of_epoch: mean over the last step of each epoch alone.
    """

    mean: OverSeeds
    max: OverSeeds
    last: OverSeeds
    trend: OverSeeds
    mean_of_last_batch_of_epoch: OverSeeds


@dataclass(frozen=True)
class RunFigures:
    """What the finished runs of a variant say without the other variants.

    Attributes:
        parameters: how many numbers are trained.
        seconds_per_epoch: median over the seeds of each run's median.
        peak_memory_bytes: the largest of the runs; on a GPU its memory, else that of the process.
        epochs, best_epoch: trained, and chosen by validation, counted from 1; one a seed.
        test: scores by protocol and metric, at the chosen epoch.
        grad_norm: over the steps of the training.
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
    """A difference from the first variant, and what is said of it.

    Attributes:
        verdict: ``not tested`` with one seed; the others go by the adjusted result alone.
        more_seeds: how many more would show a difference of this size in half of all cases; None where it is shown,
            where too many would be needed, or with one seed.
        users_part: half the width of the interval that seeds without end would leave; None where it is shown, or with
            one seed.
        advice: the same in words; "" where there is nothing to be said.
    """

    verdict: Verdict
    more_seeds: int | None
    users_part: float | None
    advice: str


Differences = Mapping[str, Mapping[str, StatedDifference]]
"""By variant and protocol, of the variants that have a seed in common with the first."""


@dataclass(frozen=True)
class FailedRun:
    """A run that was tried and has no result; ``message`` says why, in a line or a few."""

    seed: int
    message: str


@dataclass(frozen=True)
class VariantResult:
    """One variant of a comparison.

    Attributes:
        attention: its label.
        options: of its own by name, as TOML and JSON take them; ``attention`` or ``model`` among them.
        seeds: of its finished runs, ascending; empty where there is none.
        failed: runs that failed when the comparison was last run.
        missing: seeds of runs that were asked for and have neither ended nor failed.
        figures: of its finished runs; None where there is none.
        seconds_ratio: seconds an epoch as a multiple of the first variant's; None where one of them has none.
        difference: from the first variant in `ComparisonFindings.metric`, by protocol, over the seeds that both have
            finished; empty for the first one, and where they have none in common.
        valid_at_equal_time: best validation score within the time that the fastest variant took (`EqualTime`); None
            where a run had none by then or did not log its seconds.
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
    """The time that every variant is given for `VariantResult.valid_at_equal_time`.

    Attributes:
        fastest: label of the variant whose runs took the fewest seconds in all.
        seconds: of training that it took, a mean over its seeds.
    """

    fastest: str
    seconds: float


@dataclass(frozen=True)
class ComparisonFindings:
    """Everything that is known of a comparison.

    Attributes:
        out: its folder, as it was given.
        dataset: name or path, as it was given.
        loss: that all variants were trained with, unless one has its own.
        selected_by: protocol that chose the epoch, on validation.
        metric: that differences are of: ``NDCG@10``, or NDCG at the largest cut-off of a catalogue of fewer items.
        seeds: of all runs, asked for or already there; ascending.
        variants: those asked for, then the folder's others with a finished run. Differences are from the first.
        differing: what differs besides the variants, a line each.
        equal_time: None where no run logged its seconds.
        warnings: what makes the comparison say less than it seems to, a line each.
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
        """From the first variant, of those that have any."""
        return {variant.attention: variant.difference for variant in self.variants if variant.difference}

    def as_json(self) -> dict[str, Any]:
        """Plain values; what `comparison.json` holds."""
        return dict(as_plain(self))


def read_result(folder: str | Path) -> ComparisonFindings:
    """The result that a comparison left in its folder when it was last run; no run is read.

    Raises InputError where there is none, or where the file is not what a comparison writes.
    """
    file = Path(folder) / JSON_RESULT
    content = content_of(file, file)
    try:
        return from_plain(ComparisonFindings, json.loads(content))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file} is not what a comparison writes: {error}") from error
