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
from attnrec.evaluation.targets import report

if TYPE_CHECKING:
    from attnrec.training.loop import Trainer


def summarised(trainer: Trainer, evaluator: Evaluator, test: Evaluation, interrupted: bool) -> dict[str, Any]:
    """The summary of a training.

    Args:
        trainer: with the best model's metrics.
        evaluator: of the test items.
        test: what it found with the best model.
        interrupted: whether the training was ended before its time.
    """
    progress, config, split = trainer.progress, trainer.config, trainer.split
    of_test = report(evaluator, test, trainer.cutoffs, trainer.trained)
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
        "test": {protocol: of_test.pop(protocol) for protocol in ("full", "sampled")},
        **of_test,
        "best_possible_ndcg10": trainer.data.best_ndcg if split.kind == "leave-one-out" else None,
        "data_fingerprint": fingerprint(trainer.data),
        "torch": torch.__version__,
        "device": str(trainer.device),
    }
