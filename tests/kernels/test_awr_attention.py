"""The kernels of attention weight refinement against plain torch in float64, in the interpreter or on a GPU."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

pytest.importorskip("triton")
from attnrec.attention import SequenceContext, build_attention
from attnrec.attention.packing import make_packing
from attnrec.kernels import awr_attention, packed_awr_attention
from attnrec.kernels.awr_attention import awr_attention_reference
from attnrec.kernels.shared.triton import dropout_threshold, kept_weights

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
# float32: a few roundings; the narrow types round Q_A and K_A between the passes, to 2^-11 and 2^-8 of logits that
# reach a few units, and dx once more on the way back
TOLERANCE = {torch.float32: 3e-5, torch.float16: 2e-2, torch.bfloat16: 1.5e-1}
Inputs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def inputs(
    lengths: list[int],
    heads: int,
    width: int,
    dim: int,
    value_dim: int,
    rank: int,
    slots: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> tuple[Inputs, Tensor]:
    """q, k, v with NaN at padding, w_q, w_k and temperature; and the lengths."""
    torch.manual_seed(0)
    count = torch.tensor(lengths, device=DEVICE)
    padding = torch.arange(width, device=DEVICE) < width - count[:, None]
    q, k, v = (
        torch.randn(len(lengths), heads, width, size, device=DEVICE, dtype=dtype)
        .masked_fill(padding[:, None, :, None], math.nan)
        .requires_grad_()
        for size in (dim, dim, value_dim)
    )
    w_q, w_k = (torch.randn(heads, slots or width, rank, device=DEVICE, requires_grad=True) for _ in range(2))
    temperature = (0.5 + torch.rand(heads, device=DEVICE)).requires_grad_()
    return (q, k, v, w_q, w_k, temperature), count


def expected(given: Inputs, count: Tensor, grad: Tensor, **options: Any) -> list[Tensor]:
    """Output and gradients in float64; padding, which a reference would multiply by 0, holds 0."""
    wide = [x.detach().double().nan_to_num(0.0).requires_grad_() for x in given]
    q, k, v, w_q, w_k, _ = wide
    out = awr_attention_reference(q, k, v, w_q, w_k, count, temperature=wide[5], **options)
    return [out.detach(), *torch.autograd.grad(out, wide, grad.double(), allow_unused=True)]


def check(given: Inputs, count: Tensor, factors: Any = None, **options: Any) -> None:
    """Forward and every gradient against the reference, zeros at padding."""
    out = awr_attention(*given[:5], count, temperature=given[5], **options)
    grad = torch.randn_like(out)
    found = [out.detach(), *torch.autograd.grad(out, given, grad)]
    kept = {key: value for key, value in options.items() if key not in ("dropout_p", "seed")}
    wanted = expected(given, count, grad, weight_factors=factors, **kept)
    padding = torch.arange(out.shape[2], device=DEVICE) < out.shape[2] - count[:, None]
    for place, (one, other) in enumerate(zip(found, wanted, strict=True)):
        size = max(1.0, float(other.abs().max()))
        assert (one.double() - other).abs().max() <= TOLERANCE[given[0].dtype] * size, place
        if one.ndim == 4:
            assert not one.masked_select(padding[:, None, :, None]).any()


@pytest.fixture(autouse=True)
def _no_memory_is_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs are NaN until a kernel writes them."""
    from attnrec.kernels.awr_attention import ops

    def poisoned(function: Any) -> Any:
        return lambda *given, **named: tuple(x.fill_(math.nan) for x in function(*given, **named))

    for name in ("_empty_outputs", "_empty_gradients"):
        monkeypatch.setattr(ops, name, poisoned(getattr(ops, name)))


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize(
    "form", [{"refinement": "simple"}, {"refinement": "value"}, {"refinement": "additive", "mix": "sum"}], ids=str
)
def test_every_form(form: dict[str, Any], normalize: bool) -> None:
    check(*inputs([0, 1, 17, 40], 2, 40, 16, 24, 12), normalize=normalize, **form)


@pytest.mark.parametrize(("dim", "rank"), [(50, 32), (64, 64), (128, 16)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_widths_and_types(dim: int, rank: int, dtype: torch.dtype) -> None:
    check(*inputs([70, 33], 1, 70, dim, dim, rank, dtype=dtype))


@pytest.mark.slow
@settings(max_examples=6, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 35), min_size=1, max_size=3),
    extra=st.integers(0, 5),
    more_slots=st.integers(0, 20),
    heads=st.integers(1, 3),
    dim=st.integers(1, 40),
    value_dim=st.integers(1, 40),
    rank=st.integers(2, 40),
)
def test_any_shape(
    lengths: list[int], extra: int, more_slots: int, heads: int, dim: int, value_dim: int, rank: int
) -> None:
    width = max(1, max(lengths) + extra)
    check(*inputs(lengths, heads, width, dim, value_dim, rank, width + more_slots))


@pytest.mark.parametrize("refinement", ["simple", "value", "additive"])
def test_dropout_against_the_same_masks(refinement: str) -> None:
    """The first pass drops by the seed, the second by the next; every kernel drops the same weights."""
    lengths = [50, 0, 33]
    given, count = inputs(lengths, 2, 50, 16, 16, 16, 60)
    factors = []
    for seed in (9, 10):
        kept = kept_weights(3, 2, 50, seed, 0.3, DEVICE)
        of_slots = torch.zeros(3, 2, 50, 50, dtype=torch.float64, device=DEVICE)
        for row, n in enumerate(lengths):
            of_slots[row, :, 50 - n :, 50 - n :] = kept[row, :, :n, :n] * dropout_threshold(0.3)[1]
        factors.append(of_slots)
    check(given, count, factors, refinement=refinement, dropout_p=0.3, seed=9)


def test_a_batch_larger_than_the_shares_of_the_weight_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    from attnrec.kernels.awr_attention import ops

    monkeypatch.setattr(ops, "_PROGRAMS", 3)
    check(*inputs([5, 9, 1, 0, 9, 7, 3], 1, 9, 8, 8, 4))


def test_trimming_and_packing_change_nothing() -> None:
    lengths = [3, 20, 41]
    given, count = inputs(lengths, 2, 60, 16, 32, 8)
    q, k, v, w_q, w_k, _ = (x.detach() for x in given)
    options: dict[str, Any] = {"temperature": 0.7, "dropout_p": 0.2, "seed": 3}
    whole = awr_attention(q, k, v, w_q, w_k, count, **options)
    trimmed = awr_attention(q[:, :, 19:], k[:, :, 19:], v[:, :, 19:], w_q, w_k, count, **options)
    torch.testing.assert_close(whole[:, :, 19:], trimmed)
    rows = [torch.cat([x[r, :, 60 - n :].transpose(0, 1) for r, n in enumerate(lengths)]) for x in (q, k, v, whole)]
    starts = torch.tensor([0, 3, 23], device=DEVICE)
    packed = packed_awr_attention(rows[0], rows[1], rows[2], w_q, w_k, starts, count, 41, **options)
    torch.testing.assert_close(packed, rows[3])


def test_backward_is_deterministic() -> None:
    given, count = inputs([70, 50, 20], 2, 70, 32, 32, 16)
    out = awr_attention(*given[:5], count, temperature=given[5])
    grad = torch.randn_like(out)
    first, second = (torch.autograd.grad(out, given, grad, retain_graph=True) for _ in range(2))
    assert all(one.equal(other) for one, other in zip(first, second, strict=True))


def test_nothing_to_do() -> None:
    w = torch.zeros(2, 5, 4, device=DEVICE, requires_grad=True)
    q = torch.zeros(0, 2, 5, 16, device=DEVICE, requires_grad=True)
    out = awr_attention(q, q, q, w, w)
    assert out.shape == (0, 2, 5, 16)
    out.sum().backward()
    assert w.grad is not None
    assert not w.grad.any()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("with_values", "normalize"), [(True, True), (False, False)])
def test_as_a_torch_operator(with_values: bool, normalize: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Schema, fake implementation and autograd registration are consistent."""
    monkeypatch.undo()  # opcheck compares outputs with those of the fake
    (q, k, v, w_q, w_k, _), _ = inputs([6, 6], 2, 6, 16, 32, 16)
    lengths = torch.tensor([6, 6], dtype=torch.int32, device=DEVICE)
    factor = torch.ones(2, device=DEVICE)
    rows = (torch.zeros_like(lengths), lengths, 6)
    arguments = (q, k, v if with_values else None, w_q, w_k, factor, *rows, 0.25, 0.0, 0, "ieee", 16, normalize)
    torch.library.opcheck(torch.ops.attnrec.refinement_first_pass.default, arguments)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"k": torch.zeros(2, 1, 5, 16)}, ValueError, "q and k must have the same shape"),
        ({"w_q": torch.zeros(1, 3, 8)}, ValueError, r"w_q and w_k must both be \[1, 4 or more slots, m\]"),
        ({"w_k": torch.zeros(2, 4, 8)}, ValueError, r"w_q and w_k must both be \[1, 4 or more slots, m\]"),
        ({"w_q": torch.zeros(1, 4, 129), "w_k": torch.zeros(1, 4, 129)}, ValueError, "the width of w_q must be 1 to"),
        ({"w_k": torch.zeros(1, 4, 8, dtype=torch.int64)}, TypeError, "w_k must be of a floating-point type"),
        ({"temperature": 0.0}, ValueError, "temperature must be above 0, not 0.0"),
        ({"temperature": torch.ones(3)}, ValueError, r"temperature must be a number or of shape \[1\]"),
        ({"refinement": "cubic"}, ValueError, "refinement 'cubic' is not one of simple, value, additive"),
        ({"mix": "max"}, ValueError, "mix 'max' is not one of mean, sum"),
        ({"dropout_p": -0.1}, ValueError, "dropout_p must be at least 0"),
    ],
)
def test_bad_arguments_are_named(change: dict[str, Any], error: type[Exception], message: str) -> None:
    x, w = torch.zeros(2, 1, 4, 16), torch.zeros(1, 4, 8)
    arguments: dict[str, Any] = {"q": x, "k": x, "v": x, "w_q": w, "w_k": w} | change
    arguments = {key: value.to(DEVICE) if isinstance(value, Tensor) else value for key, value in arguments.items()}
    with pytest.raises(error, match=message):
        awr_attention(**arguments)


@pytest.mark.parametrize("form", ["simple", "value", "additive", "additive,mix=sum", "value,normalize=false"])
def test_the_operator(form: str) -> None:
    """`awr:impl=triton` is `impl=reference` in float64, forward and every gradient, padded and packed."""
    lengths, width = [2, 5, 40], 40
    ours, plain = (
        build_attention(f"awr:refinement={form},width=12,impl={impl}", 2, 16, 64, 0.0).to(DEVICE)
        for impl in ("triton", "reference")
    )
    plain.load_state_dict(ours.state_dict())
    plain = plain.double()
    ctx = SequenceContext(torch.tensor(lengths, device=DEVICE), width, 64 - width)
    q, k, v = (torch.randn(3, 2, width, 16, device=DEVICE, requires_grad=True) for _ in range(3))
    out, wide = ours(q, k, v, ctx), [x.detach().double().requires_grad_() for x in (q, k, v)]
    reference = plain(*wide, ctx)
    grad = torch.randn_like(out)
    found = [out.detach(), *torch.autograd.grad(out, (q, k, v, *ours.parameters()), grad, retain_graph=True)]
    wanted = [reference.detach(), *torch.autograd.grad(reference, (*wide, *plain.parameters()), grad.double())]
    for one, other in zip(found, wanted, strict=True):
        assert (one.double() - other).abs().max() <= TOLERANCE[torch.float32] * max(1.0, float(other.abs().max()))
    packing = make_packing(torch.tensor(lengths).numpy(), 64, 2, device=DEVICE)
    rows = [torch.cat([x[r, :, width - n :].transpose(0, 1) for r, n in enumerate(lengths)]) for x in (q, k, v, out)]
    torch.testing.assert_close(ours.forward_packed(rows[0], rows[1], rows[2], packing), rows[3], rtol=1e-5, atol=1e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_compiled_and_under_autocast_on_a_gpu(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    given, count = inputs([200, 150, 3], 2, 200, 64, 64, 32)
    q, k, v = (x.detach().nan_to_num(0.0).requires_grad_() for x in given[:3])
    w_q, w_k, temperature = given[3:]

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return awr_attention(q, k, v, w_q, w_k, count, temperature=temperature)

    with torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
        eager, compiled = attend(q, k, v), torch.compile(attend)(q, k, v)
    assert eager.dtype == dtype
    torch.testing.assert_close(compiled, eager)
    grads = [torch.autograd.grad(out.float().square().sum(), (q, k, v, w_q, w_k)) for out in (eager, compiled)]
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other)
