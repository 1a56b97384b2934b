"""Linear attention: its quadratic form, a recurrence, chunks of any size, and memory that grows with T alone."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from attnrec.attention import SequenceContext
from attnrec.attention.linear import LinearAttention, causal_sums, positive_features
from tests.attention.conftest import DIM, build, close, context, inputs, real_rows


def feature(x: float) -> float:
    return x + 1 if x > 0 else math.exp(x)


def oracle(q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
    """sum_s (phi(q_t) . phi(k_s)) v_s / sum_s phi(q_t) . phi(k_s), a row, a head and a query at a time."""
    out = torch.zeros_like(v)
    for row, columns, _ in real_rows(ctx):
        for head in range(q.shape[1]):
            queries, keys = (
                [[feature(float(x)) for x in item] for item in tensor[row, head, columns]] for tensor in (q, k)
            )
            for t, query in enumerate(queries):
                weights = [sum(a * b for a, b in zip(query, key, strict=True)) for key in keys[: t + 1]]
                total = sum(w * v[row, head, columns.start + s] for s, w in enumerate(weights))
                out[row, head, columns.start + t] = total / sum(weights)
    return out


@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("width", [1, 6, 13])
@pytest.mark.parametrize("chunk", [1, 4, 64])
def test_forward_is_the_oracle(heads: int, width: int, chunk: int) -> None:
    operator = build(f"linear:chunk={chunk}", heads)
    q, k, v = (x.detach() for x in inputs(4, heads, width))
    ctx = context([0, 1, (width + 1) // 2, width], width)
    close(operator(q, k, v, ctx), oracle(q, k, v, ctx))


@pytest.mark.parametrize("chunk", [1, 2, 7, 50, 199, 200, 1000])
def test_chunks_are_exact(chunk: int) -> None:
    """Against the T x T product, forward and gradients."""
    q, k = (torch.rand(1, 2, 200, DIM, dtype=torch.float64, requires_grad=True) for _ in range(2))
    v = torch.randn(1, 2, 200, 4, dtype=torch.float64, requires_grad=True)
    outs = (causal_sums(q, k, v, chunk), (q @ k.transpose(-1, -2)).tril() @ v)
    (one, one_grads), (other, other_grads) = ((x, torch.autograd.grad(x.sin().sum(), (q, k, v))) for x in outs)
    torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-11)
    for a, b in zip(one_grads, other_grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-9)


def test_features_are_accurate_where_elu_plus_one_is_zero() -> None:
    x = torch.tensor([-80.0, -30.0, -18.0, -1.0, 0.0, 2.0])
    expected = torch.tensor([feature(float(value)) for value in x])
    torch.testing.assert_close(positive_features(x), expected, rtol=1e-6, atol=0)
    assert not (torch.nn.functional.elu(x) + 1)[:3].any()


@pytest.mark.parametrize("shift", [-30.0, -200.0, 30.0])
def test_strongly_negative_or_positive_keys_stay_finite(shift: float) -> None:
    operator = LinearAttention(2, DIM, 20, 0.0)
    q, k, v = (x.detach().float() for x in inputs(2, 2, 9))
    leaves = [x.requires_grad_() for x in (q, k + shift, v)]
    out = operator(*leaves, context([4, 9], 9))
    assert out.isfinite().all()
    assert all(grad.isfinite().all() for grad in torch.autograd.grad(out.square().sum(), leaves))
    if shift == -30:  # features of size e^-30 cancel in the quotient, as they do in float64
        wanted = operator(*(x.double() for x in leaves), context([4, 9], 9))
        torch.testing.assert_close(out.double(), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("dtype", "units"), [(torch.float32, 64), (torch.bfloat16, 1), (torch.float16, 1)])
def test_sums_over_long_histories_are_accurate(dtype: torch.dtype, units: int) -> None:
    """Late in 2,000 slots, where outputs are small averages: a few units of float32; below it, that of rounding."""
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 1, 2000, 16).to(dtype) for _ in range(3))
    operator = LinearAttention(1, 16, 2000, 0.0)
    ctx = SequenceContext(torch.tensor([2000]), 2000)
    plain, wanted = operator(q, k, v, ctx), operator(*(x.double() for x in (q, k, v)), ctx)
    error, size = (plain - wanted)[:, :, 1000:].abs().max(), wanted[:, :, 1000:].abs().max()
    assert error < units * torch.finfo(dtype).eps * size
    with torch.autocast("cpu", torch.bfloat16):
        assert operator(q, k, v, ctx).equal(plain)


def test_memory_grows_with_the_number_of_slots() -> None:
    """What is kept for the backward pass doubles with T, and no part of it is T x T."""
    kept = {n: kept_bytes(n) for n in (512, 1024, 2048)}
    for n in (512, 1024):
        assert 1.8 < kept[2 * n][0] / kept[n][0] < 2.2
    assert kept[2048][1] < 2048 * 2048 * 4 / 8


def kept_bytes(n: int) -> tuple[int, int]:
    """All bytes kept for the backward pass over n slots, and the largest tensor among them."""
    operator = LinearAttention(1, 32, n, 0.0)
    leaves = [torch.randn(1, 1, n, 32, requires_grad=True) for _ in range(3)]
    sizes: dict[int, int] = {}
    alive = []

    def keep(tensor: Tensor) -> Tensor:
        alive.append(tensor)  # or its address would be used again
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        operator(*leaves, SequenceContext(torch.tensor([n]), n))
    return sum(sizes.values()), max(sizes.values())
