"""A mixer under test, and the checks that only mixers have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from attnrec.attention import Component
from attnrec.contract.batches import FEATURES, Batch
from attnrec.contract.cases import MAX_LEN, PADDED, UNPADDED, Case, Layout, without_padding
from attnrec.contract.checking import check
from attnrec.contract.comparing import largest, require_finite, require_shape
from attnrec.contract.faults import Fault, NotRun
from attnrec.contract.subject import Place, Subject, as_is
from attnrec.core.spec import Spec
from attnrec.mixers import Mixer, MixerShape, build_mixer

_DROPOUT = 0.5


class MixerSubject(Subject):
    """Rows x and source [N, d] to rows [N, d]; they are compared in the rectangle they were packed from.

    Every other case follows the layer order of SASRec's authors: ``source`` differs from ``x``, no output projection.
    """

    noun = "mixer"
    narrow = (1, 4)  # a LayerNorm of two values leaves only signs
    arguments = ("x", "source", "packing")

    def example(self, case: Case) -> Component:
        if isinstance(self.factory.source, Spec):
            return build_mixer(self.factory.source, self._shape(case, 0.0))
        return self.made(case, 0.0, None)

    def made(self, case: Case, dropout: float, impl: str | None) -> Mixer:
        built: Mixer = self.factory(self._shape(case, dropout), impl=impl)
        return built

    def _shape(self, case: Case, dropout: float) -> MixerShape:
        return MixerShape(
            case.heads * case.dim,
            case.heads,
            case.max_len,
            dropout,
            project_output=not case.apart,
            features=FEATURES.sizes,
        )

    def layouts(self, layouts: Sequence[Layout]) -> Sequence[Layout]:
        return without_padding(layouts)

    def _case(self, layout: Layout, heads: int, dim: int, *, number: int = 0, step: int = 0, **sizes: int) -> Case:
        case = super()._case(layout, heads, dim, number=number, step=step, **sizes)
        return replace(case, packed=True, apart=(number + step) % 2 == 1)

    def floats(self, case: Case) -> dict[str, tuple[int, int]]:
        names = ("x", "source") if case.apart else ("x",)
        return dict.fromkeys(names, (1, case.heads * case.dim))

    def given(self, batch: Batch, place: Place = as_is, groups: int = 1) -> tuple[Any, ...]:
        x = place(batch.packed(batch.floats["x"][:, 0]))
        source = place(batch.packed(batch.floats["source"][:, 0])) if "source" in batch.floats else x
        return x, source, batch.packing(batch.ctx.offset + batch.ctx.width, groups)

    def out_shape(self, batch: Batch) -> tuple[int, ...]:
        return tuple(batch.floats["x"].shape)

    def result(self, component: Component, out: Any, batch: Batch) -> Tensor:
        return batch.padded(require_shape(out, (int(batch.counts.sum()), batch.floats["x"].shape[-1])))

    def large(self, batch: Batch) -> Batch:
        return batch.scaled(100)  # both queries and keys are made from it

    def must_drop(self, component: Component) -> bool:
        return bool(component.has_weights)

    def matrices(self, component: Component, batch: Batch) -> dict[str, Tensor]:
        """The mixer's weights on a batch; a Fault if they are not [B, H, T, T] or there are none."""
        assert isinstance(component, Mixer)
        try:
            with torch.no_grad():
                found = component.named_weights(*self.given(batch.mapped(torch.clone)))
        except NotImplementedError as error:
            raise Fault(str(error), "define named_weights(x, source, packing), or set has_weights = False") from error
        if not found:
            raise Fault("named_weights returns nothing", "return a matrix, or set has_weights = False")
        return require_matrices(found, batch)


def require_matrices(found: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
    """Weights by name; a Fault if one is not [B, H, T, T], or not finite."""
    count, width = len(batch.counts), batch.ctx.width
    for name, matrix in found.items():
        shape = list(matrix.shape) if isinstance(matrix, Tensor) else type(matrix).__name__
        if not isinstance(shape, list) or len(shape) != 4 or shape != [count, shape[1], width, width]:
            raise Fault(f"{name} is {shape}, not [{count}, H, {width}, {width}]")
        require_finite(matrix, f"the matrix {name!r}")
    return found


@check("shape", "forward must return [N, d], a row for each row of x")
def shape(subject: Subject) -> str:
    for case in subject.ladder((Layout((1,), 1), Layout((2,), 2), Layout((1, 3), 3), Layout((MAX_LEN,), MAX_LEN))):
        subject.run(subject.build(case), subject.batch(case))
    return "of its input"


@check(
    "other lengths",
    "compute a history from its own items and slots: slots count from max_len, not from the width of its group",
)
def other_lengths(subject: Subject) -> str:
    """Histories next to a longer one, of each possible length, which sets the width that all are padded to."""
    moved = 0.0
    for case in subject.ladder((Layout((1,), 1), Layout((2,), 2), Layout((1, 3, 5), 5))):
        count, shortest = len(case.lengths), case.width
        component = subject.build(case)
        whole = subject.batch(replace(case, lengths=(*case.lengths, case.max_len), width=case.max_len))
        few = torch.arange(count, device=subject.device)
        wanted = subject.output(component, whole.rows(few).trimmed(shortest))
        for width in range(shortest, case.max_len + 1):
            out = subject.output(component, whole.trimmed(width))[:count, :, -shortest:]
            text = f"outputs move by {{}} next to a history of {width} item{'' if width == 1 else 's'}"
            moved = max(moved, subject.agree(out, wanted, case, text))
    return f"moves by {moved:.2g}"


@check("groups", "the trunk cuts a batch into up to four groups of similar length: loop over packing.groups")
def groups(subject: Subject) -> str:
    assert isinstance(subject, MixerSubject)
    moved = 0.0
    for case in subject.ladder((Layout((2, 2), 2), Layout((1, 3), 3), Layout((1, 2, 2, 5, 7), 7))):
        batch, component = subject.batch(case), subject.build(case)
        wanted = subject.output(component, batch)
        for count in (2, 4):
            with torch.no_grad():
                out = component(*subject.given(batch.mapped(torch.clone), groups=count))
            found = require_finite(subject.result(component, out, batch))
            moved = max(moved, subject.agree(found, wanted, case, f"in {count} groups outputs move by {{}}"))
    return f"moves by {moved:.2g}"


@check("weights", "named_weights must be [B, H, T, T], 0 on later items and padding, never with dropout")
def weights(subject: Subject) -> str:
    assert isinstance(subject, MixerSubject)
    if not subject.components[0].has_weights:
        raise NotRun("the mixer declares has_weights = False")
    names: set[str] = set()
    for case in subject.ladder(UNPADDED + PADDED):
        batch = subject.batch(case)
        found = subject.matrices(subject.build(case), batch)
        trained = subject.matrices(subject.build(case, dropout=_DROPOUT, training=True), batch)
        for name, matrix in found.items():
            require_nothing_outside(subject, case, name, matrix, batch)
            subject.agree(trained[name], matrix, case, f"in training with dropout {name} differs by {{}}")
        names |= {*found}
    return f"{', '.join(sorted(names))}: 0 outside the mask"


def require_nothing_outside(subject: Subject, case: Case, name: str, matrix: Tensor, batch: Batch) -> None:
    outside = largest([matrix * ~batch.ctx.mask()]) / max(1.0, largest([matrix]))
    subject.nothing(outside, case, f"{name} has {{}} on a later item or on padding")
