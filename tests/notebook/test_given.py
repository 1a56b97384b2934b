"""Classes in place of names: in `train`, `compare` and the contract, loaded again here and in another program."""

from __future__ import annotations

import functools
import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import attnrec
from attnrec.attention import ATTENTION, AttentionOperator
from attnrec.attention.sdpa import ScaledDotProductAttention
from attnrec.training.config import TrainConfig
from tests.notebook.conftest import OPERATOR, Cell

MODEL = """
from attnrec.models.base import SequentialModel, item_table

class Average(SequentialModel):
    def __init__(self, catalogue, config, *, power: float = 1.0):
        super().__init__(catalogue, config)
        self.table, self.power = item_table(catalogue, config.dim), power

    def forward(self, batch):
        return self.power * self.table(batch.items)

    @property
    def item_vectors(self):
        return self.table.weight
"""


def asked(**options: Any) -> TrainConfig:
    return TrainConfig.of(**options)


def test_a_class_of_a_cell_is_trained_and_loaded_by_another_program(cell: Cell, small_data: dict[str, Any]) -> None:
    mine = cell(OPERATOR)["Mine"]
    summary = attnrec.train(attention=functools.partial(mine, scale=2.0), out="run", **small_data)
    assert summary["attention"].endswith("/Mine.py:Mine:scale=2.0")
    assert "class Mine" in Path("run/variants/Mine.py").read_text()
    before = attnrec.load("run").recommend(["i1", "i2"])
    Path(summary["attention"].partition(":")[0]).unlink()  # the cache may be emptied
    code = "import attnrec; print(attnrec.load('run').recommend(['i1', 'i2']) == " + repr(before) + ")"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "True\n", done.stderr


def test_another_version_of_the_cell_leaves_the_run_what_it_was(cell: Cell, small_data: dict[str, Any]) -> None:
    attnrec.train(attention=cell(OPERATOR)["Mine"], out="run", **small_data)
    before = attnrec.load("run").recommend(["i1", "i2"])
    newer = cell(OPERATOR.replace("@ v\n", "@ v * 50\n"))["Mine"]
    assert attnrec.load("run").recommend(["i1", "i2"]) == before
    with pytest.raises(attnrec.InputError, match="the run was started with `attention="):
        attnrec.train(out="run", resume=True, attention=newer)


def test_a_model_and_a_class_for_each_block(cell: Cell, small_data: dict[str, Any]) -> None:
    names = cell(OPERATOR + MODEL)
    summary = attnrec.train(
        model=functools.partial(names["Average"], power=2), out="model", **small_data | {"blocks": 2}
    )
    assert summary["model"].endswith("/Average.py:Average:power=2")
    several = asked(attention=["sdpa", names["Mine"], ScaledDotProductAttention]).model.attention
    assert several.label == "sdpa+Mine+sdpa"


@pytest.mark.slow
def test_compare_takes_classes(cell: Cell, small_data: dict[str, Any]) -> None:
    mine = cell(OPERATOR)["Mine"]
    variants = ["sdpa", mine, functools.partial(mine, kind="other")]
    result = attnrec.compare(variants, out="compared", seeds=1, **small_data)
    assert [entry["attention"] for entry in result.values["variants"]] == ["sdpa", "Mine", "Mine:kind=other"]
    assert not result.problems()
    newer = cell(OPERATOR.replace("@ v\n", "@ v * 2\n"))["Mine"]
    with pytest.raises(attnrec.InputError, match=r"another version of Mine; choose another `out`"):
        attnrec.compare(["sdpa", newer], out="compared", seeds=1, **small_data)


def test_the_contract_takes_a_class_of_a_cell(cell: Cell) -> None:
    report = attnrec.check_operator(cell(OPERATOR)["Mine"], only=["no future leak", "shape"])
    assert report.component == "Mine"
    assert report.holds


def test_a_class_of_a_file_or_module(small_data: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    content = "from attnrec.attention import AttentionOperator\n" + OPERATOR.replace(": Tensor", "")
    Path("of_a_file.py").write_text(content)
    Path("of_a_package").mkdir()
    Path("of_a_package/part.py").write_text(content)
    monkeypatch.syspath_prepend(str(Path.cwd()))
    for cls, text in (
        (ScaledDotProductAttention, "sdpa"),
        (importlib.import_module("of_a_file").Mine, "of_a_file.py:Mine"),
        (ATTENTION.find("of_a_file.py"), "of_a_file.py:Mine"),
        (importlib.import_module("of_a_package.part").Mine, "of_a_package.part:Mine"),
    ):
        assert str(asked(attention=cls).model.attention) == text


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (int, "attention must be a string or a subclass of AttentionOperator"),
        (3, "attention must be a string, not 3"),
        ([], "attention must be a string"),
        (object(), "attention must be a string or a subclass"),
        (functools.partial(ScaledDotProductAttention, 2), "give the options of a partial by keyword"),
        (functools.partial(ATTENTION.find("sdpa"), width=2), "'sdpa' has no option 'width'"),
        (functools.partial(ATTENTION.find("awr"), refinement=[2]), r"option refinement must be a string or a number"),
    ],
)
def test_what_is_no_class_is_refused(given: Any, message: str) -> None:
    with pytest.raises(attnrec.InputError, match=message):
        asked(attention=given)


def test_a_class_in_a_function_is_refused() -> None:
    class Inside(AttentionOperator):
        pass

    with pytest.raises(attnrec.InputError, match=r"Inside is not the class of that name in "):
        asked(attention=Inside)


def test_an_option_that_no_text_can_hold_is_refused(cell: Cell) -> None:
    mine = cell(OPERATOR)["Mine"]
    with pytest.raises(attnrec.InputError, match="would be read as something else"):
        asked(attention=functools.partial(mine, kind="a,b"))


def test_a_name_registered_again_in_a_notebook_is_replaced(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ATTENTION, "_registered", ATTENTION.registered())
    for source in (OPERATOR, OPERATOR, OPERATOR.replace("Mine", "Renamed")):
        names = cell("@register_attention('mine')" + source)
        assert ATTENTION.find("mine") is names["Renamed" if "Renamed" in source else "Mine"]
    monkeypatch.setattr(sys.modules["__main__"], "__file__", "script.py", raising=False)
    with pytest.raises(ValueError, match="already registered"):
        cell("@register_attention('mine')" + OPERATOR)
