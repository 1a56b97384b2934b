"""How the time and memory of an operator grow with sequence length n and head width d: the claim is O(n^2 d).

    pytest benchmarks/test_operator_scaling.py --benchmark-columns=median,iqr

One sequence, one head, float32; on a GPU 16 sequences, and the kernels as well. At the end, the exponents of
time = c n^a d^b are fitted by least squares on logarithms over n >= 1024, and printed. a stays below 2 and b below 1
if softmax and memory traffic, which do not grow with d, take much of the time.
"""

from __future__ import annotations

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from attnrec.attention import AttentionOperator, SequenceContext, build_attention
from attnrec.core.measuring import kept_for_backward
from benchmarks.conftest import Scaling

LENGTHS = (64, 256, 1024, 2048, 4096)
WIDTHS = (16, 32, 64, 128)
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
BATCH = 16 if DEVICE.type == "cuda" else 1  # one sequence would leave most of a GPU idle
OPERATORS = {"sdpa": "sdpa", "awr": "awr:width=0", "awr, n x n": "awr:width=0,impl=reference"}
if DEVICE.type == "cuda":
    OPERATORS |= {"triton": "triton", "awr, triton": "awr:width=0,impl=triton"}
LARGEST = {"awr, n x n": 2048}


@pytest.mark.parametrize("what", ["forward", "forward and backward"])
@pytest.mark.parametrize("d", WIDTHS)
@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("name", OPERATORS)
def test_scaling(benchmark: BenchmarkFixture, scaling: Scaling, name: str, n: int, d: int, what: str) -> None:
    if n > LARGEST.get(name, n):
        pytest.skip(f"the n x n form is measured up to n = {LARGEST[name]}")
    operator = build_attention(OPERATORS[name], 1, d, n, 0.0).to(DEVICE)
    q, k, v = (torch.randn(BATCH, 1, n, d, requires_grad=True, device=DEVICE) for _ in range(3))
    ctx = SequenceContext(torch.full((BATCH,), n, device=DEVICE), n)
    benchmark.group = f"{name}, {what}"
    kept = kept_for_backward(lambda: operator(q, k, v, ctx))
    benchmark.extra_info["kept_for_backward_MB"] = round(kept / 1e6, 2)
    rounds = 15 if n <= 1024 else 5
    if what == "forward":
        with torch.no_grad():
            result = benchmark.pedantic(_forward, (operator, q, k, v, ctx), rounds=rounds, warmup_rounds=2)
        assert result.isfinite().all()
    else:
        benchmark.pedantic(_both_ways, (operator, q, k, v, ctx), rounds=rounds, warmup_rounds=2)
        assert q.grad is not None
        assert q.grad.isfinite().all()
    assert benchmark.stats is not None
    scaling.add(name, what, n, d, benchmark.stats.stats.median, kept)


def _forward(operator: AttentionOperator, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
    out: Tensor = operator(q, k, v, ctx)
    _wait()
    return out


def _both_ways(operator: AttentionOperator, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> None:
    operator(q, k, v, ctx).sum().backward()
    _wait()


def _wait() -> None:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
