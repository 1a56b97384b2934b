"""Metrics with and without the targets that a model could not have learned.

Unseen: an item that occurs in no training history. A model that knows only item numbers ranks it by chance.
Unknown: an item in newer data that is not in the model's vocabulary. The model cannot rank it at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NotRequired, TypedDict

import numpy as np
import numpy.typing as npt
import torch

from attnrec.data.batches import ragged_arange
from attnrec.data.splits import Split
from attnrec.evaluation.ranking import Evaluation, Evaluator

_Mask = npt.NDArray[np.bool_]
_Metrics = dict[str, dict[str, float]]  # by protocol and name


def training_popularity(split: Split) -> npt.NDArray[np.int64]:
    """Interactions of each item in the training part, int64 [num_items + 1]; number 0 is padding."""
    rows = ragged_arange(split.data.offsets[:-1], split.train_lengths)
    return np.bincount(split.data.items[rows], minlength=split.data.num_items + 1)


class UnseenTargets(TypedDict):
    """The targets never trained on: their number, their share of all, and the metrics of both protocols without them.

    ``without`` is None if there are no other targets.
    """

    number: int
    share: float
    without: _Metrics | None


class UnknownTargets(TypedDict):
    """The targets not in the vocabulary: their number, their share of all, and the metrics with them as misses.

    ``as_misses`` is over all targets, for both protocols.
    """

    number: int
    share: float
    as_misses: _Metrics


class TargetsReport(TypedDict):
    """Unseen targets of an evaluation, and unknown ones if the data were cut to the vocabulary."""

    unseen_targets: UnseenTargets
    unknown_targets: NotRequired[UnknownTargets]


class EvaluationReport(TargetsReport):
    """The metrics by name in both protocols, and the unseen and unknown targets."""

    full: dict[str, float]
    sampled: dict[str, float]


class NewerReport(EvaluationReport):
    """For newer data, also how they were split (`Split.description`) and what was left out (`Unknown`)."""

    split: dict[str, Any]
    left_out: dict[str, Any]


def report(evaluator: Evaluator, result: Evaluation, cutoffs: Sequence[int], trained: _Mask) -> EvaluationReport:
    """Metrics of an evaluation, and its unseen and unknown targets.

    Args:
        evaluator: the evaluator that ranked.
        result: its ranks.
        cutoffs: cut-offs N of the metrics.
        trained: which items the model was trained on, [num_items + 1].
    """
    means = result.means(cutoffs)
    of_targets = targets_report(evaluator, result, cutoffs, trained)
    return {"full": means["full"], "sampled": means["sampled"], **of_targets}


def targets_report(evaluator: Evaluator, result: Evaluation, cutoffs: Sequence[int], trained: _Mask) -> TargetsReport:
    """The unseen and unknown targets of an evaluation; arguments as for `report`."""
    unseen = unseen_targets(evaluator, result, cutoffs, trained)
    if evaluator.split.unknown is None:
        return {"unseen_targets": unseen}
    return {"unseen_targets": unseen, "unknown_targets": _unknown_targets(evaluator, result.means(cutoffs))}


def unseen_targets(evaluator: Evaluator, result: Evaluation, cutoffs: Sequence[int], trained: _Mask) -> UnseenTargets:
    """The targets never trained on; arguments as for `report`."""
    seen = torch.from_numpy(trained[evaluator.targets.numpy()])
    number = int((~seen).sum())
    without = result.of(seen).means(cutoffs) if seen.any() else None
    return {"number": number, "share": number / len(seen), "without": without}


def _unknown_targets(evaluator: Evaluator, metrics: _Metrics) -> UnknownTargets:
    unknown = evaluator.split.unknown
    assert unknown is not None
    known = len(evaluator.targets)
    number = unknown.targets[evaluator.part]
    total = known + number
    as_misses = {
        protocol: {name: value * known / total for name, value in of_known.items()}
        for protocol, of_known in metrics.items()
    }
    return {"number": number, "share": number / total, "as_misses": as_misses}
