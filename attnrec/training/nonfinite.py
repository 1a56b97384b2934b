"""Keeping the state before a step whose loss or gradient is not finite, so that the step can be repeated and examined.

Losses are read some steps late, so the step is found by training again from the last snapshot, which repeats the same
numbers.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from attnrec.core.errors import InputError, RunError
from attnrec.core.options import named
from attnrec.data.batches import SequenceBatch
from attnrec.training.observer import Observer
from attnrec.training.run_directory import RunDirectory
from attnrec.training.state import restore_state, state_of

if TYPE_CHECKING:
    from attnrec.training.loop import Trainer
    from attnrec.training.writer import RunWriter


class NotFinite(RunError):
    """A loss, gradient or score is not finite at ``step``, counted from 1 over the whole training."""

    def __init__(self, message: str, step: int) -> None:
        super().__init__(message)
        self.step = step


@dataclass(frozen=True)
class Figures:
    """Figures of the values in some tensors.

    Attributes:
        largest, rms: largest magnitude and root mean square of the finite values; NaN if there are none.
        not_finite: number of values that are not finite.
        elements: number of all values.
    """

    largest: float
    rms: float
    not_finite: int
    elements: int


@dataclass(frozen=True)
class Layer:
    """One module of the model in a step.

    Attributes:
        name: as in the model's `named_modules`.
        output: the output of its forward pass; None if that is not a tensor.
        parameters: its own parameters before the step, without those of submodules; None if it has none.
        gradients: their gradients; None if there are none.
    """

    name: str
    output: Figures | None
    parameters: Figures | None
    gradients: Figures | None


@dataclass(frozen=True)
class Replay:
    """A step by layer, in the order of the forward pass.

    Attributes:
        step, epoch: counted from 1.
        loss, grad_norm: the loss, and the gradient norm before clipping.
        users: number of users in the batch.
        first: where the first value that is not finite occurs, in words; "" if all are finite.
        layers: the figures of each layer.
    """

    step: int
    epoch: int
    loss: float
    grad_norm: float
    users: int
    first: str
    layers: tuple[Layer, ...]

    def to_mapping(self) -> dict[str, Any]:
        """Plain values, with None for numbers that are not finite."""
        return _plain(asdict(self))


def keep_step(trainer: Trainer, error: NotFinite) -> None:
    """Keep the state before the step of ``error`` in the run, and add to its message where it first goes wrong."""
    writer = trainer.writer
    with suppress(RunError, InputError):  # a full disk must not hide the error itself
        writer.diverged(str(error))
        _find_step(trainer, error)


def _find_step(trainer: Trainer, error: NotFinite) -> None:
    """Train again from the newest snapshot to just before the step; keep that state, and examine the step."""
    with _silenced(trainer) as writer:
        newest = next(RunDirectory.open(trainer.run.path).snapshots(), None)
        if newest is None:
            return
        restore_state(trainer, newest[1])
        trainer.train_until(error.step - 1)
        if trainer.steps_done != error.step - 1:
            return  # stopped by Ctrl-C, or the numbers came out differently, which can happen on a GPU
        batch = _next_batch(trainer)
        own = {"items": batch.items, "users": batch.users, "lengths": torch.from_numpy(batch.lengths)}
        content = state_of(trainer, {f"batch/{name}": value for name, value in own.items()}, what=str(error))
        found = _looked_at(trainer, batch)
        writer.keep_nonfinite(content)
        where = f"first in {found.first}; " if found.first else ""
        error.args = (f"{error}; {where}`attnrec train` with {named('replay', trainer.run)} shows the step by layer",)


def replay_step(trainer: Trainer, state: bytes) -> Replay:
    """Repeat the step that follows a kept state; RunError if the state does not fit the training."""
    restore_state(trainer, state)
    return _looked_at(trainer, _next_batch(trainer))


def _next_batch(trainer: Trainer) -> SequenceBatch:
    progress = trainer.progress
    if progress.step == len(trainer.batches):  # the state was taken at the end of an epoch, before the validation
        progress.epoch, progress.step = progress.epoch + 1, 0
    return next(trainer.batches.epoch(progress.epoch, progress.step)).to(trainer.device)


@contextmanager
def _silenced(trainer: Trainer) -> Iterator[RunWriter]:
    """Let a trainer repeat steps without logging or showing them, and without taking snapshots."""

    class Nowhere:
        def write(self, line: dict[str, Any]) -> None: ...

        def flush(self) -> None: ...

    observer, writer, trainer.observer = trainer.observer, trainer.writer, Observer()
    log, writer.log = writer.log, Nowhere()  # type: ignore[assignment]
    trainer.next_snapshot = time.monotonic() + math.inf
    try:
        yield writer
    finally:
        trainer.observer, writer.log = observer, log


def _looked_at(trainer: Trainer, batch: SequenceBatch) -> Replay:
    """Run the forward and backward pass of a batch, and collect the figures of every module involved."""
    modules = {module: name or "model" for name, module in trainer.model.named_modules()}
    parameters = {name: _figures(list(module.parameters(recurse=False))) for module, name in modules.items()}
    outputs: dict[str, Figures | None] = {}
    trainer.model.train()
    hooks = [module.register_forward_hook(_noting(outputs, name)) for module, name in modules.items()]
    try:
        loss, norm = trainer.backward(batch).tolist()
    finally:
        for hook in hooks:
            hook.remove()
    gradients = {name: _figures(_gradients(module)) for module, name in modules.items()}
    order = [*outputs, *(name for name in parameters if name not in outputs and parameters[name])]
    layers = tuple(Layer(name, outputs.get(name), parameters[name], gradients[name]) for name in order)
    first = _first(layers, loss)
    progress = trainer.progress
    return Replay(trainer.steps_done + 1, progress.epoch, loss, norm, len(batch.lengths), first, layers)


def _noting(outputs: dict[str, Figures | None], name: str) -> Callable[..., None]:
    def hook(module: nn.Module, given: Any, output: Any) -> None:
        outputs[name] = _figures([output] if isinstance(output, Tensor) else [])

    return hook


def _gradients(module: nn.Module) -> list[Tensor]:
    return [parameter.grad for parameter in module.parameters(recurse=False) if parameter.grad is not None]


def _figures(tensors: list[Tensor]) -> Figures | None:
    """Figures of some tensors together; None if they have no elements."""
    flat = [tensor.detach().double().reshape(-1) for tensor in tensors]
    values = torch.cat(flat) if flat else torch.empty(0)
    if not len(values):
        return None
    finite = values[values.isfinite()]
    if not len(finite):
        return Figures(math.nan, math.nan, len(values), len(values))
    largest, rms = float(finite.abs().max()), float(finite.square().mean().sqrt())
    return Figures(largest, rms, len(values) - len(finite), len(values))


def _first(layers: tuple[Layer, ...], loss: float) -> str:
    """Where the first value that is not finite occurs: in parameters, forward pass, loss or backward pass."""
    for what, order in (("parameters", layers), ("output", layers), ("loss", ()), ("gradients", layers[::-1])):
        if what == "loss" and not math.isfinite(loss):
            return "the loss"
        for layer in order:
            figures: Figures | None = getattr(layer, what)
            if figures is not None and figures.not_finite:
                return f"the {what} of {layer.name}"
    return ""


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(own) for key, own in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(own) for own in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
