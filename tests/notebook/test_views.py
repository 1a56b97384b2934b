"""What a notebook shows of results, and that nothing in them is taken for HTML."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import attnrec
from attnrec.attention import AttentionOperator
from attnrec.core import html
from attnrec.experiments.tables import tables
from attnrec.recommender import Recommendations
from tests.training.test_nonfinite import Poison

EVIL = "<script>alert('&')</script>"


class Tags(HTMLParser):
    """The names of the tags of a text, which must be closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.names.append(tag)
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def shown(result: Any) -> str:
    text: str = result._repr_html_()
    assert "script" not in Tags(text).names
    return text


@pytest.fixture
def evil_data(small_data: dict[str, Any]) -> dict[str, Any]:
    """Data whose every item has markup in its id, in a file that has it in its name."""
    name = "a<b>c.txt"
    lines = Path("small.txt").read_text().splitlines()
    Path(name).write_text("".join(f"{line}{EVIL.replace(' ', '')}\n" for line in lines))
    return small_data | {"dataset": name}


def test_a_training_and_its_model(evil_data: dict[str, Any]) -> None:
    result = attnrec.train(out="run", **evil_data | {"epochs": 2})
    assert json.loads(json.dumps(result)) == json.loads(Path("run/summary.json").read_text()) == result
    assert result["test"]["full"]["NDCG@10"] >= 0
    text = shown(result)
    assert "sdpa on a&lt;b&gt;c" in text
    assert f"{result['test']['full']['NDCG@10']:.4f}" in text
    assert "run directory: run" in str(result)
    assert re.search(r"NDCG@10 +0\.\d{4} +0\.\d{4}", str(result))
    model = result.load()
    assert "a&lt;b&gt;c.txt" in shown(model)
    assert "&lt;script&gt;" in shown(model)  # in the example of its use
    best = model.recommend([model.vocabulary.items[0]], top=3)
    assert best == list(best)
    assert len(best) == 3
    assert shown(best).count("&lt;script&gt;") == 3


def test_recommendations_with_titles() -> None:
    text = shown(Recommendations([("i1", 0.5)], [EVIL]))
    assert '<th style="text-align: left">title</th>' in text
    assert "&lt;script&gt;" in text


@pytest.mark.slow
def test_a_comparison(small_data: dict[str, Any]) -> None:
    result = attnrec.compare(["sdpa", attnrec.Variant("linear", label=EVIL)], out="compared", seeds=2, **small_data)
    text = shown(result)
    assert text.count("<table>") == len(tables(result.found))
    assert "&lt;script&gt;" in text
    assert "Warning: " in text
    assert len(result.history("sdpa", 1).steps["loss"]) > 0
    with pytest.raises(KeyError):
        result.history("linear", 0)


def test_a_report_of_the_contract() -> None:
    class Leaky(AttentionOperator):
        def forward(self, q: Any, k: Any, v: Any, ctx: Any) -> Any:
            return v.flip(2)

    Leaky.__name__ = EVIL
    report = attnrec.check_operator(Leaky, only=["shape", "no future leak"])
    text = shown(report)
    assert "&lt;script&gt;" in text
    assert '<td style="text-align: left">no future leak</td><td style="text-align: left">fails</td>' in text
    assert "<li>no future leak: an item may only see itself" in text


def test_a_shuffle_test(evil_data: dict[str, Any]) -> None:
    tested = attnrec.shuffle_test(**evil_data)
    text = shown(tested)
    assert tested.verdict in text
    assert "Shuffle test of a&lt;b&gt;c" in text
    assert text.count("<table>") == 2


def test_cells_are_escaped() -> None:
    parts = [html.heading(EVIL), html.paragraph(EVIL), html.items([EVIL]), html.code(EVIL)]
    text = "".join([*parts, html.table((EVIL,), [(EVIL,)])])
    assert "script" not in Tags(text).names
    assert "&lt;script&gt;alert(&#x27;&amp;&#x27;)" in text
    assert html.items([]) == ""


def test_history_has_columns(small_data: dict[str, Any]) -> None:
    result = attnrec.train(out="run", **small_data | {"epochs": 3, "batch_size": 16, "cutoffs": (5,)})
    found = attnrec.history("run")
    lines = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "step" in line]
    assert found.steps["step"].tolist() == list(range(1, len(steps) + 1))
    assert found.steps["epoch"].dtype == np.int64
    for name in ("epoch", "loss", "grad_norm"):
        assert found.steps[name].tolist() == [line[name] for line in steps]
    valid = [line for line in lines if "valid" in line]
    assert found.evaluations["epoch"].tolist() == [1, 2, 3]
    assert found.evaluations["seconds"].tolist() == [line["seconds"] for line in valid]
    assert found.evaluations["sampled NDCG@5"].tolist() == [line["valid"]["sampled"]["NDCG@5"] for line in valid]
    assert list(pd.DataFrame(found.evaluations).columns) == list(found.evaluations)
    for same in (result.history(), attnrec.load("run").history()):
        assert same.steps["loss"].tolist() == found.steps["loss"].tolist()
    with pytest.raises(attnrec.InputError, match="there is no run directory"):
        attnrec.history("nowhere")


def test_a_step_that_was_left_out_has_no_loss(small_data: dict[str, Any]) -> None:
    options = small_data | {"epochs": 2, "batch_size": 16, "skip_nonfinite": 1}
    attnrec.train(out="run", observer=Poison(3), **options)
    steps = attnrec.history("run").steps
    assert np.flatnonzero(np.isnan(steps["loss"])).tolist() == [2]
    assert len({len(column) for column in steps.values()}) == 1
