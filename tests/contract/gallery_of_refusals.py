"""Operators that refuse something, and operators in which a bug raises the same kinds of error."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from attnrec.attention import SequenceContext
from attnrec.core.errors import InputError
from tests.contract.gallery import Right


class HalfRefused(Right):
    error: type[Exception] = ValueError

    def forward(self, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
        if q.dtype == torch.float16:
            raise self.error("float16 overflows here; use bfloat16")
        return super().forward(q, k, v, ctx)


class HalfRefusedByTypeError(HalfRefused):
    error = TypeError


class HalfRefusedByInputError(HalfRefused):
    error = InputError


class HalfRefusedFromAnother(Right):
    """Refuses because of what something else raised, and says so."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
        try:
            math.sqrt(-1.0 if q.dtype == torch.float16 else 1.0)
        except ValueError as error:
            raise TypeError("float16 is not taken") from error
        return super().forward(q, k, v, ctx)


class HalfRefusedByAnError(HalfRefused):
    """An error of another kind is no refusal."""

    error = RuntimeError


class HalfBreaksInMath(Right):
    def forward(self, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
        return super().forward(q, k, v, ctx) * math.sqrt(-1.0 if q.dtype == torch.float16 else 1.0)


class HalfBreaksInAnUnpacking(Right):
    def forward(self, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
        if q.dtype == torch.float16:
            _, _ = q.shape
        return super().forward(q, k, v, ctx)


class HalfBreaksInTorch(Right):
    """A ValueError that a ``raise`` of torch's raises."""

    def dropped(self, weights: Tensor) -> Tensor:
        return torch.nn.functional.dropout(weights, 2.0) if weights.dtype == torch.float16 else weights


class HalfBreaksAndIsRaisedAgain(Right):
    """A ``raise`` that passes on a bug does not make a refusal of it."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
        try:
            return super().forward(q, k, v, ctx) * math.sqrt(-1.0 if q.dtype == torch.float16 else 1.0)
        except ValueError:
            self.dropout = self.dropout  # as one that cleans up
            raise


class OneHeadRefused(Right):
    error: type[Exception] = ValueError

    def __init__(self, num_heads: int, head_dim: int, max_len: int, dropout: float) -> None:
        super().__init__(num_heads, head_dim, max_len, dropout)
        if num_heads == 1:
            raise self.error("the number of heads must be 2 or more")


class OneHeadRefusedByInputError(OneHeadRefused):
    error = InputError


class OneHeadBreaks(Right):
    def __init__(self, num_heads: int, head_dim: int, max_len: int, dropout: float) -> None:
        super().__init__(num_heads, head_dim, max_len, dropout)
        self.scale = math.log(num_heads - 1)


class OneHeadBreaksInTorch(Right):
    """A normalisation over groups that do not divide the width."""

    def __init__(self, num_heads: int, head_dim: int, max_len: int, dropout: float) -> None:
        super().__init__(num_heads, head_dim, max_len, dropout)
        torch.nn.GroupNorm(4, num_heads * head_dim)


REFUSING_HALF = (HalfRefused, HalfRefusedByTypeError, HalfRefusedByInputError, HalfRefusedFromAnother)
BREAKING_IN_HALF = (
    HalfRefusedByAnError,
    HalfBreaksInMath,
    HalfBreaksInAnUnpacking,
    HalfBreaksInTorch,
    HalfBreaksAndIsRaisedAgain,
)
REFUSING_ONE_HEAD = (OneHeadRefused, OneHeadRefusedByInputError)
BREAKING_WITH_ONE_HEAD = (OneHeadBreaks, OneHeadBreaksInTorch)
