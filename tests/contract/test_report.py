"""How the contract is run and what it says: names, cases, statuses, and what it leaves alone."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from attnrec.attention import ATTENTION, SequenceContext
from attnrec.contract import check_names, check_operator
from attnrec.contract.batches import make_batch
from attnrec.contract.cases import Case
from attnrec.core.errors import InputError
from tests.contract.gallery import NoCausalMask, Right
from tests.contract.gallery_of_surroundings import TwoFormulas, ValuesAsWideAsQueries

MASKS = ["no future leak", "padding", "trimming"]


def test_a_failure_is_reported_with_the_smallest_case() -> None:
    report = check_operator(NoCausalMask, only=MASKS)
    (failure,) = report.failures
    assert failure.case == "1 sequence of 2 items, 1 head, width 2"
    assert failure.figure.startswith("output 1 changes with item 2 (gradient ")
    assert "ctx.mask()" in failure.hint
    assert report.summary() == "NoCausalMask: 1 of 3 checks fails: no future leak"
    assert f"{failure.case}: {failure.figure}" in str(report)
    assert report.as_json()["checks"][0] == {
        "name": "no future leak",
        "status": "fails",
        "figure": failure.figure,
        "case": failure.case,
        "hint": failure.hint,
    }


def test_what_did_not_run_is_no_pass() -> None:
    report = check_operator(Right, only=["implementations"])
    assert [result.status for result in report.results] == ["not run"]
    assert not report.holds
    assert report.summary() == "Right: 0 of 0 checks hold; 1 not run"


def test_names_are_taken_with_hyphens_in_the_order_of_the_contract() -> None:
    report = check_operator(Right, only=["padding", "no-future-leak"])
    assert [result.name for result in report.results] == ["no future leak", "padding"]
    assert len(set(check_names())) == len(check_names())


@pytest.mark.parametrize(
    ("operator", "only", "message"),
    [
        ("sdpaa", None, "unknown attention variant 'sdpaa'; did you mean sdpa?"),
        ("awr:widht=3", None, "has no option 'widht'; did you mean width?"),
        ("sdpa", ["paddin"], "unknown check 'paddin'; did you mean padding"),
        ("sdpa", [], "no check is named"),
    ],
)
def test_bad_input(operator: str, only: list[str] | None, message: str) -> None:
    with pytest.raises(InputError) as caught:
        check_operator(operator, only=only)
    assert message in str(caught.value)


def test_an_operator_that_needs_another_device_says_so() -> None:
    class NeedsAGpu(Right):
        def check_device(self, device: torch.device) -> None:
            raise InputError(f"needs a GPU, not the {device.type}; use sdpa")

    with pytest.raises(InputError, match="needs a GPU, not the cpu; use sdpa"):
        check_operator(NeedsAGpu)


def test_results_repeat_and_the_random_state_is_kept() -> None:
    names = ["padding", "gradcheck", "dropout", "packed"]
    torch.manual_seed(3)
    wanted = torch.rand(2)
    torch.manual_seed(3)
    first = check_operator("awr", only=names)
    assert torch.rand(2).equal(wanted)
    assert torch.get_default_dtype() == torch.float32
    assert torch.is_grad_enabled()
    assert check_operator("awr", only=names) == first


def test_an_exception_is_a_failure_of_its_check_alone() -> None:
    class RaisesOnEmptyRows(Right):
        def forward(self, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
            if not ctx.lengths.all():
                raise RuntimeError("no items here\nand more of it")
            return super().forward(q, k, v, ctx)

    report = check_operator(RaisesOnEmptyRows, only=["finite", "no future leak"])
    finite, leak = report.results
    assert leak.status == "holds"
    assert finite.case == "1 sequence of 0 items in 1 slot, 1 head, width 2"
    assert finite.figure.startswith("raised RuntimeError at test_report.py:")
    assert finite.figure.endswith(": no items here")
    assert isinstance(finite.error, RuntimeError)


class Stamped(Right):
    """Needs timestamps, and an even number of heads."""

    needs_timestamps = True

    def __init__(self, num_heads: int, head_dim: int, max_len: int, dropout: float) -> None:
        super().__init__(num_heads, head_dim, max_len, dropout)
        if num_heads % 2:
            raise ValueError("the number of heads must be even")

    def scores(self, q: Tensor, k: Tensor, ctx: SequenceContext) -> Tensor:
        assert ctx.timestamps is not None
        assert ctx.timestamps.dtype == torch.float64
        between = ctx.timestamps[:, :, None] - ctx.timestamps[:, None]
        return super().scores(q, k, ctx) - (between.abs() / 3600).log1p().to(q.dtype)[:, None]


def test_declared_needs_are_met() -> None:
    names = [name for name in check_names() if name not in ("growth", "torch.compile")]
    report = check_operator(Stamped, only=names)
    assert report.holds, str(report)
    with pytest.raises(ValueError, match="must be even"):
        check_operator(Stamped, heads=3)


class OfOneWidth(ValuesAsWideAsQueries):
    takes_any_value_width = False


def test_values_of_another_width_are_asked_for_where_they_are_declared() -> None:
    (kept,) = check_operator(OfOneWidth, only=["shape"]).results
    assert (kept.status, kept.figure) == ("holds", "of the values, as wide as q")
    (right,) = check_operator("sdpa", only=["shape"]).results
    assert (right.status, right.figure) == ("holds", "of the values, for any width")

    class Refuses(Right):
        takes_any_value_width = True

        def forward(self, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
            if v.shape[-1] != self.head_dim:
                raise ValueError("values must be as wide as the head")
            return super().forward(q, k, v, ctx)

    (refused,) = check_operator(Refuses, only=["shape"]).failures
    assert refused.case.endswith("values of width 3")


@pytest.mark.parametrize("name", ATTENTION.names())
def test_built_in_operators_declare_what_they_take(name: str) -> None:
    operator: Any = ATTENTION.find(name)
    assert operator.takes_any_value_width == (name not in ("differential", "ti"))


def test_timestamps_ascend_with_ties_and_are_zero_at_padding() -> None:
    times = make_batch(Case((3, 12), 12, 1, 2, timestamps=True), {}).ctx.timestamps
    assert times is not None
    assert (times[0, :9] == 0).all()
    steps = times[1].diff()
    assert steps.min() == 0
    assert steps.max() > 0


def untyped(heads: int, dim: int, max_len: int, dropout: float, *, impl: str = "torch") -> TwoFormulas:
    return TwoFormulas(heads, dim, max_len, dropout, impl=impl)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("operator", "status", "words"),
    [
        (TwoFormulas, "fails", "the output of impl=torch differs from that of impl=reference by"),
        (partial(TwoFormulas, impl="reference"), "fails", "the output of impl=torch differs"),
        (untyped, "not run", "impl is not annotated as Literal[...], so only impl=torch is known"),
        (Right, "not run", "the operator has no option impl"),
    ],
)
def test_implementations_are_found_by_their_annotation(operator: Any, status: str, words: str) -> None:
    (result,) = check_operator(operator, only=["implementations"]).results
    assert (result.status, words in result.figure) == (status, True)


def test_an_operator_is_named_by_what_built_it() -> None:
    names = [
        check_operator(operator, only=["shape"]).component
        for operator in ("awr:width=3", Right, partial(TwoFormulas, impl="reference"), untyped)
    ]
    assert names == ["awr:width=3", "Right", "TwoFormulas:impl=reference", "untyped"]


@pytest.mark.parametrize(
    ("case", "words"),
    [
        (Case((2,), 2, 1, 2), "1 sequence of 2 items, 1 head, width 2"),
        (Case((1,), 3, 2, 8), "1 sequence of 1 item in 3 slots, 2 heads, width 8"),
        (
            Case((1, 3), 3, 1, 2, value_dim=5),
            "2 sequences of 1 and 3 items in 3 slots, 1 head, width 2, values of width 5",
        ),
        (
            Case((0, 4, 2), 4, 1, 2, timestamps=True),
            "3 sequences of 0 to 4 items in 4 slots, 1 head, width 2, with timestamps",
        ),
    ],
)
def test_cases_in_words(case: Case, words: str) -> None:
    assert str(case) == words


DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "contract.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", ["operator", "mixer", "model"])
def test_the_document_explains_every_check_in_order(kind: Any) -> None:
    section = DOCUMENT.partition(f"## Checks of {kind}s\n")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(.+?)` \|", section, flags=re.MULTILINE) == check_names(kind)


def test_the_test_in_the_document_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = partial(check_operator, only=["shape"])
    monkeypatch.setattr("attnrec.contract.check_operator", quick)
    (block,) = re.findall(r"```python\n(.*?)```", DOCUMENT, flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(block, "<documentation>", "exec"), names)
    names["test_my_operator"]()
