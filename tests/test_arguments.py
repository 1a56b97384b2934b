"""What the Python interface is given: wrong kinds are refused in a line, and nothing is read as another."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import attnrec
from attnrec import InputError

SMALL: dict[str, Any] = {"dim": 8, "max_len": 10, "epochs": 1, "device": "cpu", "dataset": "small.txt"}
TWO = ["sdpa", "linear"]
call: Any = attnrec  # whose types would keep a checker from what is tried here


@pytest.fixture(autouse=True, scope="module")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A folder with a data set and a run, which no test here changes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("arguments"))
        lines = [f"u{user} i{(user * place) % 25}\n" for user in range(60) for place in range(1, 7)]
        Path("small.txt").write_text("".join(lines))
        attnrec.train(out="run", **SMALL)
        yield


class Place(os.PathLike[str]):
    def __init__(self, name: str) -> None:
        self.name = name

    def __fspath__(self) -> str:
        return self.name


def refused(function: Callable[..., Any], message: str, *given: Any, **options: Any) -> None:
    before = sorted(path.name for path in Path().iterdir())
    with pytest.raises(InputError) as stopped:
        function(*given, **options)
    assert message in str(stopped.value)
    assert "\n" not in str(stopped.value)
    assert sorted(path.name for path in Path().iterdir()) == before


@pytest.mark.parametrize("value", ["no", "", 1, 0, None, "False"])
def test_flags_are_true_or_false(value: object) -> None:
    kinds: dict[Any, tuple[str, ...]] = {
        attnrec.train: ("trust_code", "resume"),
        attnrec.plot: ("trust_code", "attention_map"),
        attnrec.load: ("trust_code",),
    }
    for function, names in kinds.items():
        for name in names:
            options: dict[str, Any] = {"out": "run"} if function is attnrec.train else {"run": "run"}
            refused(function, f"`{name}` must be True or False, not {value!r}", **options, **{name: value})
    refused(call.compare, "`trust_code` must be True or False", TWO, trust_code=value, **SMALL)
    model = attnrec.load("run")
    refused(model.recommend, "`include_seen` must be True or False", ["i1"], include_seen=value)
    refused(model.evaluate, "`newer` must be True or False", newer=value)
    refused(model.segments, "`newer` must be True or False", newer=value)


def test_force_that_is_no_truth_value_replaces_nothing() -> None:
    kept = Path("kept.parquet")
    kept.write_text("mine")
    refused(call.prepare, "`force` must be True or False, not 'no'", "small.txt", kept, force="no")
    assert kept.read_text() == "mine"


@pytest.mark.parametrize("value", [1, b"run", [], ["run"], "", "a\0b", 1.5])
def test_paths(value: object) -> None:
    refused(call.train, "`out` must be a path, not", out=value, **SMALL)
    refused(call.train, "`out` must be a path, not", out=value, resume=True)
    refused(call.compare, "`out` must be a path, not", TWO, out=value, **SMALL)
    refused(call.prepare, "`out` must be a path, not", "small.txt", value)
    refused(call.prepare, "`items` must be a path, not", "small.txt", items=value)
    refused(call.plot, "`items` must be a path, not", "run", attention_map=True, items=value)
    refused(attnrec.load("run").evaluate, "`dataset` must be a path, not", dataset=value)
    for function in (call.load, call.plot):
        for wrong in (value, None):
            refused(function, "`run` must be a path, not", wrong)


def test_whatever_stands_for_a_path_is_one() -> None:
    assert attnrec.load(Place("run")).evaluate(dataset=Place("small.txt"))["full"]  # type: ignore[arg-type]
    assert list(attnrec.plot(Place("run"))) == ["training"]  # type: ignore[arg-type]
    assert attnrec.prepare([Place("small.txt")]).data.num_users == 60
    frame = pd.DataFrame({"item": ["i1"]})
    refused(call.plot, "`items` must be a path, not a DataFrame", "run", attention_map=True, items=frame)


@pytest.mark.parametrize("value", ["2", None, 1.0, [0, 1], True, np.True_, np.array([1])])
def test_whole_numbers(value: object) -> None:
    refused(call.compare, "`seeds` must be a whole number, not", TWO, seeds=value, **SMALL)
    refused(call.compare, "`jobs` must be a whole number, not", TWO, jobs=value, **SMALL)
    refused(call.shuffle_test, "`seeds` must be a whole number, not", "small.txt", seeds=value)
    refused(attnrec.load("run").recommend, "`top` must be a whole number, not", ["i1"], top=value)
    refused(call.plot, "`slots` must be a whole number, not", "run", attention_map=True, slots=value)
    refused(call.plot, "`users` must be a whole number, not", "run", attention_map=True, users=value)
    refused(call.check_operator, "`heads` must be a whole number, not", "sdpa", heads=value)
    refused(call.check_operator, "`head_dim` must be a whole number, not", "sdpa", head_dim=value)


def test_limits() -> None:
    refused(attnrec.compare, "`jobs` must be at least 1, not 0", TWO, jobs=0, out="compared", **SMALL)
    refused(attnrec.compare, "`seeds` must be at least 1, not 0", TWO, seeds=0, **SMALL)
    refused(attnrec.plot, "`slots` must be at least 2, not 1", "run", attention_map=True, slots=1)
    refused(attnrec.plot, "`users` must be at least 1, not -5", "run", attention_map=True, users=-5)
    refused(attnrec.check_operator, "`heads` must be at least 1, not 0", "sdpa", heads=0)


def test_histories_are_lists() -> None:
    model: Any = attnrec.load("run")
    for value, what in ((None, "None"), (5, "5"), ({"i1", "i2"}, "a set, which has no order"), ({"i1": 1}, "a dict")):
        refused(model.recommend, f"`history` must be a list of item ids, not {what}", value)
    assert model.recommend(np.array(["i1", "i2"]), top=np.int64(3)) == model.recommend(("i1", "i2"), top=3)
    refused(model.recommend, "`timestamps` must be a list of numbers, not 5", ["i1"], timestamps=5)
    refused(model.recommend, "a timestamp must be a number, not '5'", ["i1"], timestamps=["5"])


def test_cutoffs() -> None:
    model: Any = attnrec.load("run")
    refused(model.evaluate, "`cutoffs` must be a list of whole numbers, not 5", cutoffs=5)
    for value in (["5"], [2.5], [True]):
        refused(model.evaluate, f"a cut-off N must be a whole number, not {value[0]!r}", cutoffs=value)
    assert model.evaluate(cutoffs=np.array([1, 5])) == model.evaluate(cutoffs=[1, 5])


def test_observers_and_configurations() -> None:
    for value in (1, print, attnrec.Printer):
        refused(call.train, "`observer` must be of the class Observer, not", observer=value, **SMALL)
        refused(call.compare, "`observer` must be of the class ComparisonObserver", TWO, observer=value, **SMALL)
        refused(call.shuffle_test, "`observer` must be of the class Observer, not", "small.txt", observer=value)
    refused(call.train, "`config` must be a TrainConfig, not 'x.toml'", "x.toml")
    refused(call.compare, "`config` must be a TrainConfig, not a dict", TWO, {})


def test_variants_are_a_list_and_no_option() -> None:
    refused(call.compare, "`variants` must be a list of variants, not 'sdpa'", "sdpa", **SMALL)
    refused(call.compare, "`variants` must be a list of variants, not a set", {"sdpa", "linear"}, **SMALL)
    refused(call.compare, "attention cannot be given as well", TWO, attention="sdpa", **SMALL)


def test_texts() -> None:
    wrong: list[Any] = [1, []]
    for value in wrong:
        refused(call.prepare, "`recipe` must be a string, not", "small.txt", recipe=value)
        refused(call.prepare, "`name` must be a string, not", "small.txt", name=value)
        refused(call.plot, "`category` must be a string, not", "run", attention_map=True, items="i.csv", category=value)


@pytest.mark.parametrize("value", [None, 1, object, object(), lambda: 1])
def test_operators(value: object) -> None:
    refused(call.check_operator, "`operator` must be the name of an operator, its class or a function of", value)


def test_what_a_function_builds_is_an_operator() -> None:
    refused(call.check_operator, "returns int, not AttentionOperator", lambda *given: 1)


def test_checks_and_devices() -> None:
    refused(call.check_operator, "`only` must be a list of names, not 1", "sdpa", only=1)
    refused(call.check_operator, "`only` must be a list of names, not 'shape'", "sdpa", only="shape")
    refused(call.check_operator, "a name in only must be a string, not 1", "sdpa", only=[1])
    refused(call.check_operator, "`device` must be a string such as cpu or cuda", "sdpa", device=1)
    refused(call.check_operator, "torch knows no device 'gpu'", "sdpa", device="gpu")
    missing = f"cuda:{torch.cuda.device_count()}"
    refused(call.check_operator, f"device {missing}: torch finds no such CUDA GPU", "sdpa", device=missing)


TOO_LONG = "x" * 300


@pytest.mark.parametrize(
    "tried",
    [
        lambda: call.train(attention=TOO_LONG),
        lambda: call.train(model=f"{TOO_LONG}.py"),
        lambda: call.train(start_from=TOO_LONG),
        lambda: call.train(out=TOO_LONG, **SMALL),
        lambda: call.load(TOO_LONG),
        lambda: call.history(TOO_LONG),
        lambda: call.plot(TOO_LONG),
        lambda: call.check(f"{TOO_LONG}.py"),
        lambda: call.compare(TWO, out=TOO_LONG, **SMALL),
        lambda: call.compare(["sdpa", attnrec.Variant("alibi", label=TOO_LONG)], **SMALL),
    ],
)
def test_names_too_long_for_a_file_system(tried: Callable[[], object]) -> None:
    before = sorted(Path().iterdir())
    with pytest.raises(InputError) as refused:
        tried()
    assert "\n" not in str(refused.value)
    assert sorted(Path().iterdir()) == before


NO_PLANS: list[dict[str, Any]] = [
    {"attention": None},
    {"attention": [3]},
    {"attention": [np.array([1, 2])]},
    {"attention": []},
    {"seq_lens": 16},
    {"seq_lens": ["x"]},
    {"seq_lens": [1.5]},
    {"seq_lens": []},
    {"heads": True},
    {"passes": 3},
    {"precision": []},
    {"seconds": "x"},
    {"out": 3},
    {"colour": 3},
]


@pytest.mark.parametrize(
    "tried",
    [
        lambda: call.train(attention=np.int64(8)),
        lambda: call.train(attention=np.array([1, 2])),
        lambda: call.train(model=np.array(3)),
        lambda: call.train(start_from=np.array([1, 2])),
        lambda: call.history(3),
        lambda: call.Variant("alibi", label=3),
        lambda: call.Variant("alibi", label="\ud800"),
        lambda: call.Variant("alibi", label=".."),
        lambda: call.compare([None, "sdpa"]),
        *(partial(call.bench, **options) for options in NO_PLANS),
    ],
)
def test_wrong_kinds_elsewhere(tried: Callable[[], object]) -> None:
    with pytest.raises(InputError) as refused:
        tried()
    assert "\n" not in str(refused.value)
