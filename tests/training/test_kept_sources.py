"""A run trained with a variant of one's own keeps the file, and uses its copy once the file has changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from attnrec.core.errors import InputError
from attnrec.experiments.compare import plan, prepare
from attnrec.recommender import load
from attnrec.training.config import TrainConfig
from attnrec.training.run import train
from attnrec.training.run_directory import RunDirectory

OPERATOR = """
from attnrec.attention import AttentionOperator

class Scaled(AttentionOperator):
    def forward(self, q, k, v, ctx):
        return 2 * v
"""
DATA = "".join(f"u{user} i{(user * place) % 25}\n" for user in range(60) for place in range(6))
BASE = {"epochs": 1, "dim": 8, "max_len": 6, "eval_every": 1, "dataset": "data.txt", "device": "cpu"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.txt").write_text(DATA)
    (tmp_path / "mine.py").write_text(OPERATOR)
    return tmp_path


def factor(run: str) -> float:
    """What the run's operator multiplies by."""
    operator: Any = next(x for x in load(run).model.modules() if type(x).__name__ == "Scaled")
    return operator(None, None, 1.0, None)


@pytest.mark.parametrize("attention", ["mine.py", "./mine.py:Scaled+sdpa"])
def test_a_run_outlives_changes_of_the_file(folder: Path, attention: str) -> None:
    train(TrainConfig.of(attention=attention, **BASE), "run")
    assert (folder / "run/variants/mine.py").read_text() == OPERATOR
    before = load("run").recommend(["i1", "i2"])
    (folder / "mine.py").write_text(OPERATOR.replace("2 * v", "3 * v"))
    assert load("run").recommend(["i1", "i2"]) == before
    assert factor("run") == 2.0
    (folder / "mine.py").unlink()
    assert load("run").recommend(["i1", "i2"]) == before
    config = RunDirectory("run").config()
    assert str(config.model.attention) == attention
    more = TrainConfig.from_mapping(config.to_mapping() | {"epochs": 2})
    assert train(more, "run", resume=True)["epochs"] == 2
    (folder / "run").rename(folder / "moved")
    assert factor("moved") == 2.0
    assert factor(str(folder / "moved")) == 2.0


def test_a_comparison_refuses_a_file_that_has_changed(folder: Path) -> None:
    config = TrainConfig.of(**BASE)
    comparison = plan(config, ["sdpa", "mine.py"], 1, "compared")
    prepare(comparison)
    train(comparison.run_config("mine.py", 0), comparison.run("mine.py", 0).path)
    plan(config, ["sdpa", "mine.py"], 1, "compared")
    (folder / "mine.py").write_text(OPERATOR + "# more\n")
    with pytest.raises(InputError, match=r"mine\.py has changed since compared was started with it"):
        plan(config, ["sdpa", "mine.py"], 1, "compared")


def test_a_comparison_refuses_a_module_that_has_changed(folder: Path) -> None:
    (folder / "module_of_mine.py").write_text(OPERATOR)
    config, variants = TrainConfig.of(**BASE), ["sdpa", "module_of_mine:Scaled"]
    comparison = plan(config, variants, 1, "compared")
    prepare(comparison)
    run = comparison.run(variants[1], 0).path
    train(comparison.run_config(variants[1], 0), run)
    assert (run / "variants/module_of_mine.py").read_text() == OPERATOR
    plan(config, variants, 1, "compared")
    (folder / "module_of_mine.py").write_text(OPERATOR + "# more\n")
    with pytest.raises(InputError, match=r"module_of_mine\.py has changed since compared was started with it"):
        plan(config, variants, 1, "compared")


def test_a_file_may_be_mended_when_its_runs_have_failed(folder: Path) -> None:
    (folder / "mine.py").write_text(OPERATOR.replace("2 * v", "v[0]"))
    comparison = plan(TrainConfig.of(**BASE), ["sdpa", "mine.py"], 1, "compared")
    prepare(comparison)
    with pytest.raises(InputError, match=r"Scaled\.forward returned \[.*\], not \[.*\]; see `attnrec check`"):
        train(comparison.run_config("mine.py", 0), comparison.run("mine.py", 0).path)
    (folder / "mine.py").write_text(OPERATOR)
    again = plan(comparison.config, ["sdpa", "mine.py"], 1, "compared")
    prepare(again)
    assert not again.run("mine.py", 0).path.exists()


def test_two_files_of_one_name(folder: Path) -> None:
    (folder / "other").mkdir()
    (folder / "other/mine.py").write_text(OPERATOR)
    with pytest.raises(InputError, match="two files have the same name"):
        train(TrainConfig.of(attention="mine.py+other/mine.py", **BASE), "run")
    assert not (folder / "run/config.toml").exists()
