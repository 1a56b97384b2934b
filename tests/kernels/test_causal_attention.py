"""The kernels against plain torch in float64: in the interpreter, or on a GPU where there is one (`pytest -m gpu`)."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

triton = pytest.importorskip("triton")
from attnrec.attention import SequenceContext, build_attention  # noqa: E402
from attnrec.attention.packing import make_packing  # noqa: E402
from attnrec.core.errors import InputError  # noqa: E402
from attnrec.kernels.causal_attention import (  # noqa: E402
    causal_attention,
    causal_attention_reference,
    packed_causal_attention,
)
from attnrec.kernels.shared.triton import dropout_threshold, kept_weights  # noqa: E402

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
# no worse than a few roundings of the narrow type, of sums whose terms are of size 1
TOLERANCE = {torch.float32: 2e-5, torch.float16: 1e-2, torch.bfloat16: 8e-2}


def inputs(
    lengths: list[int], heads: int, width: int, dim: int, value_dim: int, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """q, k, v and the lengths; padding holds NaN."""
    torch.manual_seed(0)
    count = torch.tensor(lengths, device=DEVICE)
    padding = torch.arange(width, device=DEVICE) < width - count[:, None]
    tensors = []
    for size in (dim, dim, value_dim):
        x = torch.randn(len(lengths), heads, width, size, device=DEVICE, dtype=dtype)
        tensors.append(x.masked_fill(padding[:, None, :, None], math.nan).requires_grad_())
    q, k, v = tensors
    return q, k, v, count


def reference(q: Tensor, k: Tensor, v: Tensor, count: Tensor, grad: Tensor, **options: Any) -> list[Tensor]:
    """Output and gradients in float64; padding, which a reference would multiply by 0, holds 0."""
    wide: Any = [x.detach().double().nan_to_num(0.0).requires_grad_() for x in (q, k, v)]
    out = causal_attention_reference(wide[0], wide[1], wide[2], count, **options)
    return [out.detach(), *torch.autograd.grad(out, wide, grad.double())]


def check(q: Tensor, k: Tensor, v: Tensor, count: Tensor, factors: Tensor | None = None, **options: Any) -> None:
    """Forward and every gradient against the reference, zeros at padding."""
    poison()
    out = causal_attention(q, k, v, count, **options)
    grad = torch.randn_like(out)
    poison()
    found = [out.detach(), *torch.autograd.grad(out, (q, k, v), grad)]
    scale = options.get("scale")
    expected = reference(q, k, v, count, grad, scale=scale, weight_factors=factors)
    padding = torch.arange(q.shape[2], device=DEVICE) < q.shape[2] - count[:, None]
    for one, other in zip(found, expected, strict=True):
        size = max(1.0, float(other.abs().max()))
        assert (one.double() - other).abs().max() <= TOLERANCE[q.dtype] * size
        assert not one.masked_select(padding[:, None, :, None]).any()


def poison() -> None:
    """Let memory that is about to be allocated hold NaN."""
    blocks = [torch.full((size,), math.nan, device=DEVICE) for size in (1 << 8, 1 << 12, 1 << 16) for _ in range(4)]
    del blocks


@pytest.fixture(autouse=True)
def _no_memory_is_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs are NaN until a kernel writes them."""
    from attnrec.kernels.causal_attention import ops

    def poisoned(function: Any) -> Any:
        return lambda *arguments: tuple(x.fill_(math.nan) for x in function(*arguments))

    for name in ("_empty_outputs", "_empty_gradients"):
        monkeypatch.setattr(ops, name, poisoned(getattr(ops, name)))


@pytest.mark.parametrize("dim", [16, 50, 64, 128])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_widths_and_types(dim: int, dtype: torch.dtype) -> None:
    check(*inputs([0, 1, 17, 70], 2, 70, dim, dim, dtype))


@pytest.mark.parametrize(("width", "lengths"), [(1, [0, 1]), (2, [2, 1]), (33, [33, 32, 31]), (64, [64]), (200, [130])])
def test_lengths_around_the_tiles(width: int, lengths: list[int]) -> None:
    check(*inputs(lengths, 1, width, 16, 32))


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=3),
    extra=st.integers(0, 5),
    heads=st.integers(1, 3),
    dim=st.integers(1, 70),
    value_dim=st.integers(1, 70),
)
def test_any_shape(lengths: list[int], extra: int, heads: int, dim: int, value_dim: int) -> None:
    check(*inputs(lengths, heads, max(1, max(lengths) + extra), dim, value_dim))


def test_scale_strides_and_no_lengths() -> None:
    q, k, v, count = inputs([20, 20], 2, 20, 16, 16)
    check(q, k, v, count, scale=0.7)
    whole = causal_attention(q, k, v)
    assert whole.equal(causal_attention(q, k, v, count))
    moved: Any = [x.detach().transpose(1, 2).contiguous().transpose(1, 2) for x in (q, k, v)]
    assert not moved[0].is_contiguous()
    assert causal_attention(*moved).equal(whole)
    spread: Any = [torch.stack([x.detach(), x.detach()], -1).flatten(-2)[..., ::2] for x in (q, k, v)]
    assert spread[0].stride(-1) == 2
    assert causal_attention(*spread).equal(whole)


@pytest.mark.parametrize(("p", "dim"), [(0.1, 16), (0.5, 50)])
def test_dropout_against_the_same_mask(p: float, dim: int) -> None:
    """Forward and backward, which tile differently, drop the same weights: those that `kept_weights` shows."""
    lengths = [70, 0, 33]
    q, k, v, count = inputs(lengths, 2, 70, dim, dim)
    kept = kept_weights(3, 2, 70, 9, p, DEVICE)
    factors = torch.zeros(3, 2, 70, 70, dtype=torch.float64, device=DEVICE)
    for row, n in enumerate(lengths):
        factors[row, :, 70 - n :, 70 - n :] = kept[row, :, :n, :n] * dropout_threshold(p)[1]
    check(q, k, v, count, factors, dropout_p=p, seed=9)


def test_what_dropout_keeps() -> None:
    """As many weights as it should, independently of row, column, head and seed."""
    kept = kept_weights(2, 2, 128, 5, 0.3, DEVICE).double()
    draws = kept.numel()
    assert abs(float(kept.mean()) - 0.7) < 5 * math.sqrt(0.21 / draws)
    for axis in (0, 1, 2, 3):
        means = kept.mean([other for other in range(4) if other != axis])
        assert (means - 0.7).abs().max() < 6 * math.sqrt(0.21 * len(means) / draws)
    for other in (
        kept.roll(1, 2),
        kept.roll(1, 3),
        kept.roll(2, 3),
        kept.roll(4, 3),
        kept.flip(1),
        kept.flip(0),
        kept_weights(2, 2, 128, 6, 0.3, DEVICE).double(),
    ):
        correlation = ((kept - 0.7) * (other - 0.7)).mean() / 0.21
        assert abs(float(correlation)) < 6 / math.sqrt(draws)
    assert kept.equal(kept_weights(2, 2, 128, 5, 0.3, DEVICE).double())


def test_a_seed_is_drawn_from_torchs_generator() -> None:
    q, k, v, count = inputs([16], 1, 16, 16, 16)
    torch.manual_seed(1)
    first, second = (causal_attention(q, k, v, count, dropout_p=0.5) for _ in range(2))
    assert not first.equal(second)
    torch.manual_seed(1)
    assert causal_attention(q, k, v, count, dropout_p=0.5).equal(first)


def test_trimming_and_packing_change_nothing() -> None:
    lengths = [3, 20, 41]
    q, k, v, count = (x.detach() for x in inputs(lengths, 2, 60, 16, 32))
    whole = causal_attention(q, k, v, count, dropout_p=0.2, seed=3)
    trimmed = causal_attention(q[:, :, 19:], k[:, :, 19:], v[:, :, 19:], count, dropout_p=0.2, seed=3)
    assert whole[:, :, 19:].equal(trimmed)
    packed = [_packed(x, lengths).requires_grad_() for x in (q, k, v)]
    starts = torch.tensor([0, 3, 23], device=DEVICE)
    rows = packed_causal_attention(packed[0], packed[1], packed[2], starts, count, 41, dropout_p=0.2, seed=3)
    assert rows.equal(_packed(whole, lengths))
    padded: Any = [x.clone().requires_grad_() for x in (q, k, v)]
    grad = torch.randn_like(rows)
    wide_grad = torch.zeros_like(whole)
    place = 0
    for row, n in enumerate(lengths):
        wide_grad[row, :, 60 - n :] = grad[place : place + n].transpose(0, 1)
        place += n
    found = torch.autograd.grad(rows, packed, grad)
    out = causal_attention(padded[0], padded[1], padded[2], count, dropout_p=0.2, seed=3)
    wanted = torch.autograd.grad(out, padded, wide_grad)
    for one, other in zip(found, wanted, strict=True):
        assert one.equal(_packed(other, lengths))


def test_backward_is_deterministic() -> None:
    q, k, v, count = inputs([70, 50], 2, 70, 32, 32)
    out = causal_attention(q, k, v, count)
    grad = torch.randn_like(out)
    first, second = (torch.autograd.grad(out, (q, k, v), grad, retain_graph=True) for _ in range(2))
    assert all(one.equal(other) for one, other in zip(first, second, strict=True))


def test_nothing_to_do() -> None:
    q = torch.zeros(0, 2, 5, 16, device=DEVICE)
    assert causal_attention(q, q, q).shape == (0, 2, 5, 16)
    empty = torch.zeros(2, 1, 4, 16, device=DEVICE, requires_grad=True)
    out = causal_attention(empty, empty, empty, torch.tensor([0, 0], device=DEVICE))
    assert not out.any()
    out.sum().backward()
    assert empty.grad is not None
    assert not empty.grad.any()


@pytest.mark.filterwarnings("ignore")
def test_as_a_torch_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Schema, fake implementation and autograd registration are consistent."""
    monkeypatch.undo()  # opcheck compares outputs with those of the fake
    q, k, v, _ = inputs([6, 6], 2, 6, 16, 32)
    lengths = torch.tensor([6, 6], dtype=torch.int32, device=DEVICE)
    arguments = (q, k, v, torch.zeros_like(lengths), lengths, 6, 0.25, 0.0, 0, "ieee")
    torch.library.opcheck(torch.ops.attnrec.causal_attention.default, arguments)


def test_autocast() -> None:
    q, k, v, count = inputs([6, 3], 1, 8, 16, 16)
    with torch.autocast(DEVICE.type, torch.bfloat16):
        out = causal_attention(q, k, v, count)
    assert out.dtype == torch.bfloat16
    out.float().sum().backward()
    assert q.grad is not None
    assert q.grad.dtype == torch.float32


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"q": torch.zeros(2, 4, 16)}, ValueError, "must have 4 axes"),
        ({"k": torch.zeros(2, 1, 5, 16)}, ValueError, "q and k must have the same shape"),
        ({"v": torch.zeros(2, 2, 4, 16)}, ValueError, "v the same except for its last axis"),
        ({"q": torch.zeros(2, 1, 4, 16).double()}, TypeError, "must all be float32, float16 or bfloat16"),
        ({"v": torch.zeros(2, 1, 4, 129)}, ValueError, "the width of v must be 1 to 128, not 129"),
        ({"lengths": torch.tensor([1])}, ValueError, r"lengths must be whole numbers of shape \[2\]"),
        ({"lengths": torch.tensor([1.0, 2.0])}, ValueError, "lengths must be whole numbers"),
        ({"dropout_p": 1.0}, ValueError, "dropout_p must be at least 0 and below 1, not 1.0"),
        ({"scale": math.inf}, ValueError, "scale must be finite"),
        ({"precision": "fp64"}, ValueError, "precision 'fp64' is not one of ieee, tf32x3, tf32"),
    ],
)
def test_bad_arguments_are_named(change: dict[str, Any], error: type[Exception], message: str) -> None:
    x = torch.zeros(2, 1, 4, 16)
    arguments: dict[str, Any] = {"q": x, "k": x, "v": x, "lengths": torch.tensor([4, 2])} | change
    arguments = {key: value.to(DEVICE) if isinstance(value, Tensor) else value for key, value in arguments.items()}
    with pytest.raises(error, match=message):
        causal_attention(arguments.pop("q"), arguments.pop("k"), arguments.pop("v"), **arguments)


def test_the_operator_is_sdpa() -> None:
    lengths = [2, 5, 9]
    packing = make_packing(torch.tensor(lengths).numpy(), 12, 2, device=DEVICE)
    q, k, v = (torch.randn(16, 2, 8, device=DEVICE) for _ in range(3))
    ours, theirs = (build_attention(name, 2, 8, 12, 0.0) for name in ("triton", "sdpa"))
    torch.testing.assert_close(ours.forward_packed(q, k, v, packing), theirs.forward_packed(q, k, v, packing))
    q, k, v = (torch.randn(3, 2, 10, 8, device=DEVICE) for _ in range(3))
    ctx = SequenceContext(torch.tensor(lengths, device=DEVICE), 10)
    torch.testing.assert_close(ours(q, k, v, ctx), theirs(q, k, v, ctx))


@pytest.mark.parametrize(
    ("spec", "head_dim", "width"),
    [("triton", 130, 130), ("awr:impl=triton", 130, 130), ("awr:impl=triton,width=129", 16, 129)],
)
def test_widths_that_the_kernels_do_not_take(spec: str, head_dim: int, width: int) -> None:
    operator = build_attention(spec, 1, head_dim, 10, 0.0)
    with pytest.raises(InputError, match=f"width {width} is above 128"):
        operator.check_device(DEVICE)


def _packed(x: Tensor, lengths: list[int]) -> Tensor:
    """[B, H, T, D] to the rows [N, H, D] that are real."""
    return torch.cat([x[row, :, x.shape[2] - n :].transpose(0, 1) for row, n in enumerate(lengths)])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_one_line_says_what_to_use() -> None:
    code = (
        "import torch; from attnrec.kernels.causal_attention import causal_attention as a; x = torch.zeros(1, 1, 2, 4)"
    )
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    command = [sys.executable, "-c", f"{code}; a(*torch.zeros(3, 1, 1, 2, 4))"]
    asked = subprocess.run(command, capture_output=True, text=True, env=environment)
    last = asked.stderr.strip().splitlines()[-1]
    assert last.startswith("RuntimeError: the Triton kernels need an NVIDIA GPU, but the tensors are on cpu; use ")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_compiled_on_a_gpu(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    q, k, v, count = inputs([200, 150, 3], 2, 200, 64, 64, dtype)
    eager = causal_attention(q, k, v, count)
    compiled = torch.compile(causal_attention)(q, k, v, count)
    torch.testing.assert_close(compiled, eager)
