"""The checks that only models have: shapes, use of the history, the padding row, attention weights, auxiliary loss."""

from __future__ import annotations

import torch
from torch import Tensor

from attnrec.contract.batches import NUM_ITEMS
from attnrec.contract.cases import MAX_LEN, PADDED, UNPADDED, Layout
from attnrec.contract.checking import check
from attnrec.contract.comparing import largest
from attnrec.contract.faults import Fault, NotRun
from attnrec.contract.mixers import require_nothing_outside
from attnrec.contract.models import ModelSubject, vectors_of
from attnrec.contract.subject import Subject
from attnrec.models.base import SequentialModel


@check(
    "shape",
    "forward must return [N, e]; item_vectors must be [num_items + 1, e] (row 0 is padding), item_bias [num_items + 1] "
    "or None",
)
def shape(subject: Subject) -> str:
    words = ""
    for case in subject.ladder((Layout((1,), 1), Layout((2,), 2), Layout((1, 3), 3), Layout((MAX_LEN,), MAX_LEN))):
        model = subject.build(case)
        subject.run(model, subject.batch(case))
        assert isinstance(model, SequentialModel)
        vectors, bias = vectors_of(model)
        words = f"states and item vectors of width {vectors.shape[1]}" + ("" if bias is None else ", with a bias")
    return words


@check("history", "states must depend on earlier items: does forward return the mixed result, and not the embedding?")
def history(subject: Subject) -> str:
    """Models that use only the last item, or only popularity, are allowed; the check is then not run and says so."""
    smallest = float("inf")
    for case in subject.ladder((Layout((2,), 2), Layout((3,), 3), Layout((5, 5), 5))):
        batch, model = subject.batch(case), subject.build(case)
        subject.require_same_twice()
        slots = torch.arange(case.width, device=subject.device)
        moved = []
        for earlier in (slots < case.width - 1, slots < case.width):
            changed = batch.where(earlier & batch.slots, subject.batch(case, seed=1))
            moved.append(float((subject.output(model, changed) - subject.output(model, batch))[:, :, -1].abs().amax()))
        if moved[1] <= subject.tolerance(case):
            raise NotRun("scores depend on no item of the history")
        if moved[0] <= subject.tolerance(case):
            raise NotRun("scores depend only on the last item")
        smallest = min(smallest, moved[0])
    return f"moves by {smallest:.2g} or more"


@check("padding row", "row 0 of an item table is padding: create the table with item_table, and never look up item 0")
def padding_row(subject: Subject) -> str:
    """Checks every trained tensor with a row for each item and one more."""
    tables = 0
    for case in subject.ladder((Layout((2,), 2), PADDED[-1])):
        batch, model = subject.batch(case), subject.build(case)
        wanted, gradients = subject.gradients(model, batch, subject.cotangent(batch))
        trained = ((name, p) for name, p in model.named_parameters() if p.requires_grad)
        found = {name: p for name, p in trained if p.ndim and len(p) == NUM_ITEMS + 1}
        for name, table in found.items():
            size = largest([gradients[name][0]])
            scale = max(largest(gradients.values()), torch.finfo(subject.dtype).tiny)
            subject.nothing(size / scale, case, f"row 0 of {name} gets a gradient ({size:.2g})")
            with torch.no_grad():
                table[0] += 1.0
            subject.same(subject.output(model, batch), wanted, case, f"scores move by {{}} with row 0 of {name}")
        tables = len(found)
    return f"of {tables} table{'' if tables == 1 else 's'}: never used" if tables else "no item table"


@check(
    "attention weights",
    "attention_weights must return a dict for each block, with matrices [B, H, T, T]: T is the longest history, "
    "histories are at the right end, 0 on later items and padding",
)
def attention_weights(subject: Subject) -> str:
    assert isinstance(subject, ModelSubject)
    count = 0
    for case in subject.ladder(UNPADDED + PADDED):
        batch = subject.batch(case)
        found = subject.matrices(subject.build(case), batch)
        for name, matrix in found.items():
            require_nothing_outside(subject, case, name, matrix, batch)
        count = len(found)
    return f"{count} {'matrix' if count == 1 else 'matrices'}: 0 outside the mask"


@check("auxiliary loss", "auxiliary_loss must return a finite tensor without axes, or None; it may use batch.targets")
def auxiliary_loss(subject: Subject) -> str:
    seen: list[Tensor] = []
    for case in subject.ladder((Layout((1,), 1), UNPADDED[0], PADDED[-1])):
        for training in (True, False):
            model = subject.build(case, training=training)
            loss = subject.own_loss(model, subject.batch(case))
            if loss is None:
                continue
            if loss.requires_grad:
                loss.backward()
            for name, parameter in model.named_parameters():
                if parameter.grad is not None and not parameter.grad.isfinite().all():
                    raise Fault(f"its gradient w.r.t. {name} is not finite")
            seen.append(loss.detach())
    return f"finite, up to {largest(seen):.2g}" if seen else "none"
