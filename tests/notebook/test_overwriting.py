"""``overwrite=True`` begins anew where attnrec wrote before, and loses nothing when that fails."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import attnrec
from attnrec.core.errors import RunWarning
from attnrec.core.locks import FolderLock
from attnrec.training import claiming
from attnrec.training.observer import Observer
from attnrec.training.run_directory import RunDirectory


class Failing(Observer):
    """Ends a training with an error at its start, or at an evaluation."""

    def __init__(self, at_start: bool) -> None:
        self.at_start = at_start

    def started(self, trainer: Any) -> None:
        if self.at_start:
            raise ZeroDivisionError

    def evaluated(self, trainer: Any, metrics: Any) -> None:
        raise ZeroDivisionError


def contents(folder: str) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(Path(folder).rglob("*")) if path.is_file()}


@pytest.fixture
def run(small_data: dict[str, Any]) -> dict[str, Any]:
    """Options of a run that is there, with files of the user's own in its folder."""
    attnrec.train(out="run", **small_data)
    Path("run/notes.txt").write_text("mine")
    Path("run/state/notes.txt").write_text("mine too")
    return small_data


def test_a_run_is_replaced_and_nothing_else(run: dict[str, Any]) -> None:
    with pytest.raises(attnrec.InputError, match="run already holds a run"):
        attnrec.train(out="run", seed=1, **run)
    result = attnrec.train(out="run", overwrite=True, seed=1, **run)
    assert RunDirectory.open("run").config().training.seed == 1
    assert not RunDirectory.open("run").problems()
    assert result["run"] == "run"
    assert Path("run/notes.txt").read_text() == "mine"
    assert list(contents("run/replaced-1")) == ["run/replaced-1/state/notes.txt"]


def test_a_folder_without_a_run_is_begun_as_ever(small_data: dict[str, Any]) -> None:
    attnrec.train(out="new", overwrite=True, **small_data)
    assert not list(Path("new").glob("replaced*"))
    Path("other").mkdir()
    Path("other/weights.safetensors").write_text("mine")
    with pytest.raises(attnrec.InputError, match="other already holds files; choose another `out`"):
        attnrec.train(out="other", overwrite=True, **small_data)
    assert list(contents("other")) == ["other/weights.safetensors"]


def test_what_cannot_begin_leaves_the_run_what_it_was(run: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents("run")

    def begun(error: type[BaseException], **options: Any) -> None:
        with pytest.raises(error):
            attnrec.train(out="run", overwrite=True, **run | options)
        assert contents("run") == before

    begun(attnrec.InputError, attention="spda")
    begun(attnrec.InputError, resume=True)
    begun(ZeroDivisionError, observer=Failing(at_start=True))
    with FolderLock(Path("run")), pytest.raises(attnrec.InputError, match="in use by another process"):
        attnrec.train(out="run", overwrite=True, **run)
    assert contents("run") == before
    for calls in (1, 4, 10):
        with monkeypatch.context() as patch:
            patch.setattr(claiming, "os", FailingOS(calls))
            begun(attnrec.RunError)


class FailingOS:
    """Stands for `os`; its ``replace`` fails once, at the call of that number."""

    def __init__(self, calls: int) -> None:
        self.calls = calls

    def __getattr__(self, name: str) -> Any:
        return self._replace if name == "replace" else getattr(os, name)

    def _replace(self, source: Path, target: Path) -> None:
        self.calls -= 1
        if self.calls == 0:
            raise OSError(5, "Input/output error")
        os.replace(source, target)


def test_a_run_stays_where_the_new_one_has_no_result(run: dict[str, Any]) -> None:
    before = attnrec.load("run").recommend(["i1", "i2"])
    told = pytest.warns(RunWarning, match="the earlier run in run is now in run/replaced-1")
    with told, pytest.raises(ZeroDivisionError):
        attnrec.train(out="run", overwrite=True, observer=Failing(at_start=False), **run)
    assert attnrec.load("run/replaced-1").recommend(["i1", "i2"]) == before
    attnrec.train(out="run", overwrite=True, **run)
    assert attnrec.load("run/replaced-1").recommend(["i1", "i2"]) == before
    assert not Path("run/replaced-2").exists()


def test_a_move_that_was_killed_goes_on(run: dict[str, Any]) -> None:
    Path("run/.replaced-1").mkdir()
    Path("run/config.toml").rename("run/.replaced-1/config.toml")
    attnrec.train(out="run", overwrite=True, **run)
    assert not RunDirectory.open("run").problems()
    assert not Path("run/.replaced-1").exists()


@pytest.mark.slow
def test_a_comparison_is_replaced(small_data: dict[str, Any]) -> None:
    compare: Callable[..., Any] = attnrec.compare
    compare(["sdpa", "linear"], out="compared", seeds=1, **small_data)
    Path("compared/notes.txt").write_text("mine")
    Path("compared/runs/sdpa/notes.txt").write_text("mine too")
    other = small_data | {"dim": 4}
    with pytest.raises(attnrec.InputError, match="compared holds a comparison with `dim=8`, not 4"):
        compare(["sdpa", "alibi"], out="compared", seeds=1, **other)
    result = compare(["sdpa", "alibi"], out="compared", seeds=1, overwrite=True, **other)
    assert not result.problems()
    assert sorted(path.name for path in Path("compared/runs").iterdir()) == ["alibi", "sdpa"]
    assert Path("compared/notes.txt").read_text() == "mine"
    assert list(contents("compared/replaced-1")) == ["compared/replaced-1/runs/sdpa/notes.txt"]
    assert compare(["sdpa", "alibi"], out="compared", seeds=1, **other).values == result.values


@pytest.mark.slow
def test_a_comparison_stays_where_the_new_one_is_not_whole(small_data: dict[str, Any]) -> None:
    compare: Callable[..., Any] = attnrec.compare
    before = compare(["sdpa", "linear"], out="compared", seeds=1, **small_data)
    Path("broken.py").write_text(
        "from attnrec.attention import AttentionOperator\n"
        "class Broken(AttentionOperator):\n    def forward(self, q, k, v, ctx): raise ZeroDivisionError\n"
    )
    with pytest.warns(RunWarning, match="the comparison that was in compared is in compared/replaced-1"):
        result = compare(["sdpa", "broken.py"], out="compared", seeds=1, overwrite=True, **small_data)
    assert result.problems()
    again = compare(["sdpa", "linear"], out="compared/replaced-1", seeds=1, **small_data)
    assert again.values["variants"] == before.values["variants"]


def test_what_is_no_comparison_is_refused(run: dict[str, Any]) -> None:
    before = contents("run")
    with pytest.raises(attnrec.InputError, match=r"run holds other files, but no comparison\.toml"):
        attnrec.compare(["sdpa", "linear"], out="run", seeds=1, overwrite=True, **run)
    assert contents("run") == before
