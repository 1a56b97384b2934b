"""Checks that outputs depend on the history and on the values."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F

from attnrec.attention import Component
from attnrec.contract.batches import Batch
from attnrec.contract.cases import Case, Layout
from attnrec.contract.checking import check
from attnrec.contract.faults import Fault
from attnrec.contract.subject import Subject


@check("history", "outputs do not use earlier items: does forward return the attention's result, and not its input?")
def history(subject: Subject) -> str:
    smallest = float("inf")
    for case in subject.ladder((Layout((2,), 2), Layout((2,), 3), Layout((3,), 3), Layout((5, 5), 5))):
        batch, component = subject.batch(case), subject.build(case)
        earlier = torch.arange(case.width, device=subject.device) < case.width - 1
        changed = batch.where(earlier & batch.slots, subject.batch(case, seed=1))
        subject.require_same_twice()
        moved = (subject.output(component, changed) - subject.output(component, batch))[:, :, -1].abs().amax()
        if float(moved) <= subject.tolerance(case):
            raise Fault(f"output {case.lengths[0]} stays the same when every item before it changes")
        smallest = min(smallest, float(moved))
    return f"moves by {smallest:.2g} or more"


@check("values", "the weights must multiply v, not q or k")
def values(subject: Subject) -> str:
    smallest = float("inf")
    for case in subject.ladder((Layout((2,), 2), Layout((2,), 3), Layout((1, 3), 4))):
        batch, component = subject.batch(case), subject.build(case)
        subject.require_same_twice()
        moved = _changes(subject, component, batch, subject.batch(case, seed=1), "v")
        if moved <= subject.tolerance(case):
            text = "v is not used: outputs stay the same when all values change"
            raise Fault(text + _in_place_of_values(subject, case, component))
        smallest = min(smallest, moved)
    return f"moves by {smallest:.2g} or more"


def _in_place_of_values(subject: Subject, case: Case, component: Component) -> str:
    """Says whether q or k is mixed instead of v, to continue a message; empty if neither is.

    The output of a single item is its value times a weight, so only the input used as the value can turn its direction.
    """
    alone = replace(case, lengths=(1,), width=1)
    batch, other = subject.batch(alone), subject.batch(alone, seed=1)
    turning = [
        name
        for name in ("q", "k")
        if _changes(subject, component, batch, other, name, directions=True) > subject.tolerance(alone)
    ]
    if not turning:
        return ""
    return f"; {' and '.join(turning)} {'is' if len(turning) == 1 else 'are'} used instead"


def _changes(
    subject: Subject, component: Component, batch: Batch, other: Batch, name: str, *, directions: bool = False
) -> float:
    """How much outputs, or their directions, move when the input ``name`` is taken from another batch."""
    changed = batch.with_floats(**{name: other.floats[name]})
    now, then = subject.output(component, changed), subject.output(component, batch)
    if directions:
        now, then = F.normalize(now, dim=-1), F.normalize(then, dim=-1)
    return subject.difference(now, then)
