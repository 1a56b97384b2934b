"""Differential attention: a plain loop in float64, and the limits in which it is something known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from attnrec.attention import SequenceContext
from attnrec.attention.differential import DifferentialAttention
from tests.attention.conftest import DIM, build, close, context, inputs, real_rows


def made(heads: int, lambda_init: float = 0.2) -> DifferentialAttention:
    operator = build(f"differential:lambda_init={lambda_init}", heads)
    assert isinstance(operator, DifferentialAttention)
    return operator


def oracle(op: DifferentialAttention, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
    """Equations 1 to 3, a row, a head and a query at a time."""
    half = DIM // 2
    one = math.exp(float(op.lambda_q1 @ op.lambda_k1))
    two = math.exp(float(op.lambda_q2 @ op.lambda_k2))
    lam = one - two + op.lambda_init
    out = torch.zeros_like(v)
    for row, columns, _ in real_rows(ctx):
        for head in range(q.shape[1]):
            keys, values = k[row, head, columns], v[row, head, columns]
            for t, query in enumerate(q[row, head, columns]):
                maps = [
                    (keys[: t + 1, part] @ query[part] / math.sqrt(half)).softmax(0)
                    for part in (slice(0, half), slice(half, DIM))
                ]
                mixed = (maps[0] - lam * maps[1]) @ values[: t + 1]
                normed = mixed / math.sqrt(float((mixed**2).mean()) + 1e-5) * op.gain
                out[row, head, columns.start + t] = (1 - op.lambda_init) * normed
    return out


@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("width", [1, 6, 13])
@pytest.mark.parametrize("lambda_init", [0.0, 0.2, 0.8])
def test_forward_is_the_oracle(heads: int, width: int, lambda_init: float) -> None:
    operator = made(heads, lambda_init)
    q, k, v = (x.detach() for x in inputs(4, heads, width))
    ctx = context([0, 1, (width + 1) // 2, width], width)
    with torch.no_grad():
        close(operator(q, k, v, ctx), oracle(operator, q, k, v, ctx))


def test_rows_sum_to_one_less_lambda() -> None:
    operator = made(2)
    (q, k, _), ctx = inputs(3, 2, 6), context([0, 2, 6], 6)
    found = operator.named_weights(q, k, ctx)
    assert list(found) == ["first", "second", "difference"]
    real = ctx.real()[:, None].expand(-1, 2, -1).double()
    close(found["first"].sum(-1), real)
    close(found["second"].sum(-1), real)
    lam = (operator.lambda_q1 @ operator.lambda_k1).exp() - (operator.lambda_q2 @ operator.lambda_k2).exp() + 0.2
    close(found["difference"].sum(-1), real * (1 - lam))


def test_equal_halves_cancel_but_for_the_size() -> None:
    """With both maps the same A is (1 - lambda) times it, and the norm takes the factor out."""
    operator = DifferentialAttention(1, DIM, 20, 0.0).double()
    (q, k, v), ctx = (x.detach() for x in inputs(1, 1, 5)), context([5], 5)
    q, k = (torch.cat([x[..., : DIM // 2]] * 2, -1) for x in (q, k))
    mixed = operator.named_weights(q, k, ctx)["first"] @ v
    expected = 0.8 * mixed / mixed.square().mean(-1, keepdim=True).sqrt()
    torch.testing.assert_close(operator(q, k, v, ctx), expected, rtol=1e-3, atol=1e-3)  # the norm adds 1e-5


def test_lambda_starts_about_lambda_init() -> None:
    operator = DifferentialAttention(1, 50, 20, 0.0)
    assert float(operator._lambda().detach()) == pytest.approx(0.2, abs=0.3)
    assert operator.gain.tolist() == [1.0] * 50


def test_dropout_drops_weights_of_both_maps() -> None:
    """A query with one key keeps each of its two weights or loses it: the output is v, 0 or -v, up to its size."""
    operator = DifferentialAttention(1, DIM, 20, 0.5)
    rows = 400
    q, k, v = (torch.randn(1, 1, 1, DIM).expand(rows, -1, -1, -1) for _ in range(3))
    out = operator(q, k, v, SequenceContext(torch.ones(rows, dtype=torch.int64), 1, 19)).detach()
    signs = {float(x) for x in (out[:, 0, 0] @ v[0, 0, 0]).sign()}
    assert signs == {-1.0, 0.0, 1.0}
