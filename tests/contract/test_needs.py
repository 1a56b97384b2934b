"""What operators declare to need is given in every check, and a leak through it is found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attnrec.attention import Packing, SequenceContext
from attnrec.contract import Report, check_names, check_operator
from tests.contract.gallery import Right

QUICK = [name for name in check_names() if name not in ("torch.compile", "growth")]


class Gated(Right):
    """A gate [B, 1, T, 1] on the queries, made of what it was told of each slot."""

    needs_inputs = needs_items = needs_features = True

    def __init__(
        self, num_heads: int, head_dim: int, max_len: int, dropout: float, *, features: Mapping[str, int]
    ) -> None:
        super().__init__(num_heads, head_dim, max_len, dropout)
        self.of_value = nn.ParameterDict({name: torch.randn(size + 1) for name, size in features.items()})
        self.of_input = nn.Parameter(torch.randn(num_heads * head_dim))

    def told(self, ctx: SequenceContext, like: Tensor) -> Tensor:
        """[B, T]"""
        assert ctx.inputs is not None
        assert ctx.items is not None
        assert ctx.features is not None
        values = [self.of_value[name][numbers].sum(-1) for name, numbers in ctx.features.items()]
        of_input = (ctx.inputs.to(like.dtype) * self.of_input.to(like.dtype)).sum(-1)
        return of_input + torch.stack(values).sum(0).to(like.dtype) + (ctx.items % 3).to(like.dtype)

    def scores(self, q: Tensor, k: Tensor, ctx: SequenceContext) -> Tensor:
        return super().scores(q * self.told(ctx, q).sigmoid()[:, None, :, None], k, ctx)


class LeaksInputs(Gated):
    def told(self, ctx: SequenceContext, like: Tensor) -> Tensor:
        assert ctx.inputs is not None
        return super().told(ctx, like) + ctx.inputs.to(like.dtype).sum((1, 2))[:, None]


class LeaksItems(Gated):
    def told(self, ctx: SequenceContext, like: Tensor) -> Tensor:
        assert ctx.items is not None
        return super().told(ctx, like) + (ctx.items.sum(1, keepdim=True) % 2).to(like.dtype)


class LeaksFeatures(Gated):
    def told(self, ctx: SequenceContext, like: Tensor) -> Tensor:
        assert ctx.features is not None
        return super().told(ctx, like) + 0.1 * ctx.features["category"].sum((1, 2))[:, None].to(like.dtype)


class ForgetsThemWhenPacked(Gated):
    def forward_packed(self, q: Tensor, k: Tensor, v: Tensor, packing: Packing) -> Tensor:
        assert packing.inputs is not None
        return super().forward_packed(q * 2, k, v, packing)


def run(operator: type[Gated], *more: str) -> Report:
    return check_operator(operator, only=[*QUICK, *more], compile_backend="aot_eager")


def test_an_operator_that_needs_everything_keeps_the_contract() -> None:
    report = run(Gated, "torch.compile", "growth")
    assert report.holds, str(report)
    assert {result.name for result in report.results if result.status == "not run"} == {"implementations"}


@pytest.mark.parametrize(
    ("operator", "says"),
    [
        (LeaksInputs, "w.r.t. its inputs"),
        (LeaksItems, "moves by"),
        (LeaksFeatures, "moves by"),
    ],
)
def test_a_leak_through_what_was_asked_for_is_found(operator: type[Gated], says: str) -> None:
    report = run(operator)
    failed = {result.name: result for result in report.failures}
    assert set(failed) == {"no future leak"}, str(report)
    assert says in failed["no future leak"].figure


def test_packed_rows_bring_it_along() -> None:
    (packed,) = check_operator(ForgetsThemWhenPacked, only=["packed"]).failures
    assert "the output of forward_packed differs" in packed.figure


def test_nobody_is_told_what_it_did_not_ask_for() -> None:
    class Curious(Right):
        def scores(self, q: Tensor, k: Tensor, ctx: SequenceContext) -> Any:
            assert ctx.inputs is None
            assert ctx.items is None
            assert ctx.features is None
            return super().scores(q, k, ctx)

    assert check_operator(Curious, only=["shape", "packed", "no future leak"]).holds
