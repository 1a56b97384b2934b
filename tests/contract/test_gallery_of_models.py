"""The contract names the fault of every wrong model, and finds none in a right one."""

from __future__ import annotations

import pytest

from attnrec.contract import check_model, check_names
from attnrec.models.base import SequentialModel
from tests.contract.gallery import Wrong
from tests.contract.gallery_of_models import WRONG
from tests.contract.right_models import RIGHT, LastItemAndUser, Popularity, RightModel, WithWeights


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.component.__name__)
def test_the_fault_is_named(wrong: Wrong) -> None:
    report = check_model(wrong.component)  # type: ignore[arg-type]
    failed = {result.name: result for result in report.failures}
    assert wrong.check in failed, str(report)
    assert wrong.says in failed[wrong.check].fault
    assert set(failed) == {wrong.check, *wrong.also}, str(report)


@pytest.mark.slow
@pytest.mark.parametrize("model", RIGHT, ids=lambda model: model.__name__)
def test_right_models_keep_the_contract(model: type[SequentialModel]) -> None:
    report = check_model(model)
    assert report.holds, str(report)
    left_out = {result.name: result.figure for result in report.results if result.status == "not run"}
    reasons = {
        Popularity: "scores depend on no item of the history",
        LastItemAndUser: "scores depend only on the last item",
    }
    weights = {} if model is WithWeights else {"attention weights": "the model has none"}
    assert left_out == weights | ({"history": reasons[model]} if model in reasons else {})


def test_every_check_has_a_wrong_model() -> None:
    """But for the use of the history, which a model may do without."""
    assert {wrong.check for wrong in WRONG} == {*check_names("model")} - {"history"}


def test_a_model_that_looks_at_no_dropout_need_not_drop() -> None:
    class WithoutDropout(RightModel):
        uses = frozenset({"max_len", "dim"})

        def embedded(self, batch):  # type: ignore[no-untyped-def]
            return self.items(batch.items)

    report = check_model(WithoutDropout, only=["dropout"])
    assert (report.holds, report.results[0].figure) == (True, "none")
