"""Vanilla attention against a plain loop in float64, in every layout."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from attnrec.attention import SequenceContext
from attnrec.attention.packing import make_packing
from attnrec.attention.sdpa import ScaledDotProductAttention


def oracle(q: Tensor, k: Tensor, v: Tensor, lengths: Tensor) -> Tensor:
    """One query at a time, over the real keys up to it."""
    out = torch.zeros_like(v)
    width = q.shape[2]
    for row, length in enumerate(lengths.tolist()):
        for t in range(width - length, width):
            keys = slice(width - length, t + 1)
            scores = torch.einsum("hd,hsd->hs", q[row, :, t], k[row, :, keys]) / math.sqrt(q.shape[-1])
            out[row, :, t] = torch.einsum("hs,hsd->hd", scores.softmax(-1), v[row, :, keys])
    return out


def make(heads: int, width: int, value_dim: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    q, k = (torch.randn(4, heads, width, 6, dtype=torch.float64) for _ in range(2))
    return q, k, torch.randn(4, heads, width, value_dim, dtype=torch.float64)


@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("width", [1, 5, 70])
def test_forward_is_the_oracle(heads: int, width: int) -> None:
    q, k, v = make(heads, width)
    lengths = torch.tensor([0, 1, (width + 1) // 2, width])
    operator = ScaledDotProductAttention(heads, 6, 100, 0.0)
    expected = oracle(q, k, v, lengths)
    ctx = SequenceContext(lengths, width)
    torch.testing.assert_close(operator(q, k, v, ctx), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(operator.weights(q, k, ctx) @ v, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_packed_is_padded(groups: int) -> None:
    lengths = np.array([1, 3, 3, 8])
    packing = make_packing(lengths, 10, groups)
    q, k, v = (torch.randn(15, 2, 6, dtype=torch.float64, requires_grad=True) for _ in range(3))
    operator = ScaledDotProductAttention(2, 6, 10, 0.0)
    direct = operator.forward_packed(q, k, v, packing)
    through_padding = super(ScaledDotProductAttention, operator).forward_packed(q, k, v, packing)
    torch.testing.assert_close(direct, through_padding, rtol=1e-12, atol=1e-12)
    weight = torch.randn_like(direct)
    for one, other in zip(
        torch.autograd.grad((direct * weight).sum(), (q, k, v)),
        torch.autograd.grad((through_padding * weight).sum(), (q, k, v)),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-12)


def test_gradients() -> None:
    q, k, v = (x[:3].requires_grad_() for x in make(2, 5))
    operator = ScaledDotProductAttention(2, 6, 10, 0.0)
    ctx = SequenceContext(torch.tensor([0, 2, 5]), 5)
    assert torch.autograd.gradcheck(lambda q, k, v: operator(q, k, v, ctx), (q, k, v))


def test_no_gradient_flows_from_the_future_or_from_padding() -> None:
    q, k, v = (x.requires_grad_() for x in make(1, 6))
    lengths = torch.tensor([0, 2, 4, 6])
    out = ScaledDotProductAttention(1, 6, 10, 0.0)(q, k, v, SequenceContext(lengths, 6))
    for t in range(6):
        grads = torch.autograd.grad(out[:, :, t].sum(), (q, k, v), retain_graph=True)
        for grad in grads:
            assert grad[:, :, t + 1 :].abs().max() == 0 if t < 5 else True
            for row, length in enumerate(lengths.tolist()):
                assert (grad[row, :, : 6 - length] == 0).all()
            assert grad.isfinite().all()


def test_weights_are_a_causal_distribution() -> None:
    q, k, _ = make(2, 5)
    ctx = SequenceContext(torch.tensor([0, 1, 3, 5]), 5)
    weights = ScaledDotProductAttention(2, 6, 10, 0.0).weights(q, k, ctx)
    assert (weights.masked_select(~ctx.mask().expand_as(weights)) == 0).all()
    torch.testing.assert_close(weights.sum(-1), ctx.real()[:, None].expand(-1, 2, -1).double())


def test_dropout_of_weights_acts_in_training_alone() -> None:
    q, k, v = make(1, 8)
    ctx = SequenceContext(torch.tensor([8, 8, 8, 8]), 8)
    operator = ScaledDotProductAttention(1, 6, 10, 0.5)
    assert not operator(q, k, v, ctx).equal(operator(q, k, v, ctx))
    mean = torch.stack([operator(q, k, v, ctx) for _ in range(3000)]).mean(0)
    operator.eval()
    expected = operator(q, k, v, ctx)
    assert expected.equal(operator(q, k, v, ctx))
    assert (mean - expected).abs().mean() < 0.05  # 3000 draws of a spread about 1
