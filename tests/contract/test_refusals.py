"""What counts as an operator's saying no, and what as a bug; and a bug that stops everything is told once."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from torch import Tensor

from attnrec.attention import AttentionOperator, SequenceContext
from attnrec.contract import check_names, check_operator
from tests.contract.gallery import Right
from tests.contract.gallery_of_refusals import (
    BREAKING_IN_HALF,
    BREAKING_WITH_ONE_HEAD,
    REFUSING_HALF,
    REFUSING_ONE_HEAD,
)
from tests.contract.gallery_of_surroundings import TwoFormulas


@pytest.mark.parametrize("operator", REFUSING_HALF, ids=lambda operator: operator.__name__)
def test_a_precision_may_be_refused(operator: type[AttentionOperator]) -> None:
    (result,) = check_operator(operator, only=["dtype"]).results
    assert result.status == "holds", result.fault
    assert result.figure.startswith("float64, float32, bfloat16; refused: float16 (raised ")


@pytest.mark.parametrize("operator", BREAKING_IN_HALF, ids=lambda operator: operator.__name__)
def test_a_bug_refuses_no_precision(operator: type[AttentionOperator]) -> None:
    (result,) = check_operator(operator, only=["dtype"]).results
    assert result.status == "fails"
    assert result.figure.startswith("float16 raised ")


@pytest.mark.parametrize("operator", REFUSING_ONE_HEAD, ids=lambda operator: operator.__name__)
def test_a_number_of_heads_may_be_refused(operator: type[AttentionOperator]) -> None:
    report = check_operator(operator, only=["shape", "padding"])
    assert report.holds, str(report)


@pytest.mark.parametrize("operator", BREAKING_WITH_ONE_HEAD, ids=lambda operator: operator.__name__)
def test_a_bug_refuses_no_number_of_heads(operator: type[AttentionOperator]) -> None:
    report = check_operator(operator, only=["shape", "padding", "dtype"])
    shape, padding, dtype = report.results
    assert shape.status == "fails"
    assert "1 head, width 2" in shape.case
    assert "raised ValueError" in shape.figure
    assert (padding.status, padding.figure) == ("not run", "the operator raises")
    assert dtype.status == "holds"  # looks at the larger shape alone


FILE = """
import math
from attnrec.attention import AttentionOperator, masked_softmax

class Mine(AttentionOperator):
    def __init__(self, num_heads, head_dim, max_len, dropout):
        super().__init__(num_heads, head_dim, max_len, dropout)
        {in_constructor}

    def forward(self, q, k, v, ctx):
        return masked_softmax(q @ k.transpose(-1, -2), ctx.mask()) @ v
"""


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("if num_heads == 1: raise ValueError('one head is none')", "holds"),
        ("math.log(num_heads - 1)", "fails"),
    ],
)
def test_the_same_in_a_file(tmp_path: Path, line: str, status: str) -> None:
    """Which is built by its specification, whose errors the command line shows in its own words."""
    (tmp_path / "mine.py").write_text(FILE.format(in_constructor=line), encoding="utf-8")
    (result,) = check_operator(str(tmp_path / "mine.py"), only=["shape"]).results
    assert result.status == status


def test_a_bug_refuses_no_implementation() -> None:
    class Breaks(TwoFormulas):
        def check_device(self, device: object) -> None:
            math.sqrt(1.0 if self.impl == "torch" else -1.0)

    (result,) = check_operator(Breaks, only=["implementations"]).results
    assert (result.status, "differs from that of" in result.figure) == ("fails", True)


# -- a bug that stops everything -------------------------------------------------------------------------


class Raises(Right):
    def forward(self, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
        return q.reshape(3, -1, 7) @ v


def test_an_operator_that_raises_says_so_once() -> None:
    names = [name for name in check_names() if name not in ("torch.compile", "weights", "weights sum")]
    report = check_operator(Raises, only=names)
    (failure,) = report.failures
    assert failure.name == "shape"
    assert failure.figure.startswith("raised RuntimeError at test_refusals.py:")
    assert "shape '[3, -1, 7]' is invalid" in failure.figure
    others = {result.name: (result.status, result.figure) for result in report.results if result is not failure}
    assert others.pop("implementations") == ("not run", "the operator has no option impl")
    assert set(others.values()) == {("not run", "the operator raises")}
    assert list(report.blocks) == ["shape"]
    assert report.summary() == f"Raises: 1 of 1 checks fails: shape; {len(others) + 1} not run"


def test_it_says_so_in_whatever_check_is_first() -> None:
    report = check_operator(Raises, only=["padding", "dtype", "weights"])
    assert [result.status for result in report.results] == ["fails", "holds", "not run"]


class RaisesAtPadding(Right):
    def forward(self, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
        if int(ctx.lengths.min()) < ctx.width:
            raise RuntimeError(f"there is padding in {ctx.width} slots")
        return super().forward(q, k, v, ctx)


def test_an_error_of_some_cases_fails_each_check_and_is_shown_once() -> None:
    report = check_operator(RaisesAtPadding, only=["eval mode", "padding", "trimming", "history"])
    assert [result.status for result in report.results] == ["fails"] * 4
    assert list(report.blocks) == ["eval mode, padding, trimming, history"]
