"""Entmax: against roots found by bisection, its gradient, sparsity, and rows with nothing to attend to."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from attnrec.attention import SequenceContext
from attnrec.attention.entmax import masked_entmax
from tests.attention.conftest import DIM, build, close, context, inputs, real_rows

ALPHAS = [1.5, 2.0]


def bisected(z: list[float], alpha: float) -> list[float]:
    """max((alpha - 1) z - tau, 0)^(1 / (alpha - 1)) with the tau, found by halving, for which it sums to one."""
    x = [(alpha - 1) * value for value in z]
    low, high = max(x) - 1, max(x)
    for _ in range(200):
        tau = (low + high) / 2
        total = sum(max(value - tau, 0.0) ** (1 / (alpha - 1)) for value in x)
        low, high = (tau, high) if total > 1 else (low, tau)
    return [max(value - tau, 0.0) ** (1 / (alpha - 1)) for value in x]


def oracle(alpha: float, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
    out = torch.zeros_like(v)
    for row, columns, _ in real_rows(ctx):
        for head in range(q.shape[1]):
            for i, query in enumerate(q[row, head, columns]):
                scores = (k[row, head, columns][: i + 1] @ query / math.sqrt(DIM)).tolist()
                weights = torch.tensor(bisected(scores, alpha), dtype=torch.float64)
                out[row, head, columns.start + i] = weights @ v[row, head, columns][: i + 1]
    return out


@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("width", [1, 6, 13])
@pytest.mark.parametrize("alpha", ALPHAS)
def test_forward_is_the_oracle(heads: int, width: int, alpha: float) -> None:
    operator = build(f"entmax:alpha={alpha:g}", heads)
    q, k, v = (x.detach() for x in inputs(4, heads, width))
    ctx = context([0, 1, (width + 1) // 2, width], width)
    expected = oracle(alpha, q, k, v, ctx)
    close(operator(q, k, v, ctx), expected)
    close(operator.weights(q, k, ctx) @ v, expected)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize(("size", "sparse"), [(0.001, False), (1.0, True), (5.0, True), (1e4, True), (1e30, True)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_are_sparse_distributions(alpha: float, size: float, sparse: bool, dtype: torch.dtype) -> None:
    """However large the scores: their squares may overflow."""
    torch.manual_seed(4)
    z = size * torch.randn(50, 40, dtype=dtype)
    mask = torch.rand(50, 40) < 0.7
    weights = masked_entmax(z, mask, alpha)
    torch.testing.assert_close(weights.sum(-1), torch.ones(50, dtype=dtype))
    assert (weights >= 0).all()
    assert not weights[~mask].any()
    zeros = float(((weights == 0) & mask).sum() / mask.sum())
    assert zeros > 0.3 if sparse else zeros == 0


@pytest.mark.parametrize("alpha", ALPHAS)
def test_sorting_finds_the_root_that_halving_finds(alpha: float) -> None:
    """For alpha = 2 the root gives the projection onto the simplex."""
    torch.manual_seed(4)
    z = torch.randn(30, 40, dtype=torch.float64) * torch.logspace(-2, 2, 30, dtype=torch.float64)[:, None]
    mask = torch.rand(30, 40) < 0.7
    weights = masked_entmax(z, mask, alpha)
    for row in range(30):
        expected = bisected(z[row, mask[row]].tolist(), alpha)
        close(weights[row, mask[row]], torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("alpha", ALPHAS)
def test_ties_share_and_a_clear_winner_takes_all(alpha: float) -> None:
    everything = torch.ones(1, 4, dtype=torch.bool)
    tied = masked_entmax(torch.tensor([[3.0, 3.0, -50.0, 3.0]]), everything, alpha)
    torch.testing.assert_close(tied, torch.tensor([[1 / 3, 1 / 3, 0.0, 1 / 3]]))
    margin = 1 / (alpha - 1) + 1e-3  # further below the first, an entry has no weight
    won = masked_entmax(torch.tensor([[0.0, -margin, -margin - 1, -margin]]), everything, alpha)
    torch.testing.assert_close(won, torch.tensor([[1.0, 0.0, 0.0, 0.0]]))
    assert not won[0, 1:].any()


@pytest.mark.parametrize("alpha", ALPHAS)
def test_a_row_without_any_key_is_zero_and_passes_no_gradient(alpha: float) -> None:
    z = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[False] * 5, [True] * 5, [False] * 4 + [True]])
    weights = masked_entmax(z, mask, alpha)
    assert not weights[0].any()
    assert weights[2].tolist() == [0.0, 0.0, 0.0, 0.0, 1.0]
    (grad,) = torch.autograd.grad((weights * torch.randn(5, dtype=torch.float64)).sum(), z)
    assert not grad[[0, 2]].any()
    assert grad[1].any()


@pytest.mark.parametrize("alpha", ALPHAS)
def test_gradient_is_that_of_differences(alpha: float) -> None:
    torch.manual_seed(5)
    z = torch.randn(6, 8, dtype=torch.float64, requires_grad=True)
    mask = torch.arange(8) <= torch.arange(2, 8)[:, None]
    assert torch.autograd.gradcheck(lambda z: masked_entmax(2 * z, mask, alpha), z)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_lower_precision_rounds_the_result_alone(alpha: float, dtype: torch.dtype) -> None:
    """Inside, float32 at least is used: over 1,000 keys the error stays that of rounding the weights."""
    torch.manual_seed(6)
    z = torch.randn(20, 1000).to(dtype)
    mask = torch.ones(20, 1000, dtype=torch.bool)
    weights, exact = masked_entmax(z, mask, alpha), masked_entmax(z.double(), mask, alpha)
    assert weights.dtype == dtype
    assert (weights.double() - exact).abs().max() < torch.finfo(dtype).eps + 1e-4 * (dtype == torch.float32)
