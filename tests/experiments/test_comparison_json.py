"""`comparison.json`: its keys and types, which other tools rely on, and reading it back."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from attnrec.core.errors import InputError
from attnrec.core.spec import Specs
from attnrec.experiments.compare import Comparison
from attnrec.experiments.report import build_result, write_result
from attnrec.experiments.result import ComparisonFindings, read_result
from attnrec.experiments.tables import to_markdown

OVER_SEEDS = {"mean": "float", "sd": "float", "values": ["float"]}
METRICS = dict.fromkeys(("NDCG@1", "NDCG@5", "NDCG@10", "Hit@1", "Hit@5", "Hit@10", "MRR"), OVER_SEEDS)
DIFFERENCE = {
    **dict.fromkeys(("mean", "low", "high", "adjusted_low", "adjusted_high", "adjusted_level"), "float"),
    **dict.fromkeys(("p_value", "p_holm"), "float"),
    "users": "int",
    "seeds": "int",
    "verdict": "str",
    "more_seeds": "int or None",
    "users_part": "float or None",
    "advice": "str",
}
UNFINISHED = {
    "attention": "str",
    "options": {"attention": "str"},
    "seeds": [],
    "failed": [{"seed": "int", "message": "str"}],
    "missing": ["int"],
    "seconds_ratio": "NoneType",
    "valid_at_equal_time": "NoneType",
}
FIRST = {
    "attention": "str",
    "options": {"attention": "str"},
    "seeds": ["int"],
    "failed": [],
    "missing": [],
    "parameters": "int",
    "seconds_per_epoch": "float",
    "peak_memory_bytes": "int",
    "epochs": ["int"],
    "best_epoch": ["int"],
    "test": {"full": METRICS, "sampled": METRICS},
    "grad_norm": dict.fromkeys(("mean", "max", "last", "trend", "mean_of_last_batch_of_epoch"), OVER_SEEDS),
    "seconds_ratio": "float",
    "valid_at_equal_time": OVER_SEEDS,
}
RESULT = {
    **dict.fromkeys(("out", "dataset", "loss", "selected_by", "metric"), "str"),
    "seeds": ["int"],
    "variants": [FIRST, FIRST | {"difference": {"full": DIFFERENCE, "sampled": DIFFERENCE}}, UNFINISHED],
    "differing": [],
    "equal_time": {"fastest": "str", "seconds": "float"},
    "warnings": ["str"],
}
"""Of a comparison as versions before these classes wrote it: two variants with two seeds, and one without a result."""


def structure(value: Any) -> Any:
    """Keys, and types of values; a list of numbers or texts by the type of all of them."""
    if isinstance(value, dict):
        return {key: structure(inner) for key, inner in value.items()}
    if isinstance(value, list):
        inner = [structure(one) for one in value]
        return inner[:1] if all(isinstance(one, str) and one == inner[0] for one in inner) else inner
    return type(value).__name__


@pytest.fixture(scope="module")
def comparison(finished: Comparison, tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """Two variants with two seeds, and one without a finished run, in a folder of its own."""
    folder = tmp_path_factory.mktemp("three")
    (folder / "runs").symlink_to(finished.path / "runs")
    variants = {**finished.variants, "linear": {"attention": Specs.parse("linear")}}
    return replace(finished, path=folder, variants=variants)


@pytest.fixture(scope="module")
def found(comparison: Comparison) -> ComparisonFindings:
    """Its result, written to the folder; of the variant without a result, one run failed and the other is missing."""
    result = build_result(comparison, {("linear", 4): "out of memory"})
    write_result(comparison, result)
    return result


def test_keys_and_types_stay(comparison: Comparison, found: ComparisonFindings) -> None:
    written = json.loads((comparison.path / "comparison.json").read_text())
    assert written == found.as_json()
    for of in written["variants"][1]["difference"].values():
        for key, kind in (("more_seeds", int), ("users_part", float)):  # there is one or the other, as it turns out
            assert isinstance(of[key], kind | None)
            of[key] = None
    for variant in written["variants"][:2]:
        if variant["valid_at_equal_time"] is None:  # not validated in the time of the fastest, which differs by run
            variant["valid_at_equal_time"] = {"mean": 0.5, "sd": 0.5, "values": [0.5]}
    expected = json.loads(json.dumps(RESULT).replace("int or None", "NoneType").replace("float or None", "NoneType"))
    assert structure(written) == expected


def test_what_is_read_back_is_what_was_written(comparison: Comparison, found: ComparisonFindings) -> None:
    assert read_result(comparison.path) == found
    assert to_markdown(comparison, read_result(comparison.path)) == (comparison.path / "comparison.md").read_text()
    assert found.variants[2].figures is None
    assert found.variants[2].missing == (5,)


def test_options_of_a_variant_are_plain(comparison: Comparison) -> None:
    attention = Specs.parse("sdpa")
    options = {"attention": attention, "position": False, "lr": 0.5, "features": ("brand", "colour")}
    result = build_result(replace(comparison, variants={**comparison.variants, "linear": options}))
    assert result.as_json()["variants"][2]["options"] == {
        "attention": "sdpa",
        "position": False,
        "lr": 0.5,
        "features": ["brand", "colour"],
    }


def edited(change: Callable[[dict[str, Any]], Any]) -> Callable[[str], str]:
    def edit(content: str) -> str:
        values = json.loads(content)
        change(values)
        return json.dumps(values)

    return edit


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda content: content[:-100], "is not what a comparison writes: "),
        (lambda content: "[" * 100_000, "is not what a comparison writes: "),
        (lambda content: "[]", "is not what a comparison writes: it is not an object"),
        (edited(lambda values: values.pop("metric")), "metric is missing"),
        (edited(lambda values: values["variants"][1].pop("parameters")), r"variants\[1\]\.parameters is missing"),
        (edited(lambda values: values["variants"].append(3)), r"variants\[3\] is not an object"),
        (edited(lambda values: values.update(seeds=[4, "5"])), r"seeds\[1\] is not a whole number"),
        (edited(lambda values: values.update(equal_time={"fastest": "sdpa"})), r"equal_time\.seconds is missing"),
        (
            edited(lambda values: values["variants"][0]["test"]["full"]["MRR"].update(mean="high")),
            r"variants\[0\]\.test\.full\.MRR\.mean is not a number",
        ),
        (
            edited(lambda values: values["variants"][1]["difference"]["full"].update(verdict="worst")),
            r"variants\[1\]\.difference\.full\.verdict is not one of better, worse, no difference shown, not tested",
        ),
    ],
)
def test_what_is_no_result_is_told_in_a_line(
    found: ComparisonFindings, tmp_path: Path, damage: Callable[[str], str], words: str
) -> None:
    (tmp_path / "comparison.json").write_text(damage(json.dumps(found.as_json())))
    with pytest.raises(InputError, match=words) as caught:
        read_result(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_result(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*comparison\.json: No such file or directory"):
        read_result(tmp_path)
