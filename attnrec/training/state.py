"""What resuming a training needs: made from a trainer, and put back into one."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch

from attnrec.data.load import fingerprint
from attnrec.errors import InputError, RunError
from attnrec.training.gradients import GradientNormStatistics
from attnrec.training.observer import Progress

if TYPE_CHECKING:
    from attnrec.training.loop import Trainer


def state_of(trainer: Trainer) -> dict[str, Any]:
    """The state of a training between two steps."""
    return {
        "model": trainer.model.state_dict(),
        "optimizer": trainer.optimizer.state_dict(),
        "progress": asdict(trainer.progress),
        "gradients": asdict(trainer.gradients),
        "last_batch_gradients": asdict(trainer.last_batch_gradients),
        "best_metrics": trainer.best_metrics,
        "generator": trainer.generator.get_state(),
        "torch_generator": torch.get_rng_state(),
        "cuda_generators": torch.cuda.get_rng_state_all() if trainer.device.type == "cuda" else [],
        "log_size": trainer.logged_bytes(),
        "data": fingerprint(trainer.data),
        "split": trainer.split.fingerprint,
    }


def restore_state(trainer: Trainer, state: dict[str, Any]) -> None:
    """Put a state back.

    Raises:
        InputError: it belongs to other data, or another split of them.
        RunError: it is corrupt.
    """
    try:
        if (state["data"], state["split"]) != (fingerprint(trainer.data), trainer.split.fingerprint):
            raise InputError(f"{trainer.config.dataset} has changed since {trainer.run} was started")
        trainer.model.load_state_dict(state["model"])
        trainer.optimizer.load_state_dict(state["optimizer"])
        trainer.progress = Progress(**state["progress"])
        trainer.gradients = GradientNormStatistics(**state["gradients"])
        trainer.last_batch_gradients = GradientNormStatistics(**state["last_batch_gradients"])
        trainer.best_metrics = state["best_metrics"]
        trainer.generator.set_state(state["generator"])
        torch.set_rng_state(state["torch_generator"])
        if trainer.device.type == "cuda" and state["cuda_generators"]:
            torch.cuda.set_rng_state_all(state["cuda_generators"])
        trainer.log_size = state["log_size"]
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        if isinstance(error, InputError):
            raise
        raise RunError(f"the state of {trainer.run} is corrupt or of another version ({error})") from error
