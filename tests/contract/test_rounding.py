"""Rounding is no influence, and a small influence is not taken for rounding."""

from __future__ import annotations

import pytest
from torch import Tensor

from attnrec.attention import AttentionOperator, SequenceContext
from attnrec.contract import check_names, check_operator
from tests.contract.gallery import Right
from tests.contract.gallery_of_rounding import LEAKING, RIGHT, Convolved, ConvolvedWithALeak

NAMES = [name for name in check_names() if name not in ("torch.compile", "growth")]


@pytest.mark.parametrize("operator", RIGHT, ids=lambda operator: operator.__name__)
def test_right_operators_that_leave_rounding_keep_the_contract(operator: type[AttentionOperator]) -> None:
    report = check_operator(operator, only=NAMES)
    assert report.holds, str(report)


@pytest.mark.parametrize("operator", LEAKING, ids=lambda operator: operator.__name__)
def test_a_leak_of_a_millionth_is_found(operator: type[AttentionOperator]) -> None:
    report = check_operator(operator, only=NAMES)
    failed = {result.name for result in report.failures}
    assert failed == LEAKING[operator], str(report)


def test_the_right_ones_do_leave_something() -> None:
    """Or they would show nothing."""
    (leak,) = check_operator(Convolved, only=["no future leak"]).results
    assert "gradients 0" not in leak.figure
    (zeros,) = check_operator(Convolved, only=["zeros at padding"]).results
    assert zeros.figure.startswith("up to")


def test_a_small_influence_has_a_hint_of_its_own() -> None:
    (leak,) = check_operator(ConvolvedWithALeak, only=["no future leak"]).failures
    assert "rounding of a part computed in float32" in leak.hint


class ConvolvedMaskedByValues(Convolved):
    """Takes an item of zeros for padding, in what rounding leaves a gradient."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
        return super().forward(q, k, v, ctx) * (q.abs().sum(-1, keepdim=True) > 1e-8) + 1e-17 * v.sum()


def test_rounding_is_no_effect_of_an_item_of_zeros() -> None:
    (zeros,) = check_operator(ConvolvedMaskedByValues, only=["zero items"]).failures
    assert "counts as padding when it has q = 0" in zeros.figure


class LeaksMoreWithLength(Right):
    """Its leak is a few times the tolerance for two items, and large from three on."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
        leak = 1e-7 if ctx.width < 3 else 0.1
        return super().forward(q, k, v, ctx) + leak * v.sum(2, keepdim=True) * ctx.real()[:, None, :, None]


class LeaksALittle(Right):
    def forward(self, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
        return super().forward(q, k, v, ctx) + 1e-7 * v.sum(2, keepdim=True) * ctx.real()[:, None, :, None]


@pytest.mark.parametrize(("operator", "items"), [(LeaksMoreWithLength, 3), (LeaksALittle, 2)])
def test_the_case_shown_is_the_smallest_in_which_the_fault_is_clear(
    operator: type[AttentionOperator], items: int
) -> None:
    """Or the smallest of all where it is clear in none."""
    (leak,) = check_operator(operator, only=["no future leak"]).failures
    assert leak.case.startswith(f"1 sequence of {items} items, 1 head, width 2")
    assert leak.figure.startswith("output 1 changes with item 2")


class UnlikeInALargerBatch(Right):
    """Faint in what is compared with a tolerance, clear with two heads."""

    def scores(self, q: Tensor, k: Tensor, ctx: SequenceContext) -> Tensor:
        return super().scores(q, k, ctx) * (1 + (1e-5 if self.num_heads == 1 else 0.5) * (ctx.width % 2))


def test_so_it_is_where_two_ways_to_a_value_are_compared() -> None:
    (trimming,) = check_operator(UnlikeInALargerBatch, only=["trimming"]).failures
    assert "2 heads, width 8" in trimming.case


def test_what_a_second_look_raises_does_not_hide_the_fault() -> None:
    class FaintThenRaises(LeaksALittle):
        def forward(self, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
            if ctx.width > 2:
                raise RuntimeError("too long")
            return super().forward(q, k, v, ctx)

    (leak,) = check_operator(FaintThenRaises, only=["no future leak"]).failures
    assert leak.figure.startswith("output 1 changes with item 2")
    assert leak.case == "1 sequence of 2 items, 1 head, width 2"
