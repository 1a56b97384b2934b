"""Metrics with and without the targets that a model could not have learned.

Unseen: an item that occurs in no training history. A model that knows items by number ranks it only by chance.
Unknown: an item that is not in the model's vocabulary, in data that came after it. The model cannot rank it at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from attnrec.data.batches import ragged_arange
from attnrec.data.splits import Split
from attnrec.evaluation.ranking import Evaluation, Evaluator

_Mask = npt.NDArray[np.bool_]


def training_popularity(split: Split) -> npt.NDArray[np.int64]:
    """Interactions of each item in the training part, int64 [num_items + 1]; number 0 is padding."""
    rows = ragged_arange(split.data.offsets[:-1], split.train_lengths)
    return np.bincount(split.data.items[rows], minlength=split.data.num_items + 1)


def report(evaluator: Evaluator, result: Evaluation, cutoffs: Sequence[int], trained: _Mask) -> dict[str, Any]:
    """Metrics of an evaluation, and what is to be said of its targets.

    Args:
        evaluator: that ranked.
        result: what it found.
        cutoffs: of the metrics.
        trained: which items the model was trained on, [num_items + 1].

    Returns:
        ``full`` and ``sampled``, as `Evaluation.means`; ``unseen_targets``, as below; and for data that were cut to the
        model's vocabulary ``unknown_targets``, as below.
    """
    found: dict[str, Any] = dict(result.means(cutoffs))
    found["unseen_targets"] = unseen_targets(evaluator, result, cutoffs, trained)
    if evaluator.split.unknown is not None:
        found["unknown_targets"] = _unknown_targets(evaluator, found)
    return found


def unseen_targets(evaluator: Evaluator, result: Evaluation, cutoffs: Sequence[int], trained: _Mask) -> dict[str, Any]:
    """``number`` and ``share`` of the targets never trained on, and the metrics ``without`` them, of both protocols.

    ``without`` is None where no other target is left. Arguments as of `report`.
    """
    seen = torch.from_numpy(trained[evaluator.targets.numpy()])
    number = int((~seen).sum())
    without = result.of(seen).means(cutoffs) if seen.any() else None
    return {"number": number, "share": number / len(seen), "without": without}


def _unknown_targets(evaluator: Evaluator, metrics: dict[str, Any]) -> dict[str, Any]:
    """``number`` and ``share`` of the targets that are unknown, and the metrics ``as_misses``, over all targets."""
    unknown = evaluator.split.unknown
    assert unknown is not None
    known = len(evaluator.targets)
    number = unknown.targets[evaluator.part]
    total = known + number
    as_misses = {
        protocol: {name: value * known / total for name, value in metrics[protocol].items()}
        for protocol in ("full", "sampled")
    }
    return {"number": number, "share": number / total, "as_misses": as_misses}
