"""Rotary embedding: the rotation matrix written out, and scores that know the distance alone."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from attnrec.attention import SequenceContext
from attnrec.attention.rotary import RotaryAttention
from tests.attention.conftest import close, context, real_rows


def matrix(slot: int, dim: int, base: float) -> Tensor:
    """R of equation 15, [d, d]; with odd d the last coordinate stays."""
    rotation = torch.eye(dim, dtype=torch.float64)
    for i in range(1, dim // 2 + 1):
        angle = slot * base ** (-2 * (i - 1) / dim)
        first, second = 2 * i - 2, 2 * i - 1
        rotation[first, first] = rotation[second, second] = math.cos(angle)
        rotation[first, second], rotation[second, first] = -math.sin(angle), math.sin(angle)
    return rotation


def oracle(base: float, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
    dim = q.shape[-1]
    out = torch.zeros_like(v)
    for row, columns, slots in real_rows(ctx):
        turns = [matrix(slot, dim, base) for slot in range(slots.start, slots.stop)]
        for head in range(q.shape[1]):
            for i in range(len(turns)):
                query = turns[i] @ q[row, head, columns.start + i]
                keys = torch.stack([turns[j] @ k[row, head, columns.start + j] for j in range(i + 1)])
                weights = (keys @ query / math.sqrt(dim)).softmax(0)
                out[row, head, columns.start + i] = weights @ v[row, head, columns][: i + 1]
    return out


def make(rows: int, heads: int, width: int, dim: int) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v = (torch.randn(rows, heads, width, dim, dtype=torch.float64) for _ in range(3))
    return q, k, v


@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("width", [1, 6])
@pytest.mark.parametrize("dim", [2, 3, 6, 25])
@pytest.mark.parametrize("base", [10000.0, 50.0])
def test_forward_is_the_oracle(heads: int, width: int, dim: int, base: float) -> None:
    operator = RotaryAttention(heads, dim, 20, 0.0, base=base)
    q, k, v = make(4, heads, width, dim)
    ctx = context([0, 1, (width + 1) // 2, width], width)
    expected = oracle(base, q, k, v, ctx)
    close(operator(q, k, v, ctx), expected)
    close(operator.weights(q, k, ctx) @ v, expected)


@pytest.mark.parametrize("dim", [6, 7])
def test_scores_depend_on_the_distance_alone(dim: int) -> None:
    """The same history further left in the model's slots gives the same output."""
    operator = RotaryAttention(2, dim, 200, 0.0)
    q, k, v = make(1, 2, 5, dim)
    lengths = torch.tensor([5])
    outs = [operator(q, k, v, SequenceContext(lengths, 5, offset)) for offset in (0, 17, 195)]
    close(outs[0], outs[1])
    close(outs[0], outs[2])


def test_a_rotation_keeps_lengths_and_the_odd_coordinate() -> None:
    operator = RotaryAttention(1, 7, 50, 0.0)
    x = torch.randn(1, 1, 50, 7, dtype=torch.float64)
    turned = operator._rotated(x, SequenceContext(torch.tensor([50]), 50))
    close(turned.norm(dim=-1), x.norm(dim=-1))
    assert turned[..., 6].equal(x[..., 6])
    assert not turned[0, 0, 1].equal(x[0, 0, 1])


def test_order_matters_without_any_position_embedding() -> None:
    """Two earlier keys swapped change the last output, which plain attention would not notice."""
    operator = RotaryAttention(1, 6, 20, 0.0)
    q, k, v = make(1, 1, 4, 6)
    ctx = SequenceContext(torch.tensor([4]), 4, 16)
    order = torch.tensor([1, 0, 2, 3])
    swapped = operator(q, k[:, :, order], v[:, :, order], ctx)
    assert (swapped - operator(q, k, v, ctx))[0, 0, -1].abs().max() > 1e-3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_rounds_the_rotated_vectors_alone(dtype: torch.dtype) -> None:
    operator = RotaryAttention(1, 16, 4096, 0.0)
    x = torch.randn(1, 1, 4096, 16).to(dtype)
    ctx = SequenceContext(torch.tensor([4096]), 4096)
    turned, exact = operator._rotated(x, ctx), operator._rotated(x.double(), ctx)
    assert turned.dtype == dtype
    half_a_unit = torch.finfo(dtype).eps / 2 * exact.abs()
    assert ((turned.double() - exact).abs() <= 1.01 * half_a_unit + 1e-6).all()


def test_angles_do_not_lose_precision_with_the_slot() -> None:
    """In float32 a history at slots near 4,000 gives what it gives at the start, up to float32's rounding."""
    operator = RotaryAttention(1, 16, 4096, 0.0)
    q, k, v = (x.float() for x in make(1, 1, 6, 16))
    ctx = SequenceContext(torch.tensor([6]), 6)
    late = operator(q, k, v, SequenceContext(torch.tensor([6]), 6, 4090))
    torch.testing.assert_close(late, operator(q, k, v, ctx), rtol=0, atol=1e-5)
