"""Checks of everything around the mathematics: precision, device, state, and inputs that must stay unchanged."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from attnrec.attention import AttentionOperator
from attnrec.contract.batches import Batch
from attnrec.contract.cases import PADDED, UNPADDED, Case
from attnrec.contract.checking import check
from attnrec.contract.comparing import pull_back, require_finite
from attnrec.contract.faults import Fault, NotRun, Unusable, raised
from attnrec.contract.subject import Place, Subject

_FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def _named(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


@check("dtype", "create tensors like the inputs (dtype=q.dtype, torch.zeros_like), and cast back after any .float()")
def dtype(subject: Subject) -> str:
    """A component may refuse any precision except float32."""
    kept, refused = [], []
    for wanted in _FLOATS:
        for case in subject.full(UNPADDED[0], PADDED[-1]):
            component, batch = subject.build(case, dtype=wanted), subject.batch(case, dtype=wanted)
            try:
                out = subject.run(component, batch)
            except Unusable:
                raise
            except Exception as error:
                if wanted == torch.float32 or not subject.is_refusal(error):
                    raise Fault(f"{_named(wanted)} {raised(error)}") from error
                refused.append(f"{_named(wanted)} ({raised(error)})")
                break
            if out.dtype != wanted:
                raise Fault(f"{_named(wanted)} comes back as {_named(out.dtype)}")
            require_finite(out, f"the output in {_named(wanted)}")
        else:
            kept.append(_named(wanted))
    return ", ".join(kept) + (f"; refused: {', '.join(refused)}" if refused else "")


@check("autocast", "cast a parameter to the dtype of the tensor it is combined with, or leave the product to autocast")
def autocast(subject: Subject) -> str:
    """As the trunk runs it in bfloat16: parameters in float32, inputs in bfloat16 or float32."""
    unit = torch.finfo(torch.bfloat16).eps
    worst = 0.0
    for case in subject.full(UNPADDED[1], PADDED[-1]):
        batch = subject.batch(case, dtype=torch.float32)
        component = subject.build(case, dtype=torch.float32)
        wanted = subject.output(component, batch)
        for given in (torch.bfloat16, torch.float32) if batch.floats else (torch.float32,):
            with torch.autocast(subject.device.type, torch.bfloat16):
                leaves, out = subject.with_gradients(component, batch.to(given, subject.device))
            require_finite(out)
            if out.dtype not in (torch.bfloat16, torch.float32):
                raise Fault(f"{_named(given)} comes back as {_named(out.dtype)}")
            found = subject.difference(out, wanted)
            # scores of a few units are off by a few roundings, so weights have a relative error of that size
            subject.judge(found, 32 * unit, "under autocast the output moves by {}")
            trained = [parameter for parameter in component.parameters() if parameter.requires_grad]
            pull_back(out, subject.cotangent(batch), [*leaves.values(), *trained])
            worst = max(worst, found)
    return f"moves by {worst:.2g}"


@check(
    "device",
    "create tensors on the inputs' device (device=q.device), and register those that are not parameters as buffers",
)
def device(subject: Subject) -> str:
    """On a CPU, torch's meta device plays the other device: it computes only shapes and devices."""
    target = torch.device("meta") if subject.device.type == "cpu" else subject.device
    for case in subject.full(UNPADDED[0], PADDED[-1]):
        batch = subject.batch(case, dtype=torch.float32, device=target)
        component = subject.build(case, dtype=torch.float32).to(target)
        try:
            out = subject.run(component, batch)
        except (RuntimeError, NotImplementedError) as error:
            if target.type == "meta" and not ("expected device" in str(error) or "same device" in str(error)):
                raise NotRun(f"the meta device, which replaces a GPU here, is not enough: {raised(error)}") from error
            raise
        if out.device.type != target.type:
            raise Fault(f"inputs on {target.type} come back on {out.device.type}")
    return "on the meta device" if target.type == "meta" else f"stays on {target.type}"


@check("global state", "give every new tensor a dtype and device, and let no result depend on the gradient mode")
def global_state(subject: Subject) -> str:
    worst = 0.0
    for case in subject.full(UNPADDED[1], PADDED[-1]):
        batch = subject.batch(case)
        wanted = subject.output(subject.build(case), batch)
        for words, around in _surroundings().items():
            component = subject.build(case)
            with around():
                out = subject.run(component, batch.mapped(torch.clone))
            if out.dtype != wanted.dtype:
                raise Fault(f"{words} the output is {_named(out.dtype)}")
            worst = max(worst, subject.agree(out.detach(), wanted, case, f"{words} outputs move by {{}}"))
    return f"moves by {worst:.2g}"


def _surroundings() -> dict[str, Callable[[], AbstractContextManager[object]]]:
    return {
        "with torch.set_default_dtype(bfloat16)": lambda: _default_dtype(torch.bfloat16),
        "with torch.set_default_dtype(float64)": lambda: _default_dtype(torch.float64),
        "with gradients": torch.enable_grad,
        "in inference_mode": torch.inference_mode,
    }


@contextlib.contextmanager
def _default_dtype(wanted: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(wanted)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@check("state dict", "make everything drawn or counted a parameter, or a buffer with register_buffer")
def state_dict(subject: Subject) -> str:
    """A component with another seed computes the same after it has loaded the state."""
    for case in subject.full(UNPADDED[1], PADDED[-1]):
        batch = subject.batch(case)
        one, other = subject.build(case), subject.another(case)
        wanted = subject.output(one, batch)
        # saved in the same way as in a run
        file = save_tensors({name: own.detach().cpu().clone() for name, own in one.state_dict().items()})
        other.load_state_dict(load_tensors(file))
        article = "an" if subject.noun == "operator" else "a"
        text = f"{article} {subject.noun} that loads the state dict of another differs from it by {{}}"
        subject.agree(subject.output(other, batch), wanted, case, text)
        count = len(one.state_dict())
    return f"{count} tensor{'' if count == 1 else 's'}" if count else "empty"


@check("inputs kept", "do not change inputs in place (q *= ..., masked_fill_): the block still needs them")
def inputs_kept(subject: Subject) -> str:
    for case in subject.ladder((UNPADDED[0], PADDED[1])):
        component, given = subject.build(case), subject.given(subject.batch(case))
        with _left_alone(subject, given, "forward"):
            component(*given)
        if isinstance(component, AttentionOperator) and component.has_weights:
            q, k, _, ctx = given
            with _left_alone(subject, given, "weights"):
                component.weights(q, k, ctx)
    return "unchanged"


@contextlib.contextmanager
def _left_alone(subject: Subject, given: tuple[Any, ...], name: str) -> Iterator[None]:
    held = [pair for key, value in zip(subject.arguments, given, strict=True) for pair in _tensors(key, value)]
    before = [(tensor.clone(), tensor._version) for _, tensor in held]
    with torch.no_grad():
        yield
    for (key, tensor), (values, version) in zip(held, before, strict=True):
        if tensor._version != version or not tensor.equal(values):
            raise Fault(f"{name} writes into {key}")


def _tensors(name: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    """The tensors in an argument, each with the name of its field."""
    if isinstance(value, np.ndarray):
        yield name, torch.from_numpy(value)
    elif isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key, own in value.items():
            yield from _tensors(key, own)
    elif isinstance(value, tuple):
        for own in value:
            yield from _tensors(name, own)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from _tensors(field.name, getattr(value, field.name))


@check("memory layout", "use .reshape rather than .view: the trunk passes views of a larger tensor")
def memory_layout(subject: Subject) -> str:
    worst = 0.0
    for case in subject.full(UNPADDED[1], PADDED[-1]):
        batch = subject.batch(case)
        wanted = _placed(subject, case, batch, torch.clone)
        for words, place in _layouts().items():
            for name, found in _placed(subject, case, batch, place).items():
                text = f"with inputs {words} {name} moves by {{}}"
                worst = max(worst, subject.agree(found, wanted[name], case, text))
    return f"moves by {worst:.2g}"


def _placed(subject: Subject, case: Case, batch: Batch, place: Place) -> dict[str, Tensor]:
    """The output and the gradients w.r.t. the floats; ``place`` lays out inputs and incoming gradients in memory."""
    leaves, out = subject.with_gradients(subject.build(case), batch, place=place)
    gradients = pull_back(out, place(subject.cotangent(batch)), tuple(leaves.values()))
    return {"the output": out.detach()} | {
        f"the gradient w.r.t. {name}": gradient for name, gradient in zip(leaves, gradients, strict=True)
    }


def _transposed(x: Tensor) -> Tensor:
    axes = (1, 2) if x.ndim > 2 else (0, 1)
    return x.transpose(*axes).contiguous().transpose(*axes)


def _layouts() -> dict[str, Place]:
    return {
        "that are transposed views": _transposed,
        "that are every other column": lambda x: torch.stack([x, x], dim=-1)[..., 0],
    }
