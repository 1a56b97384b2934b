"""Operators and batches that the tests of several variants share."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from attnrec.attention import AttentionOperator, SequenceContext, build_attention

MAX_LEN, DIM = 20, 6
Inputs = tuple[Tensor, Tensor, Tensor]


def build(text: str, heads: int = 2, dropout: float = 0.0, dtype: torch.dtype = torch.float64) -> AttentionOperator:
    """An operator whose parameters are not where they start, so that no zero or identity hides a fault."""
    torch.manual_seed(1)
    operator = build_attention(text, heads, DIM, MAX_LEN, dropout)
    with torch.no_grad():
        for parameter in operator.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return operator.to(dtype)


def inputs(rows: int, heads: int, width: int) -> Inputs:
    torch.manual_seed(2)
    q, k, v = (torch.randn(rows, heads, width, DIM, dtype=torch.float64, requires_grad=True) for _ in range(3))
    return q, k, v


def context(lengths: list[int], width: int, fill: float = 0.0) -> SequenceContext:
    """Histories at the end of ``MAX_LEN`` slots, with times hours apart and some of them equal."""
    steps = torch.tensor(
        [[(7 * row + slot * slot) % 4 * 3600.0 for slot in range(width)] for row in range(len(lengths))]
    )
    ctx = SequenceContext(torch.tensor(lengths), width, MAX_LEN - width)
    times = (1.7e9 + steps.double().cumsum(1)).masked_fill(~ctx.real(), fill)
    return SequenceContext(ctx.lengths, width, ctx.offset, times)


def trimmed(tensors: Inputs, ctx: SequenceContext, width: int) -> tuple[Inputs, SequenceContext]:
    """The last ``width`` columns."""
    q, k, v = (x[:, :, -width:] for x in tensors)
    times = None if ctx.timestamps is None else ctx.timestamps[:, -width:]
    return (q, k, v), SequenceContext(ctx.lengths, width, ctx.offset + ctx.width - width, times)


def close(got: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-11)


def real_rows(ctx: SequenceContext) -> Iterator[tuple[int, slice, slice]]:
    """Each row with items, its columns in the batch, and their slots in the model."""
    for row, length in enumerate(ctx.lengths.tolist()):
        if length:
            first = ctx.width - length
            yield row, slice(first, ctx.width), slice(ctx.offset + first, ctx.offset + ctx.width)
