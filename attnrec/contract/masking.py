"""What may influence what: the future, padding, trimming, other sequences, the history itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain

import torch
from torch import Tensor

from attnrec.attention import AttentionOperator
from attnrec.contract.cases import EMPTY, MAX_LEN, PADDED, UNPADDED, Batch, Case, Layout
from attnrec.contract.check import check
from attnrec.contract.subject import Fault, Subject, largest_place, pull_back, require_shape

_DROPOUT = 0.5


@check("shape", "the output is [B, H, T, Dv]; values may have another width than queries and keys")
def shape(subject: Subject) -> str:
    widths, refused = set(), ""
    for case in subject.ladder((Layout((1,), 1), Layout((2,), 2), Layout((1, 3), 4), Layout((MAX_LEN,), MAX_LEN))):
        for value_dim in (0, case.dim + 1, 1):
            subject.case = tried = replace(case, value_dim=value_dim)
            try:
                batch = subject.batch(tried)
                require_shape(subject.operator(tried)(*batch.inputs, batch.ctx), batch)
            except (TypeError, ValueError) as error:  # a refusal in so many words is an answer, but not for Dv = D
                if value_dim == 0:
                    raise
                refused = f"; others refused ({error})"
            else:
                widths.add(value_dim or case.dim)
    return f"Dv = {', '.join(map(str, sorted(widths)))}{refused}"


@check("finite", "a row without a key is NaN after softmax over -inf alone: use masked_softmax, or a finite sentinel")
def finite(subject: Subject) -> str:
    cases = 0
    for case in subject.ladder((*EMPTY[:2], Layout((1,), 1), Layout((1,), 3), EMPTY[2])):
        for scale in (1.0, 100.0):
            for training in (False, True):
                operator = subject.operator(case, dropout=_DROPOUT if training else 0.0, training=training)
                batch = subject.batch(case)
                batch = Batch(batch.q * scale, batch.k * scale, batch.v, batch.ctx)
                _all_finite(subject, operator, batch, " with large scores" if scale > 1 else "")
                cases += 1
    return f"{cases} cases"


def _all_finite(subject: Subject, operator: AttentionOperator, batch: Batch, words: str) -> None:
    leaves = [x.detach().clone().requires_grad_() for x in batch.inputs]
    out = require_shape(operator(*(x.clone() for x in leaves), batch.ctx), batch)
    if not out.isfinite().all():
        row, slot = largest_place(~out.isfinite())
        empty = slot < batch.ctx.width - int(batch.ctx.lengths[row])
        raise Fault(f"the output of {'an empty slot' if empty else 'an item'} is not finite{words}")
    if not out.requires_grad:
        return
    named = dict(zip("qkv", leaves, strict=True))
    named |= {name: parameter for name, parameter in operator.named_parameters() if parameter.requires_grad}
    draws = torch.ones_like(out)  # on padding too: a constant has a gradient of zero, not NaN
    found = torch.autograd.grad(out, list(named.values()), draws, allow_unused=True, materialize_grads=True)
    for name, gradient in zip(named, found, strict=True):
        if not gradient.isfinite().all():
            raise Fault(f"the gradient by {name} is not finite{words}")


@check("no future leak", "an item may see itself and what is before it: mask keys with ctx.mask()")
def no_future_leak(subject: Subject) -> str:
    moved, paths = 0.0, False
    for case in subject.ladder(UNPADDED + PADDED, long=True):
        batch = subject.batch(case)
        slots = range(case.width) if case.width < 10 else (2, 3, 33, 34, 65, 66, 70)
        for training in (False, True):
            operator = subject.operator(case, dropout=_DROPOUT if training else 0.0, training=training)
            paths |= _no_gradient_by_later(subject, case, operator, batch, slots)
        operator = subject.operator(case)
        before = subject.output(operator, batch)
        for slot in slots:
            changed = _other_later_items(subject, case, batch, slot)
            after = subject.output(operator, changed)
            kept = batch.real[:, :, : slot + 1]
            now, then = (x[:, :, : slot + 1] * kept for x in (after, before))
            row, place = largest_place(now - then)
            words = f"{case.output(row, place)} moves by {{}} when later items change"
            moved = max(moved, subject.agree(now, then, case, words))
    return f"gradients {'0' if paths else 'none'}, moves by {moved:.2g}"


def _no_gradient_by_later(
    subject: Subject, case: Case, operator: AttentionOperator, batch: Batch, slots: range | tuple[int, ...]
) -> bool:
    """Whether there are gradients at all; a Fault where an output has one by a later item."""
    leaves, out = subject.with_gradients(operator, batch)
    cotangent = subject.cotangent(batch)
    for slot in slots:
        at_slot = torch.zeros_like(cotangent)
        at_slot[:, :, slot] = cotangent[:, :, slot]
        for name, gradient in zip("qkv", pull_back(out, at_slot, leaves, keep=True), strict=True):
            later = gradient[:, :, slot + 1 :]
            if later.any():
                row, place = largest_place(later)
                item = case.item(row, slot + 1 + place)
                size = f"{float(later.abs().max()):.2g}"
                raise Fault(f"{case.output(row, slot)} changes with item {item} (gradient {size} by its {name})")
    return out.requires_grad


def _other_later_items(subject: Subject, case: Case, batch: Batch, slot: int) -> Batch:
    later = torch.arange(case.width, device=subject.device) > slot
    changed = batch.where(later[:, None] & batch.real, subject.batch(case, seed=1))
    times = batch.ctx.timestamps
    if times is None:
        return changed
    moved = times + 86400.0 * (later & batch.ctx.real())
    return Batch(*changed.inputs, replace(batch.ctx, timestamps=moved))


@check("padding", "keys at padding must be masked, by ctx.mask() or ctx.lengths, and take no part in any mean or sum")
def padding(subject: Subject) -> str:
    moved = 0.0
    for case in subject.ladder(PADDED, long=True):
        operator, plain = subject.operator(case), subject.batch(case)
        cotangent = subject.cotangent(plain)
        wanted, gradients = subject.gradients(operator, plain, cotangent)
        for scale, words in ((1.0, "other"), (1e4, "huge")):
            filled = plain.where(~plain.real, subject.batch(case, seed=1, filled=True).scaled(scale))
            out, found = subject.gradients(operator, filled, cotangent)
            now, then = out * plain.real, wanted * plain.real
            row, slot = largest_place(now - then)
            text = f"{case.output(row, slot)} moves by {{}} when padding holds {words} values"
            moved = max(moved, subject.agree(now, then, case, text))
            for name, gradient in found.items():
                if name in ("q", "k", "v") and (at_padding := gradient * ~plain.real).any():
                    size = f"{float(at_padding.abs().max()):.2g}"
                    raise Fault(f"outputs have a gradient by the {name} of padding ({size})")
                text = f"the gradient by {name} moves by {{}} when padding holds {words} values"
                moved = max(moved, subject.agree(gradient, gradients[name], case, text))
    return f"moves by {moved:.2g}"


@check("zeros at padding", "end with .masked_fill(~ctx.real()[:, None, :, None], 0.0)")
def zeros_at_padding(subject: Subject) -> str:
    for case in subject.ladder(PADDED + EMPTY, long=True):
        for filled in (False, True):
            batch = subject.batch(case, filled=filled)
            at_padding = subject.output(subject.operator(case), batch) * ~batch.real
            if at_padding.any():
                raise Fault(f"an empty slot has the output {float(at_padding.abs().max()):.2g}")
    return "exactly 0"


@check(
    "trimming",
    "mask the keys of padding (ctx.mask()); slots count from the right: cut a table to table[ctx.offset : ctx.offset + "
    "ctx.width], and let nothing depend on T",
)
def trimming(subject: Subject) -> str:
    moved = 0.0
    for case in subject.ladder((Layout((1,), MAX_LEN), Layout((2,), MAX_LEN), Layout((1, 3, 5), MAX_LEN))):
        operator, whole = subject.operator(case), subject.batch(case)
        shortest = max(case.lengths)
        subject.case = replace(case, width=shortest)
        wanted = subject.output(operator, whole.trimmed(shortest))
        for width in range(shortest + 1, MAX_LEN + 1):
            out = subject.output(operator, whole.trimmed(width))[:, :, -shortest:]
            real = whole.trimmed(shortest).real
            row, slot = largest_place((out - wanted) * real)
            text = f"{subject.case.output(row, slot)} moves by {{}} with {width - shortest} more of padding before it"
            moved = max(moved, subject.agree(out * real, wanted * real, subject.case, text))
    return f"moves by {moved:.2g}"


@check("zero items", "which slots are real is told by ctx.lengths, never by the values of q, k or v")
def zero_items(subject: Subject) -> str:
    """A mask made from values drops an item of zeros: outputs jump there, and nothing of the item has an effect.

    Neither alone is a fault: an operator that normalises its inputs jumps at zero, one that weighs by
    products ignores a key of zeros.
    """
    for case in subject.ladder((Layout((2,), 2), Layout((3,), 3), Layout((2, 4), 5))):
        batch, operator = subject.batch(case), subject.operator(case)
        slot = case.width - 2
        at_slot = (torch.arange(case.width, device=subject.device) == slot)[:, None]
        for names in ("q", "k", "v", "qkv"):
            zero, tiny = (_replaced(batch, at_slot, names, factor) for factor in (0.0, 1e-5))
            jump = subject.difference(subject.output(operator, zero), subject.output(operator, tiny))
            if jump > 1e-3 and not _has_effect(subject, operator, zero, names, at_slot):
                what = "nothing but zeros" if names == "qkv" else f"{names} = 0"
                raise Fault(f"item {case.item(0, slot)} counts as padding when it has {what} (a jump by {jump:.2g})")
    return "count as any other"


def _has_effect(subject: Subject, operator: AttentionOperator, zero: Batch, names: str, at_slot: Tensor) -> bool:
    """Whether an item with zeros takes part: as a query, or as a key for itself and those after it."""
    cotangent = subject.cotangent(zero)
    cotangent = cotangent * (at_slot if names == "q" else at_slot.cumsum(0))
    leaves, out = subject.with_gradients(operator, zero)
    found = dict(zip("qkv", pull_back(out, cotangent, leaves), strict=True))
    if names == "q":
        return bool(found["v"].any())
    return bool((found["k" if names == "v" else "v"] * at_slot).any())


def _replaced(batch: Batch, where: Tensor, names: str, factor: float) -> Batch:
    scaled = batch.where(where, batch.scaled(factor))
    q, k, v = (getattr(scaled if name in names else batch, name) for name in "qkv")
    return Batch(q, k, v, batch.ctx)


@check("batch independence", "no mean, norm or maximum over the batch: a sequence is computed from itself alone")
def batch_independence(subject: Subject) -> str:
    moved = 0.0
    for case, training in chain.from_iterable(
        ((case, False), (case, True)) for case in subject.ladder((Layout((2, 2), 2), Layout((1, 3), 3), PADDED[-1]))
    ):
        batch = subject.batch(case)
        mode = " in training" if training else ""
        wanted = subject.output(subject.operator(case, training=training), batch)
        for index in _selections(len(case.lengths), subject.device):
            out = subject.output(subject.operator(case, training=training), batch.rows(index))
            row, slot = largest_place(out - wanted[index])
            words = "alone" if len(index) == 1 else "in another order"
            text = f"{case.output(int(index[row]), slot)} moves by {{}} when computed {words}{mode}"
            moved = max(moved, subject.agree(out, wanted[index], case, text))
    return f"moves by {moved:.2g}"


def _selections(rows: int, device: torch.device) -> Iterator[Tensor]:
    for row in range(rows):
        yield torch.tensor([row], device=device)
    yield torch.arange(rows - 1, -1, -1, device=device)


@check("history", "outputs do not use the items before them: is the attention's result returned, and not its input?")
def history(subject: Subject) -> str:
    smallest = float("inf")
    for case in subject.ladder((Layout((2,), 2), Layout((2,), 3), Layout((3,), 3), Layout((5, 5), 5))):
        batch, operator = subject.batch(case), subject.operator(case)
        earlier = torch.arange(case.width, device=subject.device)[:, None] < case.width - 1
        changed = batch.where(earlier & batch.real, subject.batch(case, seed=1))
        subject.require_same_twice()
        moved = (subject.output(operator, changed) - subject.output(operator, batch))[:, :, -1].abs().amax()
        if float(moved) <= subject.tolerance(case):
            raise Fault(f"output {case.lengths[0]} stays when every item before it changes")
        smallest = min(smallest, float(moved))
    return f"moves by {smallest:.2g} or more"
