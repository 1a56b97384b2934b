"""What is under test, whatever its kind: how it is built anew for each case, and how it is run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from attnrec.attention import Component
from attnrec.contract.batches import Batch, make_batch
from attnrec.contract.cases import LONG, MAX_LEN, Case, Layout
from attnrec.contract.comparing import Judge, pull_back, require_finite, require_scalar
from attnrec.contract.factory import Factory, is_refusal
from attnrec.contract.faults import Unusable, place

Place = Callable[[Tensor], Tensor]
"""Puts a tensor elsewhere in memory, or leaves it."""


def as_is(x: Tensor) -> Tensor:
    return x


def padding_rows(component: nn.Module) -> dict[str, int]:
    """Rows of embeddings that are never trained, by the names of their tables; torch gives them no gradient."""
    tables = ((name, part) for name, part in component.named_modules() if isinstance(part, nn.Embedding))
    return {f"{name}.weight": part.padding_idx for name, part in tables if part.padding_idx is not None}


class Subject(Judge, ABC):
    """A component that checks build anew for each case.

    Attributes:
        case: the last case tried, so that an exception can be reported with it.
        broken: `place` of what a plain call raises, where nothing can be computed; None for all others.
        told: whether a result has said so.
        backend: of torch.compile, or None for the best there is.
        shapes: heads and width of a head, the smaller cases' first.
    """

    noun: ClassVar[str]
    option: ClassVar[str] = "attention"
    """The option of the command line that asks for such a component."""
    narrow: ClassVar[tuple[int, int]] = (1, 2)
    """Heads of the smaller cases, and their width."""
    entries: ClassVar[int] = 40
    """Of a tensor, that are tried against difference quotients."""
    arguments: ClassVar[tuple[str, ...]]
    """What `given` gives, in words."""

    def __init__(
        self, factory: Factory, heads: int, head_dim: int, device: torch.device, backend: str | None = None
    ) -> None:
        super().__init__()
        self.factory, self.heads, self.head_dim, self.device, self.backend = factory, heads, head_dim, device, backend
        self.case: Case | None = None
        self.told = False
        example = self.example(self._case(Layout((2,), 2), heads, head_dim))
        self.components = [part for part in example.modules() if isinstance(part, Component)]
        for part in self.components:
            part.check_device(device)
        self.packages = factory.packages(example)
        self.needs_timestamps = self.needs("timestamps")
        self.shapes = [shape for shape in (self.narrow, (heads, head_dim)) if self.takes(*shape)]
        self.broken = self._broken()
        self.dtype = self.kept_dtype(None)
        if self.dtype != torch.float64:
            in_double, self.broken = self.broken, self._broken()
            if self.broken is not None and self.broken == in_double:
                self.dtype = torch.float64  # which has nothing to do with it
        self.case = None

    # -- what kinds differ in --------------------------------------------------------------------------

    @abstractmethod
    def made(self, case: Case, dropout: float, impl: str | None) -> Component:
        """A new component for the case; whatever its constructor raises comes through as it is."""

    @abstractmethod
    def example(self, case: Case) -> Component:
        """The component that was asked for; InputError, in a line, where a specification cannot be built."""

    @abstractmethod
    def floats(self, case: Case) -> dict[str, tuple[int, int]]:
        """Heads and width of each float that a batch has."""

    @abstractmethod
    def given(self, batch: Batch, place: Place = as_is) -> tuple[Any, ...]:
        """The arguments of a call, its floats put where ``place`` has them."""

    @abstractmethod
    def result(self, component: Component, out: Any, batch: Batch) -> Tensor:
        """What is compared, [B, H, T, D], of what a call gave; Unusable where that has another shape."""

    @abstractmethod
    def out_shape(self, batch: Batch) -> tuple[int, ...]:
        """The shape of `result`."""

    @abstractmethod
    def must_drop(self, component: Component) -> bool:
        """Whether dropout has something to drop."""

    def large(self, batch: Batch) -> Batch | None:
        """The batch with scores in the hundreds to thousands; None where a batch does not decide over them."""
        return None

    def layouts(self, layouts: Sequence[Layout]) -> Sequence[Layout]:
        return layouts

    def needs(self, what: str) -> bool:
        """Whether the component, or one inside it, declares that it needs this."""
        return any(getattr(part, f"needs_{what}", False) for part in self.components)

    def told_of(self) -> set[str]:
        """What a batch holds beside floats and lengths."""
        return {what for what in ("items", "features") if self.needs(what)}

    def ways(self, component: Component, case: Case, batch: Batch) -> dict[str, Callable[[], Tensor]]:
        """The calls that lead to the output, so that none forgets dropout."""
        return {"forward": lambda: self.output(component, batch)}

    def another(self, case: Case) -> Component:
        """One of another seed, as it is before it is given a state."""
        return self.build(case, seed=1)

    def own_loss(self, component: Component, batch: Batch) -> Tensor | None:
        """What is added to the training loss, after a pass over the batch."""
        self.run(component, batch)
        parts = [part for part in component.modules() if isinstance(part, Component)]
        losses = [loss for part in parts if (loss := part.own_loss()) is not None]
        for loss in losses:
            require_scalar(loss, "own_loss")
        return torch.stack(losses).sum() if losses else None

    # -- what may be asked -----------------------------------------------------------------------------

    def takes(self, heads: int, dim: int, impl: str | None = None) -> bool:
        """False where the component refuses this many heads of this width, or an ``impl``; a bug refuses nothing."""
        try:
            self.made(self._case(Layout((2,), 2), heads, dim), 0.0, impl).check_device(self.device)
        except Exception as error:  # noqa: BLE001  (a bug comes up again in the checks, with its case)
            return not self.is_refusal(error)
        return True

    def is_refusal(self, error: Exception) -> bool:
        """Whether the component says no by this error (`factory.is_refusal`)."""
        return is_refusal(error, self.packages)

    def kept_dtype(self, impl: str | None) -> torch.dtype:
        """float64 if the component computes in it, else float32."""
        case = next(self.ladder((Layout((2,), 2),)))
        batch = self.batch(case, dtype=torch.float64)
        try:
            with torch.no_grad():
                out = self.run(self.build(case, impl=impl), batch)
        except Unusable:
            return torch.float64  # which the check of shapes tells of
        except Exception:  # noqa: BLE001  (the check of precisions says what it was)
            return torch.float32
        return torch.float64 if out.dtype == torch.float64 else torch.float32

    def _broken(self) -> tuple[str, str, int] | None:
        """`place` of what a plain call raises in the precision of the checks."""
        for case in self.ladder((Layout((2,), 2),)):
            try:
                with torch.no_grad():
                    self.run(self.build(case), self.batch(case))
            except Unusable:
                return None
            except Exception as error:  # noqa: BLE001  (the first check says what it was)
                return place(error)
        return None

    # -- cases -----------------------------------------------------------------------------------------

    def ladder(self, layouts: Sequence[Layout], *, long: bool = False) -> Iterator[Case]:
        """The layouts in order, with one narrow head first, then as many and as wide as asked for."""
        for step, (heads, dim) in enumerate(self.shapes):
            for number, layout in enumerate(self.layouts(layouts)):
                yield self._tried(self._case(layout, heads, dim, number=number, step=step))
        if long:
            (layout,) = self.layouts((LONG,))
            yield self._tried(self._case(layout, *self.shapes[-1], max_len=80))

    def _case(
        self, layout: Layout, heads: int, dim: int, *, number: int = 0, step: int = 0, max_len: int = MAX_LEN
    ) -> Case:
        """A case; every other one of a ladder has timestamps."""
        timestamps = getattr(self, "needs_timestamps", False) or number % 2 == 1
        return Case(*layout, heads, dim, max_len=max_len, timestamps=timestamps)

    def _tried(self, case: Case) -> Case:
        self.case = case
        return case

    def full(self, *layouts: Layout) -> Iterator[Case]:
        """The layouts with as many heads and as wide as asked for."""
        for case in self.ladder(layouts):
            if (case.heads, case.dim) == self.shapes[-1]:
                yield case

    def single(self, length: int, heads: int, dim: int) -> Case:
        """One sequence that fills its slots."""
        return self._case(Layout((length,), length), heads, dim, max_len=length)

    def batch(
        self,
        case: Case,
        seed: int = 0,
        *,
        filled: bool = False,
        dtype: torch.dtype | None = None,
        device: torch.device | None = None,
    ) -> Batch:
        drawn = make_batch(case, self.floats(case), self.told_of(), seed, filled=filled)
        return drawn.to(dtype or self.dtype, device or self.device)

    # -- running ---------------------------------------------------------------------------------------

    def build(
        self,
        case: Case,
        *,
        dropout: float = 0.0,
        training: bool = False,
        impl: str | None = None,
        seed: int = 0,
        dtype: torch.dtype | None = None,
    ) -> Component:
        """A new component; its parameters depend on ``seed`` alone.

        They are moved a little from where they start, so that a table of zeros hides nothing.
        """
        torch.manual_seed(seed)
        component = self.made(case, dropout, impl)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            padding = padding_rows(component)
            for name, parameter in component.named_parameters():
                if parameter.requires_grad and parameter.is_floating_point():
                    noise = torch.randn(parameter.shape, generator=generator)
                    if name in padding:
                        noise[padding[name]] = 0.0
                    parameter.add_(noise.to(parameter.dtype), alpha=0.1)
        return component.to(device=self.device, dtype=dtype or self.dtype).train(training)

    def run(
        self, component: Component, batch: Batch, *, call: Callable[..., Any] | None = None, place: Place = as_is
    ) -> Tensor:
        """What a call gives, [B, H, T, D]: of the component itself, or of ``call`` in its place."""
        called = component if call is None else call
        return self.result(component, called(*self.given(batch, place)), batch)

    def output(self, component: Component, batch: Batch) -> Tensor:
        """[B, H, T, D], finite and without a gradient; the component gets copies of the inputs."""
        with torch.no_grad():
            return require_finite(self.run(component, batch.mapped(torch.clone)))

    def with_gradients(
        self, component: Component, batch: Batch, *, call: Callable[..., Any] | None = None, place: Place = as_is
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Leaves for the floats, by name, and the output that hangs on them; it may not be finite."""
        leaves = {name: x.detach().clone().requires_grad_() for name, x in batch.floats.items()}
        copies = {name: leaf.clone() for name, leaf in leaves.items()}
        return leaves, self.run(component, batch.with_floats(**copies), call=call, place=place)

    def gradients(self, component: Component, batch: Batch, cotangent: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The output, and the gradients of <output, cotangent> by floats and trained parameters, zeros for none."""
        leaves, out = self.with_gradients(component, batch)
        named = leaves | {name: p for name, p in component.named_parameters() if p.requires_grad}
        found = pull_back(require_finite(out), cotangent, tuple(named.values()))
        return out.detach(), dict(zip(named, found, strict=True))

    def cotangent(self, batch: Batch, seed: int = 9) -> Tensor:
        """Standard normal, shaped as the output, zero at padding."""
        generator = torch.Generator().manual_seed(seed)
        draws = torch.randn(self.out_shape(batch), generator=generator, dtype=torch.float64)
        return draws.to(device=self.device, dtype=self.dtype_of(batch)) * batch.real

    def dtype_of(self, batch: Batch) -> torch.dtype:
        """The precision of a batch: of its floats, or of the checks where it has none."""
        return next((x.dtype for x in batch.floats.values()), self.dtype)
