"""The result of a training as plain values: the content of `summary.json`."""

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
    """The content of `summary.json`.

    It stays a mapping: notebooks and other tools read its keys, and a run of an earlier version may lack newer ones.

    Attributes:
        run: the run directory, as it was given.
        model, attention: their specifications.
        dataset: the data set's name.
        epochs: number of epochs begun.
        best_epoch: the epoch chosen by validation, counted from 1.
        interrupted: whether the training was interrupted.
        stopped_early: whether it ran out of patience.
        skipped_steps: steps skipped because a loss or gradient was not finite.
        seconds_per_epoch: the median.
        parameters: number of the model's parameters.
        grad_norm: gradient norm over all steps.
        grad_norm_last_batch_of_epoch: gradient norm over only the last step of each epoch.
        peak_memory_bytes: peak memory on the GPU, or else of the process.
        split: how the data were divided (`Split.description`).
        start_from: the run whose weights it started from, or None.
        left_out: what was left out because the run that it started from does not know it
            (`attnrec.data.splits.Unknown`); None if it did not start from a run.
        valid, test: metrics at the best epoch, by protocol and name.
        best_possible_ndcg10: expected NDCG@10 of the best possible scorer, if the data set knows it, else None.
        data_fingerprint: fingerprint of the interactions.
        torch: version of torch.
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
        trainer: the trainer, with the best model's metrics.
        evaluator: the evaluator of the test items.
        test: its ranks with the best model.
        interrupted: whether the training was interrupted.
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
