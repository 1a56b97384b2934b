"""What the variants from the literature have in common: nothing from padding or the future, in any layout."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from attnrec.attention import AttentionOperator, SequenceContext, build_attention
from attnrec.attention.packing import make_packing
from attnrec.core.errors import InputError
from tests.attention.conftest import DIM, MAX_LEN, build, close, context, inputs, trimmed

VARIANTS = (
    "alibi",
    "rotary",
    "linear",
    "linear:chunk=3",
    "differential",
    "hstu",
    "hstu:time=true,buckets=9",
    "entmax",
    "entmax:alpha=2",
    "talking-heads",
    "ti:max_interval=7",
)


@pytest.fixture(params=VARIANTS)
def text(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("heads", [1, 3])
def test_trimming_and_pads_change_nothing(text: str, heads: int) -> None:
    operator = build(text, heads)
    tensors, ctx = inputs(3, heads, 14), context([0, 1, 5], 14)
    whole = operator(*tensors, ctx)
    for width in (9, 5):
        fewer, cut = trimmed(tensors, ctx, width)
        close(operator(*fewer, cut), whole[:, :, -width:])


@pytest.mark.parametrize("filling", [torch.nan, 1e4, -torch.inf])
def test_what_stands_at_padding_reaches_nothing(text: str, filling: float) -> None:
    operator = build(text)
    tensors, ctx = inputs(4, 2, 7), context([0, 1, 4, 7], 7)
    padding = ~ctx.real()[:, None, :, None]
    clean = operator(*tensors, ctx)
    filled = tuple(x.detach().masked_fill(padding, filling).requires_grad_() for x in tensors)
    out = operator(*filled, context([0, 1, 4, 7], 7, fill=filling))
    assert out.equal(clean)
    assert not out.masked_select(padding).any()
    for grad in torch.autograd.grad(out.square().sum(), (*filled, *operator.parameters())):
        assert grad.isfinite().all()
    if operator.has_weights:
        assert operator.weights(filled[0], filled[1], ctx).equal(operator.weights(tensors[0], tensors[1], ctx))


def test_no_gradient_from_the_future_or_from_padding(text: str) -> None:
    operator = build(text)
    tensors, ctx = inputs(4, 2, 7), context([0, 2, 4, 7], 7)
    out = operator(*tensors, ctx)
    for t in range(7):
        for grad in torch.autograd.grad(out[:, :, t].sum(), tensors, retain_graph=True):
            assert not grad[:, :, t + 1 :].any()
            assert not grad.masked_select(~ctx.real()[:, None, :, None]).any()
    last = torch.autograd.grad(out[3, :, 6].sum(), tensors[2])[0]
    assert (last[3] != 0).any(-1).sum() > 2  # and from the past there are some


def test_times_of_the_future_change_nothing(text: str) -> None:
    operator = build(text)
    tensors, ctx = inputs(2, 2, 8), context([6, 8], 8)
    assert ctx.timestamps is not None
    out = operator(*tensors, ctx)
    for t in range(7):
        times = ctx.timestamps.clone()
        times[:, t + 1 :] += torch.arange(7 - t) ** 2 * 11.0 + 1
        moved = operator(*tensors, SequenceContext(ctx.lengths, 8, ctx.offset, times))
        assert moved[:, :, : t + 1].equal(out[:, :, : t + 1])


@pytest.mark.parametrize("groups", [1, 3])
def test_packed_is_padded(text: str, groups: int) -> None:
    operator = build(text)
    lengths = np.array([1, 2, 4, 4, 9])
    times = 1.7e9 + 3600.0 * torch.arange(20).double() ** 2
    packing = make_packing(lengths, MAX_LEN, groups, timestamps=times)
    torch.manual_seed(3)
    q, k, v = (torch.randn(20, 2, DIM, dtype=torch.float64, requires_grad=True) for _ in range(3))
    direct = operator.forward_packed(q, k, v, packing)
    through_padding = AttentionOperator.forward_packed(operator, q, k, v, packing)
    close(direct, through_padding)
    wanted = (q, k, v, *operator.parameters())
    for one, other in zip(
        torch.autograd.grad(direct.sin().sum(), wanted),
        torch.autograd.grad(through_padding.sin().sum(), wanted),
        strict=True,
    ):
        close(one, other)


def test_sequences_do_not_meet(text: str) -> None:
    operator = build(text)
    tensors, ctx = inputs(3, 2, 6), context([2, 5, 6], 6)
    out = operator(*tensors, ctx)
    order = torch.tensor([2, 0])
    assert ctx.timestamps is not None
    fewer = SequenceContext(ctx.lengths[order], 6, ctx.offset, ctx.timestamps[order])
    close(operator(*(x[order] for x in tensors), fewer), out[order])


def test_gradients(text: str) -> None:
    """Of inputs and parameters, against differences."""
    operator = build(text, heads=2)
    tensors, ctx = inputs(3, 2, 4), context([0, 1, 4], 4)
    parameters = dict(operator.named_parameters())

    def run(*leaves: Tensor) -> Tensor:
        named = dict(zip(parameters, leaves[3:], strict=True))
        found: Tensor = torch.func.functional_call(operator, named, (*leaves[:3], ctx))
        return found

    assert torch.autograd.gradcheck(run, (*tensors, *parameters.values()))


def test_every_parameter_is_used(text: str) -> None:
    operator = build(text)
    out = operator(*inputs(3, 2, 8), context([3, 6, 8], 8))
    weight = torch.cos(torch.arange(out.numel(), dtype=out.dtype)).view_as(out)
    (out * weight).sum().backward()
    for name, parameter in operator.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 1e-6, name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_precision_is_kept_and_the_rounding_small(text: str, dtype: torch.dtype) -> None:
    """Against float64 on the same rounded inputs: sums of D and T terms, each off by a few units, scaled by values."""
    operator = build(text).to(dtype)
    tensors = [x.detach().to(dtype) for x in inputs(3, 2, 8)]
    ctx = context([1, 5, 8], 8)
    out = operator(*tensors, ctx)
    assert out.dtype == dtype
    exact = build(text)
    exact.load_state_dict(operator.state_dict())
    wanted = exact(*(x.double() for x in tensors), ctx)
    error = (out.double() - wanted).abs().max() / wanted.abs().max().clamp(min=1)
    assert error < 8 * torch.finfo(dtype).eps * (8 + DIM)


def test_autocast_gives_the_precision_of_the_values(text: str) -> None:
    operator = build(text, dtype=torch.float32)
    q, k, v = (x.detach().bfloat16() for x in inputs(2, 2, 6))
    ctx = context([3, 6], 6)
    with torch.autocast("cpu", torch.bfloat16):
        out = operator(q, k, v, ctx)
    assert out.dtype == torch.bfloat16
    wanted = operator(q.float(), k.float(), v.float(), ctx)
    assert (out.float() - wanted).abs().max() / wanted.abs().max().clamp(min=1) < 0.1


def test_weights_keep_what_they_promise(text: str) -> None:
    operator = build(text)
    (q, k, v), ctx = inputs(4, 2, 7), context([0, 1, 4, 7], 7)
    if not operator.has_weights:
        with pytest.raises(NotImplementedError, match="has no attention weights"):
            operator.weights(q, k, ctx)
        return
    weights = operator.weights(q, k, ctx)
    assert not weights.masked_select(~ctx.mask().expand_as(weights)).any()
    sums = ctx.real()[:, None].expand(-1, 2, -1).double()
    assert torch.allclose(weights.sum(-1), sums, atol=1e-12) == operator.weights_sum_to_one
    assert torch.allclose(weights @ v, operator(q, k, v, ctx), atol=1e-12) == operator.weights_give_output
    assert all(matrix.shape == weights.shape for matrix in operator.named_weights(q, k, ctx).values())


def test_dropout_acts_in_training_alone(text: str) -> None:
    operator = build(text, dropout=0.5)
    tensors, ctx = inputs(2, 2, 8), context([4, 8], 8)
    first, second = (operator(*tensors, ctx) for _ in range(2))
    assert first.equal(second) == text.startswith("linear")  # which has no weights to drop
    if operator.has_weights:
        assert operator.weights(*tensors[:2], ctx).equal(operator.weights(*tensors[:2], ctx))
    operator.eval()
    close(operator(*tensors, ctx), build(text)(*tensors, ctx))


def test_one_slot_and_no_item(text: str) -> None:
    operator = build(text)
    tensors = inputs(2, 2, 1)
    out = operator(*tensors, context([0, 1], 1))
    assert not out[0].any()
    assert out[1].any()
    assert out.isfinite().all()


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's, of its own tracing
def test_compiles_to_the_same(text: str) -> None:
    operator = build(text)
    tensors, ctx = inputs(3, 2, 6), context([1, 3, 6], 6)
    compiled = torch.compile(operator, backend="aot_eager", fullgraph=True)
    out, eager = compiled(*tensors, ctx), operator(*tensors, ctx)
    close(out, eager)
    wanted = (*tensors, *operator.parameters())
    grads = (torch.autograd.grad(x.sin().sum(), wanted) for x in (out, eager))
    for one, other in zip(*grads, strict=True):
        close(one, other)


@pytest.mark.parametrize("text", ["ti", "hstu:time=true"])
def test_a_batch_without_timestamps_is_refused(text: str) -> None:
    operator = build(text)
    assert operator.needs_timestamps
    with pytest.raises(InputError, match="needs timestamps, and the batch has none"):
        operator(*inputs(1, 2, 3), SequenceContext(torch.tensor([3]), 3))


def test_the_rest_do_without_timestamps() -> None:
    for text in set(VARIANTS) - {"ti:max_interval=7", "hstu:time=true,buckets=9"}:
        operator = build(text)
        assert not operator.needs_timestamps
        tensors, ctx = inputs(2, 2, 4), context([2, 4], 4)
        assert operator(*tensors, SequenceContext(ctx.lengths, 4, ctx.offset)).equal(operator(*tensors, ctx))


@pytest.mark.parametrize(
    ("text", "dim", "message"),
    [
        ("alibi:scale=0", 6, "scale=0 must be above 0"),
        ("alibi:scale=nan", 6, "scale='nan' is not a number of at most"),
        ("rotary:base=1", 6, "base=1 must be above 1"),
        ("rotary", 1, "a head of width 1 has no pair of coordinates to rotate"),
        ("linear:chunk=0", 6, "chunk=0 must be 1 or more"),
        ("differential:lambda_init=1", 6, "lambda_init=1 must be at least 0 and below 1"),
        ("differential:lambda_init=nan", 6, "lambda_init='nan' is not a number of at most"),
        ("differential", 25, "a head of width 25 cannot be halved"),
        ("hstu:buckets=0", 6, "buckets=0 must be 1 or more"),
        ("entmax:alpha=1", 6, "alpha=1 must be 1.5 or 2"),
        ("ti:max_interval=0", 6, "max_interval=0 must be 1 or more"),
    ],
)
def test_bad_options(text: str, dim: int, message: str) -> None:
    with pytest.raises(InputError) as caught:
        build_attention(text, 1, dim, 10, 0.0)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["differential", "ti"])
def test_values_of_another_width_are_refused(text: str) -> None:
    q, k, v = inputs(1, 2, 3)
    with pytest.raises(ValueError, match="values of the head's width 6, not 4"):
        build(text)(q, k, v[..., :4], context([3], 3))


@pytest.mark.parametrize("text", [text for text in VARIANTS if not text.startswith(("differential", "ti"))])
def test_values_may_have_another_width(text: str) -> None:
    q, k, v = inputs(2, 2, 5)
    operator, ctx = build(text), context([2, 5], 5)
    wide = torch.cat([v, v.flip(-1)[..., :3]], -1)
    out, expected = operator(q, k, wide, ctx), operator(q, k, v, ctx)
    close(out[..., :DIM], expected)
    close(out[..., DIM:], expected.flip(-1)[..., :3])
