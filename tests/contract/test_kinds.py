"""One entry point finds out whether it is given an operator, a mixer or a model."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from attnrec.contract import check, check_mixer, check_operator
from attnrec.core.errors import InputError
from tests.contract.gallery import Right
from tests.contract.gallery_of_mixers import TwoMixers
from tests.contract.right_mixers import Filter, RightMixer
from tests.contract.right_models import Popularity

FILE = """
from attnrec.models.base import SequentialModel, item_table

class Mine(SequentialModel):
    def __init__(self, catalogue, config, *, sign: int = 1):
        super().__init__(catalogue, config)
        self.sign = sign
        self.items = item_table(catalogue, config.dim)

    def forward(self, batch):
        return self.sign * self.items(batch.items)
"""
VECTORS = """
    @property
    def item_vectors(self):
        return self.items.weight
"""


@pytest.mark.parametrize(
    ("component", "noun", "name"),
    [
        ("sdpa", "operator", "sdpa"),
        ("sasrec", "model", "sasrec"),
        (Right, "operator", "Right"),
        (RightMixer, "mixer", "RightMixer"),
        (partial(TwoMixers, impl="reference"), "mixer", "TwoMixers:impl=reference"),
        (Popularity, "model", "Popularity"),
        ("tests.contract.right_mixers:Filter", "mixer", "tests.contract.right_mixers:Filter"),
    ],
)
def test_the_kind_is_found_out(component: Any, noun: str, name: str) -> None:
    report = check(component, only=["shape"])
    assert (report.noun, report.component, report.holds) == (noun, name, True)
    assert report.as_json()["model" if noun == "model" else "attention"] == name


def test_a_model_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(FILE + VECTORS, encoding="utf-8")
    for name in ("mine.py", "mine.py:Mine:sign=-1"):
        assert check(name, only=["shape"]).component == name
    Path("mine.py").write_text(FILE, encoding="utf-8")
    with pytest.raises(InputError, match=r"mine\.py:Mine does not define item_vectors"):
        check("mine.py:Mine")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sdpaa", "unknown attention variant 'sdpaa'; did you mean sdpa?"),
        ("sasrek", "unknown model 'sasrek'; did you mean sasrec?"),
        ("sasrec:depth=3", "model 'sasrec' has no option 'depth'"),
        ("sdpa:fast", "'fast' is not of the form option=value"),
        ("tests.contract.gallery:Wrong", "is not a subclass of AttentionOperator (attnrec.attention), Mixer"),
    ],
)
def test_what_cannot_be_found(name: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        check(name)
    assert message in str(caught.value)


def test_a_mixer_is_no_operator() -> None:
    with pytest.raises(InputError, match="is a mixer; this needs an attention operator"):
        check_operator("tests.contract.right_mixers:Filter")


def test_an_operator_as_a_mixer_stands_between_the_projections() -> None:
    report = check_mixer("awr:refinement=value", only=["groups"])
    assert report.holds
    assert report.component == "awr:refinement=value"


def test_a_mixer_that_raises_says_so_once() -> None:
    class Raises(Filter):
        def filtered(self, x: Any) -> Any:
            raise RuntimeError("out of ideas")

    first, second = check(Raises, only=["shape", "groups"]).results
    assert first.figure.endswith(": out of ideas")
    assert (second.status, second.figure) == ("not run", "the mixer raises")
