"""How what a component gives is compared: tolerances, what counts as nothing, and what cannot be compared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from attnrec.contract.cases import Case
from attnrec.contract.faults import Fault, Unusable

_IF_SMALL = "a small leak; or a part is computed in float32 and leaves as much: compute in the inputs' dtype"


class Judge:
    """Compares in the precision of the checks.

    Attributes:
        dtype: that precision: float64, or float32 where the component does not keep float64.
        random: whether the outputs are random without dropout, so that comparing them tells nothing.
        margin: what tolerances are multiplied by, where a check looks for the case in which its fault is clear.
    """

    def __init__(self) -> None:
        self.dtype = torch.float64
        self.random = False
        self.margin = 1.0

    def require_same_twice(self) -> None:
        """Unusable where outputs are random without dropout."""
        if self.random:
            raise Unusable("outputs are random, so comparing them tells nothing", "eval mode")

    def tolerance(self, case: Case, dtype: torch.dtype | None = None) -> float:
        """What two ways to the same value may differ by, relative to the largest value or 1.

        In float64 1e-6, so that an operator may compute parts in float32. Otherwise the rounding of sums
        of D and of T terms, each term off by a few units.
        """
        dtype = dtype or self.dtype
        return 1e-6 if dtype == torch.float64 else 8 * torch.finfo(dtype).eps * (case.width + case.dim)

    def rounding(self, case: Case) -> float:
        """What may be left where there should be nothing, relative to the largest of what there should be.

        In float64 half of the digits. Two sums of n = T + D terms that should cancel leave at most eps n^2 of their
        largest term: n roundings of eps / 2 each, of partial sums up to n times that term. That is 1e-12 for the
        longest case, so that sqrt(eps) leaves a factor of 10^4 for sums that are larger than what is left of them.
        """
        return min(self.tolerance(case), torch.finfo(self.dtype).eps ** 0.5)

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
        tolerance = self.tolerance(case, dtype)
        if found > tolerance:
            self.require_same_twice()
        return self.judge(found, tolerance, text)

    def same(self, got: Tensor, wanted: Tensor, case: Case, text: str) -> float:
        """As `agree`, where no more than rounding may tell the one from the other."""
        found = self.difference(got, wanted)
        if found > self.rounding(case):
            self.require_same_twice()
        return self.nothing(found, case, text)

    def nothing(self, found: float, case: Case, text: str) -> float:
        """``found``, which should be nothing; a Fault with ``text`` (as `judge`) where it is more than rounding."""
        single = self.dtype == torch.float64 and found < self.tolerance(case, torch.float32)
        return self.judge(found, self.rounding(case), text, _IF_SMALL if single else "")

    def judge(self, found: float, tolerance: float, text: str, hint: str = "") -> float:
        """``found``; a Fault with ``text`` (which `{}` is filled into) where it exceeds the tolerance."""
        if found > tolerance * self.margin:
            raise Fault(text.format(f"{found:.2g}"), hint, excess=found / tolerance)
        return found


def require_shape(out: Any, shape: Sequence[int]) -> Tensor:
    """The output; Unusable where it is something else than a tensor of that shape."""
    if not isinstance(out, Tensor):
        raise Unusable(f"the output is {type(out).__name__}, no tensor", "shape")
    if out.shape != torch.Size(shape):
        raise Unusable(f"the output is {list(out.shape)}, not {list(shape)}", "shape")
    return out


def require_finite(found: Tensor, name: str = "the output") -> Tensor:
    """The tensor; Unusable where it has values that are not finite."""
    if not found.isfinite().all():
        raise Unusable(f"{name} has NaN or infinite values", "finite")
    return found


def require_scalar(loss: Any, name: str) -> None:
    """A Fault where a loss is something other than None or a finite scalar."""
    if loss is None:
        return
    if not isinstance(loss, Tensor) or loss.ndim:
        found = list(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
        raise Fault(f"{name} gives {found}, no scalar", "return a tensor without axes, or None")
    if not loss.isfinite():
        raise Fault(f"{name} is {float(loss.detach()):g}")


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


def largest(tensors: Iterable[Tensor]) -> float:
    """The largest entry by size of all the tensors; 0 where they have none."""
    return max((float(x.detach().abs().max()) for x in tensors if x.numel()), default=0.0)


def largest_place(found: Tensor) -> tuple[int, int]:
    """Row and slot of the largest entry of [B, H, T, D] by size."""
    by_slot = found.double().abs().amax(dim=(1, 3))
    return divmod(int(by_slot.argmax()), by_slot.shape[1])
