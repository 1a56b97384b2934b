"""What a training gave, as plain values: the content of `summary.json`."""

from __future__ import annotations

import math
import statistics
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch

from attnrec.core.devices import peak_memory
from attnrec.data.load import fingerprint
from attnrec.evaluation.ranking import Evaluation, Evaluator
from attnrec.evaluation.targets import TargetsReport, targets_report
from attnrec.training.gradients import GradientSummary
from attnrec.training.observer import Metrics

if TYPE_CHECKING:
    from attnrec.training.loop import Trainer


class Summary(TargetsReport):
    """What `summary.json` holds.

    It stays a mapping: notebooks and other tools read its keys, and a run of an earlier version may lack newer ones.

    Attributes:
        run: the run directory, as it was given.
        model, attention: as specifications.
        dataset: its name.
        epochs, best_epoch: begun, and chosen by validation, counted from 1.
        interrupted: whether the training was ended before its time.
        stopped_early: whether it ran out of patience.
        skipped_steps: left out because a loss or gradient was not finite.
        seconds_per_epoch: the median.
        parameters: how many numbers are trained.
        grad_norm: over all steps.
        grad_norm_last_batch_of_epoch: over the last step of each epoch alone.
        peak_memory_bytes: on a GPU its memory, else that of the process.
        split: what was divided how (`Split.description`).
        start_from: the run whose weights it began with; None for a training from the beginning.
        left_out: what a vocabulary that was given left out (`attnrec.data.splits.Unknown`); None without one.
        valid, test: metrics at the best epoch, by protocol and name.
        best_possible_ndcg10: what no model exceeds, where the data say so; else None.
        data_fingerprint: of the interactions.
        torch: its version.
        device: ``cpu`` or ``cuda``.
    """

    run: str
    model: str
    attention: str
    dataset: str
    epochs: int
    best_epoch: int
    interrupted: bool
    stopped_early: bool
    skipped_steps: int
    seconds_per_epoch: float
    parameters: int
    grad_norm: GradientSummary
    grad_norm_last_batch_of_epoch: GradientSummary
    peak_memory_bytes: int
    split: dict[str, Any]
    start_from: str | None
    left_out: dict[str, Any] | None
    valid: Metrics
    test: Metrics
    best_possible_ndcg10: float | None
    data_fingerprint: str
    torch: str
    device: str


def summarised(trainer: Trainer, evaluator: Evaluator, test: Evaluation, interrupted: bool) -> Summary:
    """The summary of a training.

    Args:
        trainer: with the best model's metrics.
        evaluator: of the test items.
        test: what it found with the best model.
        interrupted: whether the training was ended before its time.
    """
    progress, config, split = trainer.progress, trainer.config, trainer.split
    return {
        "run": str(trainer.run.path),
        "model": str(config.model.model),
        "attention": str(config.model.attention),
        "dataset": trainer.data.name,
        "epochs": math.ceil(trainer.steps_done / len(trainer.batches)),
        "best_epoch": progress.best_epoch,
        "interrupted": interrupted,
        "stopped_early": trainer.out_of_patience(),
        "skipped_steps": progress.skipped,
        "seconds_per_epoch": statistics.median(progress.seconds_per_epoch or [0.0]),
        "parameters": sum(parameter.numel() for parameter in trainer.model.parameters()),
        "grad_norm": trainer.gradients.summary(),
        "grad_norm_last_batch_of_epoch": trainer.last_batch_gradients.summary(),
        "peak_memory_bytes": peak_memory(trainer.device),
        "split": split.description(),
        "start_from": config.training.start_from or None,
        "left_out": None if split.unknown is None else asdict(split.unknown),
        "valid": trainer.best_metrics,
        "test": test.means(trainer.cutoffs),
        **targets_report(evaluator, test, trainer.cutoffs, trainer.trained),
        "best_possible_ndcg10": trainer.data.best_ndcg if split.kind == "leave-one-out" else None,
        "data_fingerprint": fingerprint(trainer.data),
        "torch": torch.__version__,
        "device": str(trainer.device),
    }
