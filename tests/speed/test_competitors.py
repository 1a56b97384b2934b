"""Every competitor computes what the operator `sdpa` computes, in value and in gradient."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from attnrec.attention import build_attention
from attnrec.attention.packing import make_packing
from attnrec.core.errors import InputError
from attnrec.speed.competitors import COMPETITORS, is_competitor

LENGTHS = np.array([1, 2, 5, 9, 9, 20])
ON_THE_CPU = ["torch:mask", "torch:math", "torch:flash"]


def packed(device: str, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """q, k, v [N, 2, 16], of which gradients are wanted, and the gradient of the output."""
    tensors = torch.randn(4, int(LENGTHS.sum()), 2, 16, device=device).to(dtype).unbind()
    return (*(x.clone().requires_grad_() for x in tensors[:3]), tensors[3])


def value_and_gradients(compute: Any, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    out = compute(*inputs[:3])
    return [out, *torch.autograd.grad(out, inputs[:3], inputs[3])]


def by_sdpa(inputs: tuple[Tensor, ...], packing: Any) -> list[Tensor]:
    """In float64, which only its mathematics can tell from the competitor."""
    operator = build_attention("sdpa", 2, 16, 20, 0.0)
    wide = tuple(x.detach().double().requires_grad_(x.requires_grad) for x in inputs)
    return value_and_gradients(lambda q, k, v: operator.forward_packed(q, k, v, packing), wide)


@pytest.mark.parametrize("name", ON_THE_CPU)
def test_on_the_cpu(name: str) -> None:
    packing = make_packing(LENGTHS, 20, groups=4)
    inputs = packed("cpu", torch.float32)
    found = value_and_gradients(COMPETITORS[name](packing).forward_packed, inputs)
    for one, other in zip(found, by_sdpa(inputs, packing), strict=True):
        assert one.shape == other.shape
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-5)


def test_flex_on_the_cpu_in_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """Uncompiled, which takes no compiler; it has no gradient on a CPU."""
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    packing = make_packing(LENGTHS, 20, groups=4)
    inputs = packed("cpu", torch.float32)
    competitor = COMPETITORS["torch:flex"](packing)
    assert competitor.setup_seconds is not None
    assert competitor.setup_seconds > 0
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is slow uncompiled
        found = competitor.forward_packed(*inputs[:3])
    torch.testing.assert_close(found.double(), by_sdpa(inputs, packing)[0], rtol=1e-5, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("name", COMPETITORS)
def test_on_a_gpu(name: str) -> None:
    """The error is at most three times that of plain torch (`torch:math`) in the same precision."""
    packing = make_packing(LENGTHS, 20, groups=4, device="cuda")
    inputs = packed("cuda", torch.bfloat16)
    wanted = by_sdpa(inputs, packing)
    plain = value_and_gradients(COMPETITORS["torch:math"](packing).forward_packed, inputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the compiler, and of kernels that are passed over
        try:
            found = value_and_gradients(COMPETITORS[name](packing).forward_packed, inputs)
        except InputError as error:
            pytest.skip(str(error))
    for one, known, exact in zip(found, plain, wanted, strict=True):
        limit = 3 * float((known.double() - exact).abs().max()) + 1e-3
        assert float((one.double() - exact).abs().max()) <= limit


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("name", ["torch:efficient", "torch:cudnn", "torch:nested", "torch:varlen"])
def test_one_that_cannot_run_here_says_so(name: str) -> None:
    inputs = packed("cpu", torch.float32)
    with pytest.raises(InputError, match=r"torch has no .* kernel for this in float32 on cpu|only on an NVIDIA GPU"):
        COMPETITORS[name](make_packing(LENGTHS, 20)).forward_packed(*inputs[:3])


def test_names() -> None:
    assert is_competitor("torch:mask")
    assert not is_competitor("sdpa")
    with pytest.raises(InputError, match="unknown competitor 'torch:flas'; did you mean torch:flash"):
        is_competitor("torch:flas")
