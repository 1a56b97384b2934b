"""How outputs of a component are compared: tolerances, what counts as zero, and what cannot be compared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from attnrec.contract.cases import Case
from attnrec.contract.faults import Fault, Unusable

_IF_SMALL = "a small leak, or rounding of a part computed in float32: compute in the inputs' dtype"


class Judge:
    """Compares in the precision of the checks.

    Attributes:
        dtype: that precision: float64, or float32 if the component does not keep float64.
        random: whether the outputs are random even without dropout, which makes comparisons meaningless.
        margin: factor on tolerances, used when a check looks for a case in which its fault is clear.
    """

    def __init__(self) -> None:
        self.dtype = torch.float64
        self.random = False
        self.margin = 1.0

    def require_same_twice(self) -> None:
        """Raise Unusable if outputs are random even without dropout."""
        if self.random:
            raise Unusable("outputs are random and cannot be compared", "eval mode")

    def tolerance(self, case: Case, dtype: torch.dtype | None = None) -> float:
        """How much two ways to compute the same value may differ, relative to the largest value or 1.

        1e-6 in float64, so that an operator may compute parts in float32. Otherwise the rounding of sums
        of D and of T terms, each off by a few units.
        """
        dtype = dtype or self.dtype
        return 1e-6 if dtype == torch.float64 else 8 * torch.finfo(dtype).eps * (case.width + case.dim)

    def rounding(self, case: Case) -> float:
        """How much may remain of a value that should be zero, relative to the largest correct value.

        In float64, half of the digits. Two sums of n = T + D terms that should cancel leave at most eps n^2 of their
        largest term: n roundings of eps / 2 each, of partial sums up to n times that term. That is 1e-12 for the
        longest case, so sqrt(eps) leaves a factor of 10^4 for sums that are larger than what remains of them.
        """
        return min(self.tolerance(case), torch.finfo(self.dtype).eps ** 0.5)

    def difference(self, got: Tensor, wanted: Tensor) -> float:
        """Largest difference relative to max(1, largest wanted); inf if a value is not finite."""
        if wanted.numel() == 0:
            return 0.0
        got, wanted = got.detach().double(), wanted.detach().double()
        found = float((got - wanted).abs().max() / wanted.abs().max().clamp(min=1.0))
        return found if found == found else float("inf")

    def agree(self, got: Tensor, wanted: Tensor, case: Case, text: str, dtype: torch.dtype | None = None) -> float:
        """The difference; raises a Fault with ``text`` (its `{}` shows the difference) above the tolerance."""
        found = self.difference(got, wanted)
        tolerance = self.tolerance(case, dtype)
        if found > tolerance:
            self.require_same_twice()
        return self.judge(found, tolerance, text)

    def same(self, got: Tensor, wanted: Tensor, case: Case, text: str) -> float:
        """Like `agree`, but both must be the same up to rounding."""
        found = self.difference(got, wanted)
        if found > self.rounding(case):
            self.require_same_twice()
        return self.nothing(found, case, text)

    def nothing(self, found: float, case: Case, text: str) -> float:
        """``found``, which should be zero; raises a Fault with ``text`` (as `judge`) if it is more than rounding."""
        single = self.dtype == torch.float64 and found < self.tolerance(case, torch.float32)
        return self.judge(found, self.rounding(case), text, _IF_SMALL if single else "")

    def judge(self, found: float, tolerance: float, text: str, hint: str = "") -> float:
        """``found``; raises a Fault with ``text`` (its `{}` shows ``found``) above the tolerance."""
        if found > tolerance * self.margin:
            raise Fault(text.format(f"{found:.2g}"), hint, excess=found / tolerance)
        return found


def require_shape(out: Any, shape: Sequence[int]) -> Tensor:
    """The output; Unusable if it is not a tensor of that shape."""
    if not isinstance(out, Tensor):
        raise Unusable(f"the output is {type(out).__name__}, not a tensor", "shape")
    if out.shape != torch.Size(shape):
        raise Unusable(f"the output is {list(out.shape)}, not {list(shape)}", "shape")
    return out


def require_finite(found: Tensor, name: str = "the output") -> Tensor:
    """The tensor; Unusable if it has values that are not finite."""
    if not found.isfinite().all():
        raise Unusable(f"{name} has NaN or infinite values", "finite")
    return found


def require_scalar(loss: Any, name: str) -> None:
    """Raise a Fault if a loss is neither None nor a finite scalar."""
    if loss is None:
        return
    if not isinstance(loss, Tensor) or loss.ndim:
        found = list(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
        raise Fault(f"{name} returns {found}, not a scalar", "return a tensor without axes, or None")
    if not loss.isfinite():
        raise Fault(f"{name} is {float(loss.detach()):g}")


def pull_back(out: Tensor, cotangent: Tensor, leaves: Sequence[Tensor], *, keep: bool = False) -> tuple[Tensor, ...]:
    """Gradients of <out, cotangent> w.r.t. ``leaves``, zeros if there is no path; Unusable if not finite."""
    if not out.requires_grad:
        return tuple(torch.zeros_like(leaf) for leaf in leaves)
    found = torch.autograd.grad(
        out, leaves, cotangent.to(out.dtype), retain_graph=keep, allow_unused=True, materialize_grads=True
    )
    for gradient in found:
        require_finite(gradient, "a gradient")
    return found


def largest(tensors: Iterable[Tensor]) -> float:
    """The largest absolute value in all the tensors; 0 if they are empty."""
    return max((float(x.detach().abs().max()) for x in tensors if x.numel()), default=0.0)


def largest_place(found: Tensor) -> tuple[int, int]:
    """Row and slot of the largest absolute value in [B, H, T, D]."""
    by_slot = found.double().abs().amax(dim=(1, 3))
    return divmod(int(by_slot.argmax()), by_slot.shape[1])
