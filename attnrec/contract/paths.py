"""Checks that packed rows, implementations and the compiler give the same result; and how cost grows."""

from __future__ import annotations

import os
import shutil
import time
import warnings
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from attnrec.attention import AttentionOperator, Component, Packing
from attnrec.contract.batches import Batch
from attnrec.contract.cases import PADDED, UNPADDED, Case, Layout
from attnrec.contract.checking import check
from attnrec.contract.comparing import pull_back, require_finite
from attnrec.contract.faults import Fault, NotRun
from attnrec.contract.operators import OperatorSubject
from attnrec.contract.subject import Subject
from attnrec.core.measuring import fit_exponents, kept_for_backward

_LENGTHS = (256, 512, 1024, 2048)
_BUDGET_S = 4.0


# -- packed --------------------------------------------------------------------------------------------


@check("packed", "forward_packed must compute the same as forward: the trunk calls it, while plots call forward")
def packed(subject: Subject) -> str:
    worst = 0.0
    for case in subject.ladder((Layout((1,), 1), Layout((2,), 2), Layout((1, 3), 3), Layout((1, 2, 2, 5, 7), 7))):
        for groups in (1, 2, 4)[: len(case.lengths)]:
            for training in (False, True):
                operator = subject.build(case, training=training)
                assert isinstance(subject, OperatorSubject)
                assert isinstance(operator, AttentionOperator)
                worst = max(worst, _packed_as_padded(subject, case, operator, groups))
    return f"moves by {worst:.2g}"


def _packed_as_padded(subject: OperatorSubject, case: Case, operator: AttentionOperator, groups: int) -> float:
    batch = subject.batch(case)
    given, packing = subject.packed(operator, case, batch, groups)
    weight = subject.cotangent(batch).transpose(1, 2).flatten(0, 1)[batch.cells(subject.device)]
    trained = {name: p for name, p in operator.named_parameters() if p.requires_grad}
    results = []
    for run in (operator.forward_packed, lambda *given: AttentionOperator.forward_packed(operator, *given)):
        # views of one tensor, as the trunk gives them
        leaf = torch.stack(given, dim=1).detach().requires_grad_()
        out = _packed_output(run, leaf, packing, weight.shape)
        found = pull_back(out, weight, (leaf, *trained.values()))
        gradients = dict(zip(("q, k and v", *trained), found, strict=True))
        named = {f"the gradient w.r.t. {name}": gradient for name, gradient in gradients.items()}
        results.append({"the output": out.detach()} | named)
    text = (
        f"in {groups} group{'' if groups == 1 else 's'} {{name}} of forward_packed differs from forward's by {{{{}}}}"
    )
    return max(
        subject.agree(results[0][name], wanted, case, text.format(name=name)) for name, wanted in results[1].items()
    )


def _packed_output(run: Callable[..., Tensor], leaf: Tensor, packing: Packing, shape: torch.Size) -> Tensor:
    out = run(*leaf.clone().unbind(1), packing)
    if out.shape != shape:
        raise Fault(f"forward_packed returns {list(out.shape)}, not {list(shape)}")
    return require_finite(out, "the output of forward_packed")


# -- implementations -----------------------------------------------------------------------------------


@check("implementations", "every impl must compute the same formula and the same gradients")
def implementations(subject: Subject) -> str:
    own, values = subject.factory.impls()
    if own is None:
        raise NotRun(f"the {subject.noun} has no option impl")
    if not values:
        raise NotRun(f"impl is not annotated as Literal[...], so only impl={own} is known")
    usable = [impl for impl in values if subject.takes(subject.heads, subject.head_dim, impl)]
    refused = [impl for impl in values if impl not in usable]
    left_out = f" ({', '.join(refused)} cannot run here)" if refused else ""
    if len(usable) < 2:
        raise NotRun(f"no other implementation to compare impl={own} with{left_out}")
    base = "reference" if "reference" in usable else usable[0]
    worst = 0.0
    for impl in usable:
        if impl != base:
            worst = max(worst, _implementations_agree(subject, base, impl))
    return f"{', '.join(usable)}: moves by {worst:.2g}{left_out}"


def _implementations_agree(subject: Subject, base: str, impl: str) -> float:
    single = any(subject.kept_dtype(name) != torch.float64 for name in (base, impl))
    dtype = torch.float32 if single else torch.float64
    worst = 0.0
    for case in subject.ladder((Layout((1,), 1), *UNPADDED, *PADDED, Layout((0, 2), 3)), long=True):
        batch = subject.batch(case, dtype=dtype)
        reference = subject.build(case, impl=base, dtype=dtype)
        other = subject.build(case, impl=impl, dtype=dtype)
        other.load_state_dict(reference.state_dict())
        cotangent = subject.cotangent(batch)
        wanted, gradients = subject.gradients(reference, batch, cotangent)
        out, found = subject.gradients(other, batch, cotangent)
        text = f"{{name}} of impl={impl} differs from that of impl={base} by {{{{}}}}"
        worst = max(worst, subject.agree(out, wanted, case, text.format(name="the output"), dtype))
        for name, gradient in gradients.items():
            words = text.format(name=f"the gradient w.r.t. {name}")
            worst = max(worst, subject.agree(found[name], gradient, case, words, dtype))
    return worst


# -- torch.compile -------------------------------------------------------------------------------------


@check("torch.compile", "do not branch on is_compiling or on values, and keep no state in plain Python attributes")
def compiled(subject: Subject) -> str:
    backend, words = subject.backend, f" (backend {subject.backend})"
    if backend is None:
        reason = why_not_inductor()
        backend, words = ("aot_eager", f" (backend aot_eager: {reason})") if reason else ("inductor", "")
    torch._dynamo.reset()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the compiler itself
            worst = _compiled_as_eager(subject, backend)
    finally:
        torch._dynamo.reset()
    return f"moves by {worst:.2g}{words}"


def why_not_inductor() -> str:
    """Why torch's own compiler cannot compile correct code here; empty if it can."""
    wanted = os.environ.get("CXX")
    if not any(shutil.which(name) for name in ((wanted,) if wanted else ("g++", "clang++", "c++"))):
        return "no C++ compiler"
    # older versions take the CPU kernel's log-sum-exp for float32 (pytorch issue 185539): 2.11 does, 2.13 does not
    if len({_log_sum_exp_type(device) for device in ("cpu", "meta")}) > 1:
        return "this torch cannot compile its attention in float64"
    return ""


def _log_sum_exp_type(device: str) -> torch.dtype:
    x = torch.ones(1, 1, 1, 1, dtype=torch.float64, device=device)
    return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(x, x, x)[1].dtype


def _compiled_as_eager(subject: Subject, backend: str) -> float:
    worst = 0.0
    component: Component | None = None
    for case in subject.full(Layout((2, 3), 4), Layout((2, 5), 6)):  # two cases, so that T changes
        subject.case = case
        batch = subject.batch(case)
        if component is None:
            component = subject.build(case)
            call = torch.compile(component, backend=backend)
        cotangent = subject.cotangent(batch)
        wanted, gradients = subject.gradients(component, batch, cotangent)
        leaves, out = subject.with_gradients(component, batch, call=call)
        worst = max(worst, subject.agree(out.detach(), wanted, case, "compiled, the output moves by {}"))
        found = pull_back(out, cotangent, tuple(leaves.values()))
        for name, gradient in zip(leaves, found, strict=True):
            text = f"compiled, the gradient w.r.t. {name} moves by {{}}"
            worst = max(worst, subject.agree(gradient, gradients[name], case, text))
    return worst


# -- growth --------------------------------------------------------------------------------------------


@check("growth", "")
def growth(subject: Subject) -> str:
    """Exponents of time and memory in the sequence length: reported, never a failure."""
    lengths, seconds, kept = [], [], []
    end = time.monotonic() + _BUDGET_S
    heads, dim = (1, 32) if subject.takes(1, 32) else subject.shapes[-1]
    for length in _LENGTHS:
        case = subject.single(length, heads, dim)
        batch = subject.batch(case, dtype=torch.float32)
        component = subject.build(case, training=True, dtype=torch.float32)
        lengths.append(length)
        forward = partial(_forward, subject, component, batch)
        kept.append(kept_for_backward(forward))
        seconds.append(_seconds(forward))
        left = end - time.monotonic()
        if 20 * seconds[-1] > (left if len(lengths) > 1 else 10 * _BUDGET_S):  # five passes over twice the items
            break
    if len(lengths) < 2:
        raise NotRun(f"one pass over {lengths[0]} items takes {seconds[0]:.1f} s")
    (in_time,), span = fit_exponents(seconds, lengths), f"n = {lengths[0]} to {lengths[-1]}"
    if not all(kept):
        return f"time n^{in_time:.1f}, nothing kept for backward ({span})"
    (in_memory,) = fit_exponents(kept, lengths)
    return f"time n^{in_time:.1f}, memory n^{in_memory:.1f} ({span})"


def _forward(subject: Subject, component: Component, batch: Batch) -> Tensor:
    return subject.run(component, batch.mapped(lambda x: x.detach().requires_grad_().clone()))


def _seconds(forward: Callable[[], Tensor]) -> float:
    """The shortest of three forward and backward passes, after one to warm up."""
    found = []
    for _ in range(4):
        begin = time.perf_counter()
        out = forward()
        if out.requires_grad:
            out.sum().backward()
        if out.is_cuda:
            torch.cuda.synchronize()
        found.append(time.perf_counter() - begin)
    return min(found[1:])
