"""What the outputs must be made of: the items of the history, and their values."""

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


@check("history", "outputs do not use the items before them: is the attention's result returned, and not its input?")
def history(subject: Subject) -> str:
    smallest = float("inf")
    for case in subject.ladder((Layout((2,), 2), Layout((2,), 3), Layout((3,), 3), Layout((5, 5), 5))):
        batch, component = subject.batch(case), subject.build(case)
        earlier = torch.arange(case.width, device=subject.device) < case.width - 1
        changed = batch.where(earlier & batch.slots, subject.batch(case, seed=1))
        subject.require_same_twice()
        moved = (subject.output(component, changed) - subject.output(component, batch))[:, :, -1].abs().amax()
        if float(moved) <= subject.tolerance(case):
            raise Fault(f"output {case.lengths[0]} stays when every item before it changes")
        smallest = min(smallest, float(moved))
    return f"moves by {smallest:.2g} or more"


@check("values", "the output mixes the values: v is what the weights multiply, and not q or k")
def values(subject: Subject) -> str:
    smallest = float("inf")
    for case in subject.ladder((Layout((2,), 2), Layout((2,), 3), Layout((1, 3), 4))):
        batch, component = subject.batch(case), subject.build(case)
        subject.require_same_twice()
        moved = _changes(subject, component, batch, subject.batch(case, seed=1), "v")
        if moved <= subject.tolerance(case):
            text = "v is not used: outputs stay when all values change"
            raise Fault(text + _in_place_of_values(subject, case, component))
        smallest = min(smallest, moved)
    return f"moves by {smallest:.2g} or more"


def _in_place_of_values(subject: Subject, case: Case, component: Component) -> str:
    """Which of q and k is mixed in the place of v, in words to go on with; nothing where none is.

    A lone item's output is its value times a weight: only what stands for the value can turn its direction.
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
    return f"; {' and '.join(turning)} {'is' if len(turning) == 1 else 'are'} used in its place"


def _changes(
    subject: Subject, component: Component, batch: Batch, other: Batch, name: str, *, directions: bool = False
) -> float:
    """By how much outputs, or their directions, move when the input ``name`` is that of another batch."""
    changed = batch.with_floats(**{name: other.floats[name]})
    now, then = subject.output(component, changed), subject.output(component, batch)
    if directions:
        now, then = F.normalize(now, dim=-1), F.normalize(then, dim=-1)
    return subject.difference(now, then)
