"""Attention weight refinement: a plain loop in float64, two implementations, no leak, alive at the start."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from attnrec.attention import SequenceContext, build_attention
from attnrec.attention.awr import AttentionWeightRefinement
from attnrec.attention.packing import make_packing
from attnrec.core.errors import InputError

VARIANTS: list[dict[str, Any]] = [
    *({"refinement": name} for name in ("simple", "value", "additive")),
    {"refinement": "additive", "mix": "sum"},
    {"refinement": "value", "normalize": False, "temperature": 2.0},
]


def operator(heads: int = 2, dim: int = 6, max_len: int = 20, dropout: float = 0.0, **options: Any) -> Any:
    torch.manual_seed(1)
    return AttentionWeightRefinement(heads, dim, max_len, dropout, **options).double()


def inputs(rows: int, heads: int, width: int, dim: int = 6, value_dim: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(2)
    q, k = (torch.randn(rows, heads, width, dim, dtype=torch.float64, requires_grad=True) for _ in range(2))
    return q, k, torch.randn(rows, heads, width, value_dim, dtype=torch.float64, requires_grad=True)


def oracle(op: AttentionWeightRefinement, q: Tensor, k: Tensor, v: Tensor, lengths: list[int]) -> Tensor:
    """The formulas at the head of awr.py, a history, a head and a row at a time, padding cut off."""
    rows, heads, width, dim = q.shape
    out = torch.zeros_like(v)
    for row, head in itertools.product(range(rows), range(heads)):
        n = lengths[row]
        if n == 0:
            continue
        own = slice(width - n, width)
        slots = slice(op.max_len - n, op.max_len)
        first = causal_softmax(q[row, head, own] @ k[row, head, own].T / math.sqrt(dim))
        a_q, a_k = first @ op.w_q[head, slots], first @ op.w_k[head, slots]
        if op.normalize:
            a_q, a_k = (x / (x.square().mean(1, keepdim=True) + 1e-12).sqrt() for x in (a_q, a_k))
        second = causal_softmax(op.log_temperature[head].exp() * a_q @ a_k.T / math.sqrt(op.width))
        if op.refinement == "simple":
            refined = second
        elif op.refinement == "value":
            refined = second @ first
        else:
            refined = (first + second) / (1 if op.mix == "sum" else 2)
        out[row, head, own] = refined @ v[row, head, own]
    return out


def causal_softmax(scores: Tensor) -> Tensor:
    return torch.stack(
        [torch.cat([row[: t + 1].softmax(0), row.new_zeros(len(row) - t - 1)]) for t, row in enumerate(scores)]
    )


@pytest.mark.parametrize("options", VARIANTS, ids=str)
@pytest.mark.parametrize("impl", ["reference", "torch"])
def test_forward_is_the_oracle(options: dict[str, Any], impl: str) -> None:
    op = operator(**options, width=5, impl=impl)
    q, k, v = inputs(4, 2, 9)
    lengths = [0, 1, 5, 9]
    ctx = SequenceContext(torch.tensor(lengths), 9, offset=11)
    expected = oracle(op, q, k, v, lengths)
    torch.testing.assert_close(op(q, k, v, ctx), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(op.weights(q, k, ctx) @ v, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("options", VARIANTS, ids=str)
@pytest.mark.parametrize("heads", [1, 4])
@pytest.mark.parametrize(("width", "value_dim"), [(6, 6), (2, 6), (9, 6), (3, 2), (4, 11)])
def test_implementations_agree(options: dict[str, Any], heads: int, width: int, value_dim: int) -> None:
    """Forward and every gradient to 1e-10, with left padding of every length and a row without any item."""
    q, k, v = inputs(8, heads, 7, value_dim=value_dim)
    ctx = SequenceContext(torch.arange(8), 7, offset=13)
    results = []
    for impl in ("reference", "torch"):
        op = operator(heads, width=width, impl=impl, **options)
        out = op(q, k, v, ctx)
        weight = torch.cos(torch.arange(out.numel(), dtype=torch.float64)).view_as(out)
        results.append((out, *torch.autograd.grad((out * weight).sum(), (q, k, v, *op.parameters()))))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=6).map(sorted),
    groups=st.integers(1, 4),
    width=st.integers(2, 9),
    place=st.integers(0, len(VARIANTS) - 1),
)
def test_packed_is_padded(lengths: list[int], groups: int, width: int, place: int) -> None:
    op = operator(width=width, **VARIANTS[place])
    packing = make_packing(np.array(lengths), 20, groups)
    q, k, v = (torch.randn(sum(lengths), 2, 6, dtype=torch.float64, requires_grad=True) for _ in range(3))
    direct = op.forward_packed(q, k, v, packing)
    through_padding = super(AttentionWeightRefinement, op).forward_packed(q, k, v, packing)
    torch.testing.assert_close(direct, through_padding, rtol=1e-10, atol=1e-10)
    wanted = (q, k, v, *op.parameters())
    one, other = (torch.autograd.grad(out.sin().sum(), wanted) for out in (direct, through_padding))
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("options", VARIANTS, ids=str)
@pytest.mark.parametrize("impl", ["reference", "torch"])
def test_causal_and_blind_to_padding(options: dict[str, Any], impl: str) -> None:
    op = operator(**options, impl=impl)
    q, k, v = inputs(3, 2, 6)
    lengths = torch.tensor([2, 4, 6])
    out = op(q, k, v, SequenceContext(lengths, 6, 14))
    for t in range(6):
        for grad in torch.autograd.grad(out[:, :, t].sum(), (q, k, v), retain_graph=True):
            assert not grad[:, :, t + 1 :].any()
            for row, length in enumerate(lengths.tolist()):
                assert not grad[row, :, : 6 - length].any()


@pytest.mark.parametrize("options", VARIANTS, ids=str)
@pytest.mark.parametrize("impl", ["reference", "torch"])
def test_trimming_changes_nothing(options: dict[str, Any], impl: str) -> None:
    """Slots count from the right end: cutting columns of padding off leaves the outputs."""
    op = operator(**options, impl=impl)
    q, k, v = inputs(2, 2, 12)
    lengths = torch.tensor([3, 5])
    whole = op(q, k, v, SequenceContext(lengths, 12, 8))
    cut = op(*(x[:, :, -5:] for x in (q, k, v)), SequenceContext(lengths, 5, 15))
    torch.testing.assert_close(whole[:, :, -5:], cut, rtol=1e-12, atol=1e-12)


def test_rows_of_all_matrices_are_causal_distributions() -> None:
    q, k, _ = inputs(3, 2, 6)
    ctx = SequenceContext(torch.tensor([0, 2, 6]), 6, 14)
    for options in VARIANTS:
        found = operator(**options).named_weights(q, k, ctx)
        assert list(found) == ["first-order", "higher-order", "refined"]
        for name, matrix in found.items():
            total = 2.0 if name == "refined" and options.get("mix") == "sum" else 1.0
            assert not matrix.masked_select(~ctx.mask().expand_as(matrix)).any()
            torch.testing.assert_close(matrix.sum(-1), ctx.real()[:, None].expand(-1, 2, -1) * total, check_dtype=False)


@pytest.mark.parametrize("refinement", ["simple", "value", "additive"])
def test_dropout_has_one_law_in_both_implementations(refinement: str) -> None:
    """Mean and variance of the outputs over many draws agree within what the number of draws allows."""
    q, k, v = (x.detach() for x in inputs(1, 1, 5))
    ctx = SequenceContext(torch.tensor([5]), 5, 15)
    draws = 4000
    moments = []
    for impl in ("reference", "torch"):
        op = operator(1, dropout=0.3, refinement=refinement, impl=impl)
        repeated = [x.expand(draws, -1, -1, -1) for x in (q, k, v)]
        out = op(*repeated, SequenceContext(ctx.lengths.expand(draws), 5, 15))
        assert out.std(0).min() > 0
        moments.append((out.mean(0), out.var(0), out.std(0)))
        op.eval()
        assert op(q, k, v, ctx).equal(op(q, k, v, ctx))
    (mean, variance, spread), (other_mean, other_variance, _) = moments
    assert ((mean - other_mean).abs() < 6 * spread * math.sqrt(2 / draws)).all()
    assert ((variance / other_variance).log().abs() < 0.5).all()


@pytest.mark.parametrize("n", [50, 200, 1024])
def test_the_refinement_is_alive_at_the_start(n: int) -> None:
    """B's rows are far from uniform whatever n, and the learned parameters get gradients that can move them."""
    op = AttentionWeightRefinement(1, 50, n, 0.0, refinement="simple").float()
    q, k, v = (torch.randn(2, 1, n, 50) for _ in range(3))
    ctx = SequenceContext(torch.tensor([n, n]), n)
    assert distance_from_uniform(op, q, k, ctx) > 0.25
    op(q, k, v, ctx).square().sum().backward()
    for parameter in (op.w_q, op.w_k):
        assert parameter.grad is not None
        assert parameter.grad.norm() > 0.01 * parameter.norm()
    assert op.log_temperature.grad is not None
    assert op.log_temperature.grad.abs() > 0.01


@pytest.mark.parametrize("n", [50, 200, 1024])
def test_without_normalisation_and_with_glorot_scale_it_would_be_dead(n: int) -> None:
    op = AttentionWeightRefinement(1, 50, n, 0.0, normalize=False, init_scale=math.sqrt(2 / (n + 32))).float()
    q, k = (torch.randn(2, 1, n, 50) for _ in range(2))
    assert distance_from_uniform(op, q, k, SequenceContext(torch.tensor([n, n]), n)) < 0.002


def distance_from_uniform(op: AttentionWeightRefinement, q: Tensor, k: Tensor, ctx: SequenceContext) -> float:
    """Mean total variation distance of B's later rows from even weights over the keys they may see."""
    with torch.no_grad():
        second = op.named_weights(q, k, ctx)["higher-order"]
    even = ctx.mask() / torch.arange(1, ctx.width + 1)[:, None]
    return float((second - even).abs().sum(-1)[..., ctx.width // 2 :].mean() / 2)


def test_nothing_n_by_n_is_kept_for_backward() -> None:
    n = 512
    op = AttentionWeightRefinement(1, 64, n, 0.0, width=64)
    q, k, v = (torch.randn(1, 1, n, 64, requires_grad=True) for _ in range(3))
    sizes: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        op(q, k, v, SequenceContext(torch.tensor([n]), n))
    assert max(sizes.values()) <= n * 3 * 64 * 4
    assert sum(sizes.values()) < 20e6 * n / 4096


def test_a_fixed_temperature_is_not_trained() -> None:
    op = operator(learn_temperature=False, temperature=3.0)
    assert not op.log_temperature.requires_grad
    assert op.log_temperature.exp().tolist() == pytest.approx([3.0, 3.0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("awr:refinement=cubic", "refinement=cubic is not one of simple, value, additive"),
        ("awr:mix=max", "mix=max is not one of mean, sum"),
        ("awr:impl=cuda", "impl=cuda is not one of torch, reference, triton"),
        ("awr:width=-1", "width=-1 must be 1 or more"),
        ("awr:width=1", "nothing but signs"),
        ("awr:width=wide", "is not a whole number"),
        ("awr:init_scale=0", "init_scale=0 must be above 0"),
        ("awr:temperature=nan", "temperature='nan' is not a number of at most"),
        ("awr:refinment=value", "has no option 'refinment'; did you mean refinement?"),
    ],
)
def test_bad_options(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        build_attention(text, 1, 8, 10, 0.0)
    assert message in str(caught.value)


@pytest.mark.parametrize("option", ["refinement", "mix", "impl"])
def test_choices_are_checked_in_python_too(option: str) -> None:
    with pytest.raises(ValueError, match=f"{option}=other is not one of "):
        AttentionWeightRefinement(1, 4, 8, 0.0, **{option: "other"})  # type: ignore[arg-type]
