"""The state that resuming a training needs: taken from a trainer, and restored into one."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from attnrec.core.errors import RunError
from attnrec.core.options import named
from attnrec.training.gradients import GradientNormStatistics
from attnrec.training.observer import Progress
from attnrec.training.tensors import from_bytes, to_bytes

if TYPE_CHECKING:
    from attnrec.training.loop import Trainer

_MODEL, _OPTIMIZER = "model/", "optimizer/"


def state_of(trainer: Trainer, others: dict[str, Tensor] | None = None, **more: Any) -> bytes:
    """The state of a training between two steps, as the content of a file.

    ``others`` and ``more`` are further tensors and values to keep. RunError if a part of the state cannot be saved.
    """
    tensors = (others or {}) | {_MODEL + name: tensor for name, tensor in trainer.model.state_dict().items()}
    for place, entries in trainer.optimizer.state_dict()["state"].items():
        tensors |= {f"{_OPTIMIZER}{place}/{name}": torch.as_tensor(entry) for name, entry in entries.items()}
    tensors |= {"generator": trainer.generator.get_state(), "torch_generator": torch.get_rng_state()}
    if trainer.device.type == "cuda":
        tensors["cuda_generator"] = torch.cuda.get_rng_state(trainer.device)
    values = {
        "device": trainer.device.type,
        "progress": asdict(trainer.progress),
        "gradients": asdict(trainer.gradients),
        "last_batch_gradients": asdict(trainer.last_batch_gradients),
        "best_metrics": trainer.best_metrics,
    }
    try:
        return to_bytes(tensors, values | more)
    except ValueError as error:
        raise RunError(
            f"the state of {named('attention', trainer.config.model.attention)} cannot be saved: {error}"
        ) from error


def restore_state(trainer: Trainer, content: bytes) -> None:
    """Restore a state; RunError if it does not fit the training."""
    try:
        tensors, values = from_bytes(content)
        trainer.model.load_state_dict(_part(tensors, _MODEL))
        entries: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _part(tensors, _OPTIMIZER).items():
            place, _, entry = name.partition("/")
            entries.setdefault(int(place), {})[entry] = tensor
        groups = trainer.optimizer.state_dict()["param_groups"]
        trainer.optimizer.load_state_dict({"state": entries, "param_groups": groups})
        trainer.progress = Progress(**values["progress"])
        trainer.gradients = GradientNormStatistics(**values["gradients"])
        trainer.last_batch_gradients = GradientNormStatistics(**values["last_batch_gradients"])
        trainer.best_metrics = values["best_metrics"]
        torch.set_rng_state(tensors["torch_generator"])
        if values["device"] == trainer.device.type:
            trainer.generator.set_state(tensors["generator"])
            if trainer.device.type == "cuda":
                torch.cuda.set_rng_state(tensors["cuda_generator"], trainer.device)
        else:  # a GPU's generator draws other numbers than a CPU's, so its state is of no use
            trainer.generator.manual_seed(trainer.config.training.seed + trainer.steps_done)
            torch.manual_seed(trainer.config.training.seed + trainer.steps_done)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise RunError(f"the state of {trainer.run} was written by another version ({error})") from error


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
