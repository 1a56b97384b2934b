"""The operator under test: how it is built and run, and what stops a check."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args, get_origin

import torch
from torch import Tensor

from attnrec.attention import (
    AttentionOperator,
    OperatorSpec,
    build_attention,
    find_attention,
    operator_options,
    resolved_options,
)
from attnrec.contract.cases import LONG, MAX_LEN, Batch, Case, Layout, make_batch


class Fault(Exception):
    """The operator breaks the property; the message says how, the hint may replace the check's own."""

    def __init__(self, text: str, hint: str = "") -> None:
        super().__init__(text)
        self.hint = hint


class Unusable(Fault):
    """A fault that another check, ``needs``, is there to name."""

    def __init__(self, text: str, needs: str) -> None:
        super().__init__(text)
        self.needs = needs


class NotRun(Exception):
    """The check does not apply to the operator, or cannot run here."""


@dataclass(frozen=True)
class Factory:
    """Builds an operator from what names it: a specification, its class or a function like one."""

    source: OperatorSpec | Callable[..., AttentionOperator]

    def __str__(self) -> str:
        if isinstance(self.source, OperatorSpec):
            return str(self.source)
        if not isinstance(self.source, functools.partial):
            return str(getattr(self.source, "__name__", self.source))
        options = ",".join(f"{key}={value}" for key, value in self.source.keywords.items())
        return f"{getattr(self.source.func, '__name__', self.source.func)}:{options}"

    def __call__(self, heads: int, dim: int, max_len: int, dropout: float, impl: str | None) -> AttentionOperator:
        if isinstance(self.source, OperatorSpec):
            spec = self.source
            if impl is not None:
                others = tuple((key, value) for key, value in spec.options if key != "impl")
                spec = replace(spec, options=(*others, ("impl", impl)))
            return build_attention(spec, heads, dim, max_len, dropout)
        return self.source(heads, dim, max_len, dropout, **({} if impl is None else {"impl": impl}))

    def impls(self) -> tuple[str | None, tuple[str, ...]]:
        """The value of the option ``impl`` (None where there is none) and those it may take, as far as it tells."""
        spec = self.source if isinstance(self.source, OperatorSpec) else None
        options = operator_options(find_attention(spec.name) if spec else self.source)  # type: ignore[arg-type]
        if "impl" not in options:
            return None, ()
        own = resolved_options(spec)["impl"] if spec else options["impl"].default
        annotation = options["impl"].annotation
        return own, get_args(annotation) if get_origin(annotation) is Literal else ()


class Subject:
    """An operator that checks build anew for each case.

    Attributes:
        dtype: the precision of the checks: float64, or float32 where the operator does not keep float64.
        case: the last case tried, so that an exception can be reported with it.
        random: whether the outputs are random without dropout, so that comparing them tells nothing.
        backend: of torch.compile, or None for the best there is.
    """

    def __init__(
        self, factory: Factory, heads: int, head_dim: int, device: torch.device, backend: str | None = None
    ) -> None:
        self.factory, self.heads, self.head_dim, self.device, self.backend = factory, heads, head_dim, device, backend
        self.dtype = torch.float64
        self.case: Case | None = None
        self.random = False
        example = factory(heads, head_dim, MAX_LEN, 0.0, None)
        example.check_device(device)
        self.needs_timestamps = example.needs_timestamps
        self.shapes = [shape for shape in ((1, 2), (heads, head_dim)) if self.takes(*shape)]
        self.dtype = self.kept_dtype(None)
        self.case = None

    def takes(self, heads: int, dim: int) -> bool:
        """Whether the constructor takes this many heads of this width."""
        try:
            self.factory(heads, dim, MAX_LEN, 0.0, None).check_device(self.device)
        except ValueError:
            return False
        return True

    def kept_dtype(self, impl: str | None) -> torch.dtype:
        """float64 if the operator computes in it, else float32."""
        case = next(self.ladder((Layout((2,), 2),)))
        batch = make_batch(case).to(torch.float64, self.device)
        try:
            with torch.no_grad():
                out = self.operator(case, impl=impl)(*batch.inputs, batch.ctx)
        except Exception:  # noqa: BLE001  (the check of precisions says what it was)
            return torch.float32
        return torch.float64 if getattr(out, "dtype", None) == torch.float64 else torch.float32

    # -- cases -----------------------------------------------------------------------------------------

    def ladder(self, layouts: Sequence[Layout], *, long: bool = False) -> Iterator[Case]:
        """The layouts in order, with one narrow head first, then as many and as wide as asked for."""
        for heads, dim in self.shapes:
            for place, (lengths, width) in enumerate(layouts):
                timestamps = self.needs_timestamps or place % 2 == 1
                yield self._tried(Case(lengths, width, heads, dim, timestamps=timestamps))
        if long:
            heads, dim = self.shapes[-1]
            yield self._tried(Case(*LONG, heads, dim, max_len=80, timestamps=self.needs_timestamps))

    def _tried(self, case: Case) -> Case:
        self.case = case
        return case

    def full(self, *layouts: Layout) -> Iterator[Case]:
        """The layouts with as many heads and as wide as asked for."""
        for case in self.ladder(layouts):
            if (case.heads, case.dim) == self.shapes[-1]:
                yield case

    def batch(self, case: Case, seed: int = 0, *, filled: bool = False) -> Batch:
        return make_batch(case, seed, filled=filled).to(self.dtype, self.device)

    # -- the operator ----------------------------------------------------------------------------------

    def operator(
        self,
        case: Case,
        *,
        dropout: float = 0.0,
        training: bool = False,
        impl: str | None = None,
        seed: int = 0,
        dtype: torch.dtype | None = None,
    ) -> AttentionOperator:
        """A new operator; its parameters depend on ``seed`` alone.

        They are moved a little from where they start, so that a table of zeros hides nothing.
        """
        torch.manual_seed(seed)
        operator = self.factory(case.heads, case.dim, case.max_len, dropout, impl)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in operator.parameters():
                if parameter.requires_grad and parameter.is_floating_point():
                    noise = torch.randn(parameter.shape, generator=generator)
                    parameter.add_(noise.to(parameter.dtype), alpha=0.1)
        return operator.to(device=self.device, dtype=dtype or self.dtype).train(training)

    def output(self, operator: AttentionOperator, batch: Batch) -> Tensor:
        """[B, H, T, Dv], without a gradient; the operator gets copies of the inputs."""
        with torch.no_grad():
            return self._checked(operator(*(x.clone() for x in batch.inputs), batch.ctx), batch)

    def with_gradients(self, operator: AttentionOperator, batch: Batch) -> tuple[tuple[Tensor, ...], Tensor]:
        """Leaves q, k, v and the output that hangs on them."""
        leaves = tuple(x.detach().clone().requires_grad_() for x in batch.inputs)
        return leaves, self._checked(operator(*(x.clone() for x in leaves), batch.ctx), batch)

    def gradients(
        self, operator: AttentionOperator, batch: Batch, cotangent: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The output, and the gradients of <output, cotangent> by q, k, v and every parameter, zeros for none."""
        leaves, out = self.with_gradients(operator, batch)
        parameters = dict(operator.named_parameters())
        named = dict(zip("qkv", leaves, strict=True)) | {k: p for k, p in parameters.items() if p.requires_grad}
        return out.detach(), dict(zip(named, pull_back(out, cotangent, tuple(named.values())), strict=True))

    def cotangent(self, batch: Batch, seed: int = 9) -> Tensor:
        """Standard normal [B, H, T, Dv], zero at padding."""
        draws = torch.randn(batch.v.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        return draws.to(batch.v) * batch.real

    def _checked(self, out: Any, batch: Batch) -> Tensor:
        return require_finite(require_shape(out, batch))

    def require_same_twice(self) -> None:
        """Unusable where outputs are random without dropout."""
        if self.random:
            raise Unusable("outputs are random, so comparing them tells nothing", "eval mode")

    # -- comparing -------------------------------------------------------------------------------------

    def tolerance(self, case: Case, dtype: torch.dtype | None = None) -> float:
        """What two ways to the same value may differ by, relative to the largest value or 1.

        In float64 1e-6, so that an operator may compute parts in float32. Otherwise the rounding of sums
        of D and of T terms, each term off by a few units.
        """
        dtype = dtype or self.dtype
        return 1e-6 if dtype == torch.float64 else 8 * torch.finfo(dtype).eps * (case.width + case.dim)

    def difference(self, got: Tensor, wanted: Tensor) -> float:
        """Largest difference relative to max(1, largest wanted); inf where something is not finite."""
        if wanted.numel() == 0:
            return 0.0
        got, wanted = got.detach().double(), wanted.detach().double()
        found = float((got - wanted).abs().max() / wanted.abs().max().clamp(min=1.0))
        return found if found == found else float("inf")

    def agree(self, got: Tensor, wanted: Tensor, case: Case, text: str, dtype: torch.dtype | None = None) -> float:
        """The difference; a Fault with ``text`` (which `{}` is filled into) where it exceeds the tolerance."""
        found = self.difference(got, wanted)
        if found > self.tolerance(case, dtype):
            self.require_same_twice()
            raise Fault(text.format(f"{found:.2g}"))
        return found


def require_shape(out: Any, batch: Batch) -> Tensor:
    """The output; Unusable where it is not [B, H, T, Dv]."""
    if not isinstance(out, Tensor):
        raise Unusable(f"the output is {type(out).__name__}, no tensor", "shape")
    if out.shape != batch.v.shape:
        raise Unusable(f"the output is {list(out.shape)}, not {list(batch.v.shape)}", "shape")
    return out


def require_finite(found: Tensor, name: str = "the output") -> Tensor:
    """The tensor; Unusable where it has values that are not finite."""
    if not found.isfinite().all():
        raise Unusable(f"{name} has NaN or infinite values", "finite")
    return found


def pull_back(out: Tensor, cotangent: Tensor, leaves: Sequence[Tensor], *, keep: bool = False) -> tuple[Tensor, ...]:
    """Gradients of <out, cotangent> by ``leaves``, zeros where there is no path; Unusable where not finite."""
    if not out.requires_grad:
        return tuple(torch.zeros_like(leaf) for leaf in leaves)
    found = torch.autograd.grad(
        out, leaves, cotangent.to(out.dtype), retain_graph=keep, allow_unused=True, materialize_grads=True
    )
    for gradient in found:
        require_finite(gradient, "a gradient")
    return found


def largest_place(found: Tensor) -> tuple[int, int]:
    """Row and slot of the largest entry of [B, H, T, D] by size."""
    by_slot = found.double().abs().amax(dim=(1, 3))
    place = int(by_slot.argmax())
    return place // by_slot.shape[1], place % by_slot.shape[1]
