"""Checks that outputs do not depend on the future, padding, trimming or other sequences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain

import torch
from torch import Tensor

from attnrec.attention import Component
from attnrec.contract.batches import INPUTS, Batch
from attnrec.contract.cases import EMPTY, MAX_LEN, PADDED, UNPADDED, Case, Layout
from attnrec.contract.checking import check
from attnrec.contract.comparing import largest, largest_place, pull_back, require_finite
from attnrec.contract.faults import Fault
from attnrec.contract.operators import OperatorSubject
from attnrec.contract.subject import Subject

_DROPOUT = 0.5


@check("shape", "return [B, H, T, Dv], the shape of v; takes_any_value_width declares that Dv may differ from D")
def shape(subject: Subject) -> str:
    assert isinstance(subject, OperatorSubject)
    for case in subject.ladder((Layout((1,), 1), Layout((2,), 2), Layout((1, 3), 4), Layout((MAX_LEN,), MAX_LEN))):
        for value_dim in (0, case.dim + 1, 1) if subject.takes_any_value_width else (0,):
            subject.case = tried = replace(case, value_dim=value_dim)
            subject.run(subject.build(tried), subject.batch(tried))
    return "of the values, for any width" if subject.takes_any_value_width else "of the values, as wide as q"


@check("finite", "softmax of a row with nothing but -inf is NaN: use masked_softmax or a finite sentinel")
def finite(subject: Subject) -> str:
    cases = 0
    for case in subject.ladder((*EMPTY[:2], Layout((1,), 1), Layout((1,), 3), EMPTY[2])):
        plain = subject.batch(case)
        for batch, words in ((plain, ""), (subject.large(plain), " with large scores")):
            if batch is None:
                continue
            for training in (False, True):
                component = subject.build(case, dropout=_DROPOUT if training else 0.0, training=training)
                _all_finite(subject, component, batch, words)
                cases += 1
    return f"{cases} cases"


def _all_finite(subject: Subject, component: Component, batch: Batch, words: str) -> None:
    leaves, out = subject.with_gradients(component, batch)
    if not out.isfinite().all():
        row, slot = largest_place(~out.isfinite())
        empty = slot < batch.ctx.width - int(batch.ctx.lengths[row])
        raise Fault(f"the output of {'an empty slot' if empty else 'an item'} is not finite{words}")
    if component.training and subject.option == "attention":  # a model has its own check of the loss
        subject.own_loss(component, batch)
    if not out.requires_grad:
        return
    named = leaves | {name: parameter for name, parameter in component.named_parameters() if parameter.requires_grad}
    draws = torch.ones_like(out)  # on padding too: a constant has a gradient of zero, not NaN
    found = torch.autograd.grad(out, list(named.values()), draws, allow_unused=True, materialize_grads=True)
    for name, gradient in zip(named, found, strict=True):
        if not gradient.isfinite().all():
            raise Fault(f"the gradient w.r.t. {name} is not finite{words}")


@check(
    "no future leak",
    "an item may only see itself and earlier items: mask keys with ctx.mask(), take no mean, sum or transform over a "
    "whole history, and do not use targets",
)
def no_future_leak(subject: Subject) -> str:
    moved, gradients = 0.0, []
    for case in subject.ladder(UNPADDED + PADDED, long=True):
        batch = subject.batch(case)
        slots = range(case.width) if case.width < 10 else (2, 3, 33, 34, 65, 66, case.width - 2)
        for training in (False, True):
            component = subject.build(case, dropout=_DROPOUT if training else 0.0, training=training)
            gradients += _gradients_by_later(subject, case, component, batch, slots)
            if training and (batch.floats or not _repeats(subject, component, batch)):
                continue  # the gradients have shown it, or outputs differ at random anyway
            moved = max(moved, _moves_by_later(subject, case, component, batch, slots))
    return f"gradients {f'{max(gradients):.2g}' if gradients else 'none'}, moves by {moved:.2g}"


def _repeats(subject: Subject, component: Component, batch: Batch) -> bool:
    """Whether the same seed gives the same output."""
    first, second = (_drawn_output(subject, component, batch) for _ in range(2))
    return first.equal(second)


def _drawn_output(subject: Subject, component: Component, batch: Batch) -> Tensor:
    torch.manual_seed(0)
    return subject.output(component, batch)


def _moves_by_later(
    subject: Subject, case: Case, component: Component, batch: Batch, slots: range | tuple[int, ...]
) -> float:
    """How much outputs move when all later items, their times and targets change; a Fault if they do."""
    moved = 0.0
    before = _drawn_output(subject, component, batch)
    for slot in slots:
        after = _drawn_output(subject, component, _other_later_items(subject, case, batch, slot))
        kept = batch.real[:, :, : slot + 1]
        now, then = (x[:, :, : slot + 1] * kept for x in (after, before))
        row, place = largest_place(now - then)
        what = "later items" if batch.targets is None else "later items and the targets"
        words = f"{case.output(row, place)} moves by {{}} when {what} change{' in training' * component.training}"
        moved = max(moved, subject.same(now, then, case, words))
    return moved


def _gradients_by_later(
    subject: Subject, case: Case, component: Component, batch: Batch, slots: range | tuple[int, ...]
) -> list[float]:
    """The largest gradient of each output w.r.t. later items, relative to that of all outputs w.r.t. all items.

    Empty if there are no gradients; a Fault if one is more than rounding.
    """
    if not batch.floats:
        return []
    leaves, out = subject.with_gradients(component, batch)
    require_finite(out)
    cotangent = subject.cotangent(batch)
    by = tuple(leaves.values())
    scale = largest(pull_back(out, cotangent, by, keep=True))
    if scale == 0:
        return []
    found = []
    for slot in slots:
        at_slot = torch.zeros_like(cotangent)
        at_slot[:, :, slot] = cotangent[:, :, slot]
        for name, gradient in zip(leaves, pull_back(out, at_slot, by, keep=True), strict=True):
            later = gradient[:, :, slot + 1 :]
            if not later.any():
                continue
            row, place = largest_place(later)
            item, size = case.item(row, slot + 1 + place), largest([later])
            text = f"{case.output(row, slot)} changes with item {item} (gradient {size:.2g} w.r.t. its {name})"
            found.append(subject.nothing(size / scale, case, text))
    return found or [0.0]


def _other_later_items(subject: Subject, case: Case, batch: Batch, slot: int) -> Batch:
    later = (torch.arange(case.width, device=subject.device) > slot) & batch.slots
    other = subject.batch(case, seed=1)
    changed = replace(batch.where(later, other), targets=other.targets)
    times = batch.ctx.timestamps
    if times is None:
        return changed
    return replace(changed, ctx=replace(changed.ctx, timestamps=times + 86400.0 * later))


@check("padding", "mask keys at padding with ctx.mask() or ctx.lengths, and leave padding out of every mean or sum")
def padding(subject: Subject) -> str:
    moved = 0.0
    for case in subject.ladder(PADDED, long=True):
        component, plain = subject.build(case), subject.batch(case)
        cotangent = subject.cotangent(plain)
        wanted, gradients = subject.gradients(component, plain, cotangent)
        for scale, words in ((1.0, "other"), (1e4, "huge")):
            filled = plain.where(~plain.slots, subject.batch(case, seed=1, filled=True).scaled(scale))
            out, found = subject.gradients(component, filled, cotangent)
            now, then = out * plain.real, wanted * plain.real
            row, slot = largest_place(now - then)
            text = f"{case.output(row, slot)} moves by {{}} when padding holds {words} values"
            moved = max(moved, subject.agree(now, then, case, text))
            if words == "other":  # huge values that cancel leave the rounding of products of 10^8
                subject.same(now, then, case, text)
            largest_of_inputs = largest(found[name] for name in plain.floats)
            for name, gradient in found.items():
                if name in plain.floats and name != INPUTS and (size := largest([gradient * ~plain.real])) > 0:
                    text = f"outputs have a gradient w.r.t. the {name} of padding ({size:.2g})"
                    subject.nothing(size / largest_of_inputs, case, text)
                text = f"the gradient w.r.t. {name} moves by {{}} when padding holds {words} values"
                moved = max(moved, subject.agree(gradient, gradients[name], case, text))
    return f"moves by {moved:.2g}"


@check("zeros at padding", "end with .masked_fill(~ctx.real()[:, None, :, None], 0.0)")
def zeros_at_padding(subject: Subject) -> str:
    worst = 0.0
    for case in subject.ladder(PADDED + EMPTY, long=True):
        for filled in (False, True):
            batch = subject.batch(case, filled=filled)
            out = subject.output(subject.build(case), batch)
            found = largest([out * ~batch.real]) / max(1.0, largest([out]))
            worst = max(worst, subject.nothing(found, case, "an empty slot has the output {}"))
    return f"up to {worst:.2g}" if worst else "exactly 0"


@check(
    "trimming",
    "mask the keys of padding (ctx.mask()); slots count from the right: slice a table as table[ctx.offset : ctx.offset "
    "+ ctx.width], and let nothing depend on T",
)
def trimming(subject: Subject) -> str:
    moved = 0.0
    for case in subject.ladder((Layout((1,), MAX_LEN), Layout((2,), MAX_LEN), Layout((1, 3, 5), MAX_LEN))):
        component, whole = subject.build(case), subject.batch(case)
        shortest = max(case.lengths)
        subject.case = replace(case, width=shortest)
        wanted = subject.output(component, whole.trimmed(shortest))
        for width in range(shortest + 1, MAX_LEN + 1):
            out = subject.output(component, whole.trimmed(width))[:, :, -shortest:]
            real = whole.trimmed(shortest).real
            row, slot = largest_place((out - wanted) * real)
            text = f"{subject.case.output(row, slot)} moves by {{}} with {width - shortest} more padding before it"
            moved = max(moved, subject.agree(out * real, wanted * real, subject.case, text))
    return f"moves by {moved:.2g}"


@check("zero items", "find the real slots with ctx.lengths or ctx.real(), never by the values of q, k or v")
def zero_items(subject: Subject) -> str:
    """A mask made from values drops an item of zeros: outputs jump there, and the item has no effect at all.

    One of the two is no fault: an operator that normalises its inputs jumps at zero, and one that weighs by
    products ignores a key of zeros.
    """
    for case in subject.ladder((Layout((2,), 2), Layout((3,), 3), Layout((2, 4), 5))):
        batch, component = subject.batch(case), subject.build(case)
        slot = case.width - 2
        at_slot = torch.arange(case.width, device=subject.device) == slot
        for names in ("q", "k", "v", "qkv"):
            zero, tiny = (_replaced(batch, at_slot, names, factor) for factor in (0.0, 1e-5))
            jump = subject.difference(subject.output(component, zero), subject.output(component, tiny))
            if jump > 1e-3 and not _has_effect(subject, case, component, zero, names, at_slot[:, None]):
                what = "nothing but zeros" if names == "qkv" else f"{names} = 0"
                raise Fault(f"item {case.item(0, slot)} counts as padding when it has {what} (a jump by {jump:.2g})")
    return "count like any other"


def _has_effect(subject: Subject, case: Case, component: Component, zero: Batch, names: str, at_slot: Tensor) -> bool:
    """Whether an item with zeros has an effect: as a query, or as a key for itself and later items."""
    cotangent = subject.cotangent(zero)
    cotangent = cotangent * (at_slot if names == "q" else at_slot.cumsum(0))
    leaves, out = subject.with_gradients(component, zero)
    found = dict(zip(leaves, pull_back(require_finite(out), cotangent, tuple(leaves.values())), strict=True))
    effect = found["v"] if names == "q" else found["k" if names == "v" else "v"] * at_slot
    return largest([effect]) > subject.rounding(case) * max(1.0, largest(found.values()))


def _replaced(batch: Batch, where: Tensor, names: str, factor: float) -> Batch:
    scaled = batch.where(where[None], batch.scaled(factor))
    return batch.with_floats(**{name: scaled.floats[name] for name in names})


@check("batch independence", "take no mean, norm or maximum over the batch: each sequence is computed on its own")
def batch_independence(subject: Subject) -> str:
    moved = 0.0
    for case, training in chain.from_iterable(
        ((case, False), (case, True)) for case in subject.ladder((Layout((2, 2), 2), Layout((1, 3), 3), PADDED[-1]))
    ):
        batch = subject.batch(case)
        mode = " in training" if training else ""
        wanted = subject.output(subject.build(case, training=training), batch)
        for index in _selections(len(case.lengths), subject.device):
            out = subject.output(subject.build(case, training=training), batch.rows(index))
            row, slot = largest_place(out - wanted[index])
            words = "alone" if len(index) == 1 else "in another order"
            text = f"{case.output(int(index[row]), slot)} moves by {{}} when computed {words}{mode}"
            moved = max(moved, subject.agree(out, wanted[index], case, text))
    return f"moves by {moved:.2g}"


def _selections(rows: int, device: torch.device) -> Iterator[Tensor]:
    for row in range(rows):
        yield torch.tensor([row], device=device)
    yield torch.arange(rows - 1, -1, -1, device=device)
