"""What surrounds the mathematics: precisions, devices, state, inputs that belong to the caller."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from attnrec.contract.cases import PADDED, UNPADDED, Batch, Case, make_batch
from attnrec.contract.check import check, raised
from attnrec.contract.subject import Fault, NotRun, Subject, pull_back, require_finite, require_shape

_FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def _named(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


@check("dtype", "make new tensors like the inputs (dtype=q.dtype, torch.zeros_like) and cast nothing for good")
def dtype(subject: Subject) -> str:
    """A refusal by TypeError or ValueError is an answer; float32 must be taken."""
    kept, refused = [], []
    for wanted in _FLOATS:
        for case in subject.full(UNPADDED[0], PADDED[-1]):
            operator, batch = subject.operator(case, dtype=wanted), make_batch(case).to(wanted, subject.device)
            try:
                out = operator(*batch.inputs, batch.ctx)
            except (TypeError, ValueError) as error:
                if wanted == torch.float32:
                    raise
                refused.append(f"{_named(wanted)} ({raised(error)})")
                break
            except Exception as error:
                raise Fault(f"{_named(wanted)} {raised(error)}") from error
            if out.dtype != wanted:
                raise Fault(f"{_named(wanted)} comes back as {_named(out.dtype)}")
            require_finite(out, f"the output in {_named(wanted)}")
        else:
            kept.append(_named(wanted))
    return ", ".join(kept) + (f"; refused: {', '.join(refused)}" if refused else "")


@check("autocast", "cast a parameter to the dtype of what it meets, or leave the product to autocast")
def autocast(subject: Subject) -> str:
    """As the trunk runs it in bfloat16: parameters in float32, inputs as a linear layer gives them."""
    unit = torch.finfo(torch.bfloat16).eps
    worst = 0.0
    for case in subject.full(UNPADDED[1], PADDED[-1]):
        batch = make_batch(case).to(torch.float32, subject.device)
        operator = subject.operator(case, dtype=torch.float32)
        wanted = subject.output(operator, batch)
        for given in (torch.bfloat16, torch.float32):
            with torch.autocast(subject.device.type, torch.bfloat16):
                leaves, out = subject.with_gradients(operator, batch.to(given, subject.device))
            if out.dtype not in (torch.bfloat16, torch.float32):
                raise Fault(f"{_named(given)} comes back as {_named(out.dtype)}")
            found = subject.difference(out, wanted)
            # scores of a few units are off by a few roundings, and weights by that much relatively
            if not found < 32 * unit:
                raise Fault(f"under autocast the output moves by {found:.2g}")
            trained = [parameter for parameter in operator.parameters() if parameter.requires_grad]
            pull_back(out, subject.cotangent(batch), [*leaves, *trained])
            worst = max(worst, found)
    return f"moves by {worst:.2g}"


@check("device", "make tensors with device=q.device, and keep tensors that are no parameters in register_buffer")
def device(subject: Subject) -> str:
    """On a CPU, torch's meta device stands for the other one: it computes shapes and places alone."""
    target = torch.device("meta") if subject.device.type == "cpu" else subject.device
    for case in subject.full(UNPADDED[0], PADDED[-1]):
        batch = make_batch(case).to(torch.float32, target)
        operator = subject.operator(case, dtype=torch.float32).to(target)
        try:
            out = operator(*batch.inputs, batch.ctx)
        except (RuntimeError, NotImplementedError) as error:
            if target.type == "meta" and not ("expected device" in str(error) or "same device" in str(error)):
                raise NotRun(f"the meta device, in place of another, is not enough: {raised(error)}") from error
            raise
        if out.device.type != target.type:
            raise Fault(f"inputs on {target.type} come back on {out.device.type}")
    return "by the meta device" if target.type == "meta" else f"stays on {target.type}"


@check("global state", "say dtype and device of every new tensor, and let nothing hang on whether gradients are on")
def global_state(subject: Subject) -> str:
    worst = 0.0
    for case in subject.full(UNPADDED[1], PADDED[-1]):
        batch = subject.batch(case)
        wanted = subject.output(subject.operator(case), batch)
        for words, around in _surroundings().items():
            operator = subject.operator(case)
            with around():
                out = operator(*(x.clone() for x in batch.inputs), batch.ctx)
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


@check("state dict", "what is drawn or counted must be a parameter, or a buffer by register_buffer")
def state_dict(subject: Subject) -> str:
    """An operator of another seed computes the same after it was given the state."""
    for case in subject.full(UNPADDED[1], PADDED[-1]):
        batch = subject.batch(case)
        one, other = subject.operator(case, seed=0), subject.operator(case, seed=1)
        wanted = subject.output(one, batch)
        # as a run keeps it
        file = save_tensors({name: own.detach().cpu().clone() for name, own in one.state_dict().items()})
        other.load_state_dict(load_tensors(file))
        text = "an operator that loads the state dict of another differs from it by {}"
        subject.agree(subject.output(other, batch), wanted, case, text)
        count = len(one.state_dict())
    return f"{count} tensor{'' if count == 1 else 's'}" if count else "empty"


@check("inputs kept", "no in-place operation (q *= ..., masked_fill_) on what was passed in: the block still needs it")
def inputs_kept(subject: Subject) -> str:
    for case in subject.ladder((UNPADDED[0], PADDED[1])):
        operator, batch = subject.operator(case), subject.batch(case)
        with _left_alone(batch, "forward"):
            operator(*batch.inputs, batch.ctx)
        if operator.has_weights:
            with _left_alone(batch, "weights"):
                operator.weights(batch.q, batch.k, batch.ctx)
    return "unchanged"


@contextlib.contextmanager
def _left_alone(batch: Batch, name: str) -> Iterator[None]:
    held = {"q": batch.q, "k": batch.k, "v": batch.v, "lengths": batch.ctx.lengths}
    if batch.ctx.timestamps is not None:
        held["timestamps"] = batch.ctx.timestamps
    before = {key: (tensor.clone(), tensor._version) for key, tensor in held.items()}
    with torch.no_grad():
        yield
    for key, tensor in held.items():
        values, version = before[key]
        if tensor._version != version or not tensor.equal(values):
            raise Fault(f"{name} writes into {key}")


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


def _placed(subject: Subject, case: Case, batch: Batch, place: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """The output and the gradients by q, k and v, with inputs and what comes back placed in memory by ``place``."""
    leaves = [x.detach().clone().requires_grad_() for x in batch.inputs]
    q, k, v = (place(x) for x in leaves)
    out = require_shape(subject.operator(case)(q, k, v, batch.ctx), batch)
    gradients = pull_back(out, place(subject.cotangent(batch)), leaves)
    return {"the output": out.detach()} | {
        f"the gradient by {name}": gradient for name, gradient in zip("qkv", gradients, strict=True)
    }


def _layouts() -> dict[str, Callable[[Tensor], Tensor]]:
    return {
        "that are transposed views": lambda x: x.transpose(1, 2).contiguous().transpose(1, 2),
        "that are every other column": lambda x: torch.stack([x, x], dim=-1)[..., 0],
    }
