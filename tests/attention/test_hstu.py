"""HSTU's pointwise attention: a plain loop in float64, buckets of time, and 1/n of the model's slots."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from attnrec.attention import SequenceContext
from attnrec.attention.hstu import PointwiseAttention
from tests.attention.conftest import DIM, MAX_LEN, build, close, context, inputs, real_rows


def made(heads: int, time: bool, buckets: int = 128) -> PointwiseAttention:
    operator = build(f"hstu:time={str(time).lower()},buckets={buckets}", heads)
    assert isinstance(operator, PointwiseAttention)
    return operator


def oracle(op: PointwiseAttention, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
    """SiLU(q_i . k_j + b_ij) / n for every j <= i, a row, a head and a pair at a time."""
    out = torch.zeros_like(v)
    for row, columns, _ in real_rows(ctx):
        for head in range(q.shape[1]):
            for i in range(columns.start, columns.stop):
                for j in range(columns.start, i + 1):
                    score = float(q[row, head, i] @ k[row, head, j]) + float(op.position_bias[i - j])
                    if op.time_bias is not None and ctx.timestamps is not None:
                        passed = abs(float(ctx.timestamps[row, i]) - float(ctx.timestamps[row, j]))
                        bucket = min(math.floor(math.log(max(passed, 1)) / 0.301), op.buckets)
                        score += float(op.time_bias[bucket])
                    out[row, head, i] += score / (1 + math.exp(-score)) / MAX_LEN * v[row, head, j]
    return out


@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("width", [1, 6, 13])
@pytest.mark.parametrize(("time", "buckets"), [(False, 128), (True, 128), (True, 30)])
def test_forward_is_the_oracle(heads: int, width: int, time: bool, buckets: int) -> None:
    operator = made(heads, time, buckets)
    q, k, v = (x.detach() for x in inputs(4, heads, width))
    ctx = context([0, 1, (width + 1) // 2, width], width)
    with torch.no_grad():
        expected = oracle(operator, q, k, v, ctx)
        close(operator(q, k, v, ctx), expected)
        close(operator.weights(q, k, ctx) @ v, expected)


def test_buckets_are_even_in_the_logarithm_of_time() -> None:
    operator = made(1, True)
    edges = [0.0, 0.5, 1.0, math.exp(0.301) - 1e-6, math.exp(0.301) + 1e-6, 60.0, 86400.0, 3.15e7, 1e300]
    times = torch.tensor([[0.0, *edges]], dtype=torch.float64)
    ctx = SequenceContext(torch.tensor([len(edges) + 1]), len(edges) + 1, 0, times)
    found = operator._buckets(ctx)[0, :, 0].tolist()
    assert found == [0, 0, 0, 0, 0, 1, 13, 37, 57, 128]


def test_time_is_differenced_before_anything_is_rounded() -> None:
    """A second between two times of 2026 is a second, whatever the precision of the model."""
    times = torch.tensor([[1.77e9, 1.77e9 + 1, 1.77e9 + 3]], dtype=torch.float64)
    ctx = SequenceContext(torch.tensor([3]), 3, 17, times)
    assert made(1, True).float()._buckets(ctx)[0, 2].tolist() == [3, 2, 0]


def test_rows_keep_how_much_there_is_to_attend_to() -> None:
    """Twice the same keys and values double the output, which no softmax would do."""
    operator = PointwiseAttention(1, DIM, MAX_LEN, 0.0).double()
    with torch.no_grad():
        operator.position_bias.zero_()
    q, k, v = (x.detach() for x in inputs(1, 1, 4))
    once = operator(q, k, v, context([4], 4))[0, 0, -1]
    twice = operator(*(torch.cat([x, x], 2) for x in (q, k, v)), context([8], 8))[0, 0, -1]
    close(twice, 2 * once)


def test_the_number_of_slots_divides() -> None:
    q, k, v = inputs(1, 1, 4)
    short, long = (PointwiseAttention(1, DIM, n, 0.0).double() for n in (5, 50))
    with torch.no_grad():
        long.position_bias[:5] = short.position_bias
    ctx = torch.tensor([4])
    close(short(q, k, v, SequenceContext(ctx, 4, 1)), 10 * long(q, k, v, SequenceContext(ctx, 4, 46)))


def test_only_the_bias_by_time_needs_timestamps() -> None:
    assert made(1, True).needs_timestamps
    assert not made(1, False).needs_timestamps
    assert [name for name, _ in made(1, False).named_parameters()] == ["position_bias"]
