"""Linear biases: the published slopes, and a plain loop in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from attnrec.attention import SequenceContext
from attnrec.attention.alibi import AlibiAttention, alibi_slopes
from tests.attention.conftest import DIM, build, close, context, inputs, real_rows


@pytest.mark.parametrize(
    ("heads", "slopes"),
    [
        (1, [2**-8]),
        (2, [2**-4, 2**-8]),
        (8, [1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64, 1 / 128, 1 / 256]),
        (16, [2 ** (-number / 2) for number in range(1, 17)]),
        (3, [2**-4, 2**-8, 2**-2]),
        (6, [2**-2, 2**-4, 2**-6, 2**-8, 2**-1, 2**-3]),
        (12, [2**-number for number in range(1, 9)] + [2**-0.5, 2**-1.5, 2**-2.5, 2**-3.5]),
    ],
)
def test_slopes_are_the_published_ones(heads: int, slopes: list[float]) -> None:
    assert alibi_slopes(heads) == pytest.approx(slopes, rel=1e-15)


def oracle(slopes: list[float], q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
    """softmax(q_i . k_j / sqrt(d) + m_h [-(i - 1), ..., -1, 0]), a row, a head and a query at a time."""
    out = torch.zeros_like(v)
    for row, columns, _ in real_rows(ctx):
        keys, values = k[row, :, columns], v[row, :, columns]
        for head, slope in enumerate(slopes):
            for i, query in enumerate(q[row, head, columns]):
                scores = [float(query @ keys[head, j]) / math.sqrt(DIM) - slope * (i - j) for j in range(i + 1)]
                weights = torch.tensor(scores, dtype=torch.float64).softmax(0)
                out[row, head, columns.start + i] = weights @ values[head, : i + 1]
    return out


@pytest.mark.parametrize("heads", [1, 3, 8])
@pytest.mark.parametrize("width", [1, 6, 13])
@pytest.mark.parametrize("scale", [1.0, 8.0])
def test_forward_is_the_oracle(heads: int, width: int, scale: float) -> None:
    operator = build(f"alibi:scale={scale}", heads)
    q, k, v = (x.detach() for x in inputs(4, heads, width))
    ctx = context([0, 1, (width + 1) // 2, width], width)
    expected = oracle([scale * slope for slope in alibi_slopes(heads)], q, k, v, ctx)
    close(operator(q, k, v, ctx), expected)
    close(operator.weights(q, k, ctx) @ v, expected)


def test_equal_scores_leave_the_bias_alone() -> None:
    """With queries of zero a weight falls by e^-m from each slot to the one before it."""
    operator = AlibiAttention(8, DIM, 20, 0.0)
    q = torch.zeros(1, 8, 5, DIM, dtype=torch.float64)
    last = operator.weights(q, q, context([5], 5))[0, :, -1]
    ratios = last[:, :-1] / last[:, 1:]
    close(ratios, torch.exp(-operator.slopes)[:, None].expand(-1, 4))


def test_nothing_is_learned_or_saved() -> None:
    assert not list(AlibiAttention(4, DIM, 20, 0.0).parameters())
    assert not AlibiAttention(4, DIM, 20, 0.0).state_dict()
