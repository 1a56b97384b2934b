"""The rows of the results page: they can be trained, and the page shows what was kept of them."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from attnrec.training.config import TrainConfig

ROOT = Path(__file__).resolve().parents[2]
accuracy = runpy.run_path(str(ROOT / "benchmarks" / "accuracy.py"))


@pytest.mark.parametrize(("page", "columns"), [("docs/results.md", "_LONG"), ("README.md", "_SHORT")])
def test_the_pages_show_the_kept_results(page: str, columns: str) -> None:
    assert accuracy["table"](accuracy[columns]) in (ROOT / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", accuracy["rows"]())
def test_every_kept_run_has_the_options_of_its_row(name: str) -> None:
    row = accuracy["rows"]()[name]
    for result in accuracy["results"](name):
        seed = result["seed"]
        config = TrainConfig.from_mapping(row["options"] | {"seed": seed, "split": "leave-one-out"}).to_mapping()
        del config["dataset"]
        kept = result["options"]
        # an option that came after the run has its default, and what is held out was always the last items
        later = {name: value for name, value in TrainConfig().to_mapping().items() if name not in kept}
        later, expected = json.loads(json.dumps([later, config]))
        assert kept | later | {"split": "leave-one-out", "dataset": ""} == expected | {"dataset": ""}
        assert result["command"] == accuracy["command"](row, seed)
        best = max(result["validation"], key=lambda line: line[config["select"]])
        assert result["best_epoch"] == best["epoch"]


def test_a_row_is_trained_once_and_kept(
    small_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row: dict[str, Any] = {"data": small_file.name, "seeds": 2, "public": "-"}
    row["options"] = {"epochs": 2, "eval_every": 1, "bias": False, "dim": 8, "cutoffs": [1, 10]}
    main = accuracy["main"]
    monkeypatch.setitem(main.__globals__, "rows", lambda: {"small": row})
    monkeypatch.setitem(main.__globals__, "RESULTS", tmp_path / "results")
    arguments = ["accuracy.py", "run", "--data", str(small_file.parent), "--out", str(tmp_path / "runs")]
    monkeypatch.setattr("sys.argv", arguments)
    main()
    files = [tmp_path / "results" / "small" / f"seed-{seed}.json" for seed in (0, 1)]
    first = json.loads(files[0].read_text())
    assert [line["epoch"] for line in first["validation"]] == [1, 2]
    assert first["options"]["dim"] == 8
    assert first["command"] == (
        "attnrec train --dataset small.txt --epochs 2 --eval-every 1 --no-bias --dim 8 --cutoffs 1,10 --seed 0"
    )
    assert str(tmp_path) not in files[0].read_text()
    times = [file.stat().st_mtime_ns for file in files]
    main()
    assert times == [file.stat().st_mtime_ns for file in files]
    capsys.readouterr()
    monkeypatch.setattr("sys.argv", ["accuracy.py", "table"])
    main()
    assert "| `small` | small.txt | `ce` | 8 | 2 |" in capsys.readouterr().out
