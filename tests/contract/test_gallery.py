"""The contract names the fault of every wrong operator in the gallery, and finds none in a right one."""

from __future__ import annotations

import pytest

from attnrec.contract import Report, check_names, check_operator
from tests.contract import gallery, gallery_of_surroundings
from tests.contract.gallery import Right, Wrong

WRONG = gallery.WRONG + gallery_of_surroundings.WRONG
QUICK = [name for name in check_names() if name not in ("torch.compile", "growth")]


def run(operator: type, *more: str) -> Report:
    return check_operator(operator, only=[*QUICK, *more], compile_backend="aot_eager")


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.component.__name__)
def test_the_fault_is_named(wrong: Wrong) -> None:
    report = run(wrong.component, wrong.check)
    failed = {result.name: result for result in report.failures}
    assert wrong.check in failed, str(report)
    assert wrong.says in failed[wrong.check].fault
    assert set(failed) == {wrong.check, *wrong.also}, str(report)
    found = failed[wrong.check]
    assert found.hint or found.error is not None
    assert not report.holds


def test_a_right_operator_keeps_the_contract() -> None:
    report = run(Right, "torch.compile", "growth")
    assert report.holds, str(report)
    assert [result.name for result in report.results if result.status == "not run"] == ["implementations"]


def test_every_check_has_a_wrong_operator() -> None:
    """But for the exponents of growth, which are a figure."""
    assert {wrong.check for wrong in WRONG} == {*check_names()} - {"growth"}


CAUSED_BY_AN_OPERATOR = {
    "no or a wrong causal mask": {"NoCausalMask", "AttendsToTheNextItem", "ExcludesItself", "LeaksUnderDropout"},
    "padding takes part in attention": {"PaddingAttended", "PaddingInTheMean", "SlotsFromTheLeft", "ScaledByTheSlots"},
    "NaN from rows with nothing to attend to": {"InfiniteMask", "NaNHiddenInForward", "ZeroTimesNaN"},
    "padding told from embedding values": {"MaskFromValues", "MaskFromKeys", "MaskFromQueries"},
    "attention computed and not used": {"ReturnsItsInput", "ReturnsTheMeanOfItsInput", "UnusedParameter"},
    "padding changed in a table that should stay zero": {"SomethingAtPadding"},
    "a stopped training does not resume to the same": {"DrawsFromItsOwn", "SeedsTorch", "StateOutside"},
    "times of later items used": {"SpanOfTheWholeHistory"},
}
"""Known pitfalls of public code that an operator can cause, and the wrong operators that show them caught."""


@pytest.mark.parametrize("pitfall", CAUSED_BY_AN_OPERATOR)
def test_every_pitfall_is_in_the_gallery(pitfall: str) -> None:
    assert CAUSED_BY_AN_OPERATOR[pitfall] <= {wrong.component.__name__ for wrong in WRONG}
