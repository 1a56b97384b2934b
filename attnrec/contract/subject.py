"""The component under test, of any kind: how it is built for each case, and how it is run."""

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
"""Changes how a tensor is laid out in memory, or returns it unchanged."""


def as_is(x: Tensor) -> Tensor:
    return x


def padding_rows(component: nn.Module) -> dict[str, int]:
    """The padding row of each embedding, by the name of its table; torch gives these rows no gradient."""
    tables = ((name, part) for name, part in component.named_modules() if isinstance(part, nn.Embedding))
    return {f"{name}.weight": part.padding_idx for name, part in tables if part.padding_idx is not None}


class Subject(Judge, ABC):
    """A component that the checks rebuild for each case.

    Attributes:
        case: the last case tried, so that an exception can be reported with it.
        broken: `place` of the exception that even a plain call raises; None if a plain call works.
        told: whether a result has reported that exception.
        backend: for torch.compile; None for the best one available.
        shapes: heads and width of a head, first for the smaller cases.
    """

    noun: ClassVar[str]
    option: ClassVar[str] = "attention"
    """The option of a training that names such a component."""
    narrow: ClassVar[tuple[int, int]] = (1, 2)
    """Heads of the smaller cases, and their width."""
    entries: ClassVar[int] = 40
    """How many entries of a tensor are checked against difference quotients."""
    arguments: ClassVar[tuple[str, ...]]
    """Names of the arguments that `given` returns."""

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
                self.dtype = torch.float64  # the precision is not the cause
        self.case = None

    # -- what differs between kinds --------------------------------------------------------------------

    @abstractmethod
    def made(self, case: Case, dropout: float, impl: str | None) -> Component:
        """A new component for the case; exceptions of its constructor are passed on unchanged."""

    @abstractmethod
    def example(self, case: Case) -> Component:
        """The component that was asked for; InputError if a specification cannot be built."""

    @abstractmethod
    def floats(self, case: Case) -> dict[str, tuple[int, int]]:
        """Heads and width of each float that a batch has."""

    @abstractmethod
    def given(self, batch: Batch, place: Place = as_is) -> tuple[Any, ...]:
        """The arguments of a call, with the floats laid out by ``place``."""

    @abstractmethod
    def result(self, component: Component, out: Any, batch: Batch) -> Tensor:
        """The tensor to compare, [B, H, T, D], from the output of a call; Unusable if the output has a wrong shape."""

    @abstractmethod
    def out_shape(self, batch: Batch) -> tuple[int, ...]:
        """The shape of `result`."""

    @abstractmethod
    def must_drop(self, component: Component) -> bool:
        """Whether dropout has something to drop."""

    def large(self, batch: Batch) -> Batch | None:
        """The batch scaled to scores in the hundreds to thousands; None if scaling the inputs cannot do that."""
        return None

    def layouts(self, layouts: Sequence[Layout]) -> Sequence[Layout]:
        return layouts

    def needs(self, what: str) -> bool:
        """Whether the component, or one inside it, declares that it needs this."""
        return any(getattr(part, f"needs_{what}", False) for part in self.components)

    def told_of(self) -> set[str]:
        """What a batch holds in addition to floats and lengths."""
        return {what for what in ("items", "features") if self.needs(what)}

    def ways(self, component: Component, case: Case, batch: Batch) -> dict[str, Callable[[], Tensor]]:
        """The calls that give the output, by name; each must apply dropout."""
        return {"forward": lambda: self.output(component, batch)}

    def another(self, case: Case) -> Component:
        """A component with another seed, before it loads a state."""
        return self.build(case, seed=1)

    def own_loss(self, component: Component, batch: Batch) -> Tensor | None:
        """What the component adds to the training loss, after a pass over the batch."""
        self.run(component, batch)
        parts = [part for part in component.modules() if isinstance(part, Component)]
        losses = [loss for part in parts if (loss := part.own_loss()) is not None]
        for loss in losses:
            require_scalar(loss, "own_loss")
        return torch.stack(losses).sum() if losses else None

    # -- what the component takes ----------------------------------------------------------------------

    def takes(self, heads: int, dim: int, impl: str | None = None) -> bool:
        """False if the component refuses these sizes or this ``impl``; a bug is not a refusal."""
        try:
            self.made(self._case(Layout((2,), 2), heads, dim), 0.0, impl).check_device(self.device)
        except Exception as error:  # noqa: BLE001  (the checks meet a bug again and report it with its case)
            return not self.is_refusal(error)
        return True

    def is_refusal(self, error: Exception) -> bool:
        """Whether this error is a deliberate refusal (`factory.is_refusal`)."""
        return is_refusal(error, self.packages)

    def kept_dtype(self, impl: str | None) -> torch.dtype:
        """float64 if the component computes in it, else float32."""
        case = next(self.ladder((Layout((2,), 2),)))
        batch = self.batch(case, dtype=torch.float64)
        try:
            with torch.no_grad():
                out = self.run(self.build(case, impl=impl), batch)
        except Unusable:
            return torch.float64  # the check `shape` reports it
        except Exception:  # noqa: BLE001  (the check `dtype` reports it)
            return torch.float32
        return torch.float64 if out.dtype == torch.float64 else torch.float32

    def _broken(self) -> tuple[str, str, int] | None:
        """`place` of the exception that a plain call raises in the precision of the checks."""
        for case in self.ladder((Layout((2,), 2),)):
            try:
                with torch.no_grad():
                    self.run(self.build(case), self.batch(case))
            except Unusable:
                return None
            except Exception as error:  # noqa: BLE001  (the first check reports it)
                return place(error)
        return None

    # -- cases -----------------------------------------------------------------------------------------

    def ladder(self, layouts: Sequence[Layout], *, long: bool = False) -> Iterator[Case]:
        """The layouts in order, first with one narrow head, then with the requested heads and width."""
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
        """The layouts with the requested heads and width."""
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
        """A new component; its parameters depend only on ``seed``.

        They are moved slightly from their initial values, so that a table of zeros hides nothing.
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
        """The output of a call, [B, H, T, D]: of the component itself, or of ``call`` instead."""
        called = component if call is None else call
        return self.result(component, called(*self.given(batch, place)), batch)

    def output(self, component: Component, batch: Batch) -> Tensor:
        """[B, H, T, D], finite and without a gradient; the component gets copies of the inputs."""
        with torch.no_grad():
            return require_finite(self.run(component, batch.mapped(torch.clone)))

    def with_gradients(
        self, component: Component, batch: Batch, *, call: Callable[..., Any] | None = None, place: Place = as_is
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Leaves for the floats, by name, and the output computed from them, which may not be finite."""
        leaves = {name: x.detach().clone().requires_grad_() for name, x in batch.floats.items()}
        copies = {name: leaf.clone() for name, leaf in leaves.items()}
        return leaves, self.run(component, batch.with_floats(**copies), call=call, place=place)

    def gradients(self, component: Component, batch: Batch, cotangent: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The output, and the gradients of <output, cotangent> w.r.t. floats and trained parameters, zeros for none."""
        leaves, out = self.with_gradients(component, batch)
        named = leaves | {name: p for name, p in component.named_parameters() if p.requires_grad}
        found = pull_back(require_finite(out), cotangent, tuple(named.values()))
        return out.detach(), dict(zip(named, found, strict=True))

    def cotangent(self, batch: Batch, seed: int = 9) -> Tensor:
        """Standard normal, in the shape of the output, zero at padding."""
        generator = torch.Generator().manual_seed(seed)
        draws = torch.randn(self.out_shape(batch), generator=generator, dtype=torch.float64)
        return draws.to(device=self.device, dtype=self.dtype_of(batch)) * batch.real

    def dtype_of(self, batch: Batch) -> torch.dtype:
        """The precision of a batch: that of its floats, or of the checks if it has none."""
        return next((x.dtype for x in batch.floats.values()), self.dtype)
