"""Talking heads: a plain loop in float64, and the identity from which it starts."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from attnrec.attention import SequenceContext
from attnrec.attention.sdpa import ScaledDotProductAttention
from attnrec.attention.talking_heads import TalkingHeadsAttention
from tests.attention.conftest import DIM, MAX_LEN, build, close, context, inputs, real_rows


def oracle(op: TalkingHeadsAttention, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
    """Scores mixed, softmax, weights mixed, a row and a query at a time."""
    heads = q.shape[1]
    out = torch.zeros_like(v)
    for row, columns, _ in real_rows(ctx):
        keys, values = k[row, :, columns], v[row, :, columns]
        for i in range(columns.stop - columns.start):
            query = q[row, :, columns.start + i]
            scores = [keys[g, : i + 1] @ query[g] / math.sqrt(DIM) for g in range(heads)]
            mixed = [sum(scores[g] * op.mix_scores[g, h] for g in range(heads)) for h in range(heads)]
            weights = [torch.as_tensor(m).softmax(0) for m in mixed]
            for h in range(heads):
                again = torch.as_tensor(sum(weights[g] * op.mix_weights[g, h] for g in range(heads)))
                out[row, h, columns.start + i] = again @ values[h, : i + 1]
    return out


@pytest.mark.parametrize("heads", [1, 2, 5])
@pytest.mark.parametrize("width", [1, 6, 13])
def test_forward_is_the_oracle(heads: int, width: int) -> None:
    operator = build("talking-heads", heads)
    assert isinstance(operator, TalkingHeadsAttention)
    q, k, v = (x.detach() for x in inputs(4, heads, width))
    ctx = context([0, 1, (width + 1) // 2, width], width)
    with torch.no_grad():
        expected = oracle(operator, q, k, v, ctx)
        close(operator(q, k, v, ctx), expected)
        close(operator.weights(q, k, ctx) @ v, expected)


def test_it_starts_as_vanilla_attention() -> None:
    tensors, ctx = inputs(3, 4, 7), context([1, 4, 7], 7)
    operator = TalkingHeadsAttention(4, DIM, MAX_LEN, 0.0).double()
    close(operator(*tensors, ctx), ScaledDotProductAttention(4, DIM, MAX_LEN, 0.0)(*tensors, ctx))


def test_heads_hear_each_other() -> None:
    operator = build("talking-heads", 3)
    (q, k, v), ctx = inputs(1, 3, 5), context([5], 5)
    for tensor in (q, k):
        (grad,) = torch.autograd.grad(operator(q, k, v, ctx)[0, 2, -1].sum(), tensor)
        assert (grad[0, 0] != 0).any()
