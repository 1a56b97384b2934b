"""`attnrec check` as a user types it: the table, the failures, exit codes, JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from attnrec.attention import ATTENTION, register_attention
from attnrec.cli import main as entry
from attnrec.cli.output import results
from tests.contract.gallery import NoCausalMask

COMMAND = [sys.executable, "-c", "from attnrec.cli.main import main; main()"]
QUICK = ("--only", "shape,no-future-leak,padding,implementations")


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs the command and gives its exit code, stdout and stderr; `leaky` is a wrong operator."""
    monkeypatch.setattr(ATTENTION, "_registered", ATTENTION.registered())
    register_attention("leaky")(NoCausalMask)
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments: str, before: tuple[str, ...] = ()) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["attnrec", *before, "check", *arguments])
        with pytest.raises(SystemExit) as stopped:
            entry.main()
        captured = capsys.readouterr()
        return int(stopped.value.code or 0), captured.out, captured.err

    return run


def test_a_variant_that_holds(check: Any) -> None:
    code, out, err = check("sdpa", *QUICK)
    assert (code, err) == (0, "")
    assert "sdpa on cpu, float64" in out
    assert "not run" in out
    assert out.splitlines()[-1] == "sdpa: 3 of 3 checks hold; 1 not run"


def test_a_variant_that_fails(check: Any) -> None:
    code, out, _ = check("leaky", *QUICK, "--json")
    assert code == 1
    assert "FAILS" in out
    lines = out.splitlines()[:-1]
    assert lines[-1] == "leaky: 1 of 3 checks fails: no future leak; 1 not run"
    text = " ".join(line.strip() for line in lines)
    assert "no future leak: 1 sequence of 2 items, 1 head, width 2: output 1 changes with item 2" in text
    assert "hint: an item may only see itself and earlier items" in text
    report = json.loads(out.splitlines()[-1])
    assert (report["attention"], report["holds"]) == ("leaky", False)
    assert [row["status"] for row in report["checks"]] == ["holds", "fails", "holds", "not run"]


def test_a_model_that_holds(check: Any) -> None:
    code, out, _ = check("sasrec", "--only", "shape,padding-row", "--json")
    assert code == 0
    shown, _, last = out.rstrip().rpartition("\n")
    assert "sasrec on cpu, float64" in shown
    assert shown.splitlines()[-1] == "sasrec: 2 of 2 checks hold"
    report = json.loads(last)
    assert (report["model"], report["holds"]) == ("sasrec", True)


def test_a_mixer_of_a_file_that_fails(check: Any) -> None:
    place = "tests.contract.gallery_of_mixers:SeesLaterRows"
    code, out, _ = check(place, "--only", "no-future-leak")
    assert code == 1
    text = " ".join(line.strip() for line in out.splitlines())
    assert "no future leak: 1 sequence of 2 items, 1 head, width 4: output 1 changes with item 2" in text


def test_debug_shows_what_an_operator_raised(check: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(*_: object) -> None:
        raise RuntimeError("out of ideas")

    monkeypatch.setattr(NoCausalMask, "forward", forward)
    code, out, err = check("leaky", "--only", "shape")
    assert code == 1
    assert "out of ideas" in out
    assert "Traceback" not in out + err
    code, _, err = check("leaky", "--only", "shape", before=("--debug",))
    assert code == 1
    assert "Traceback" in err


@pytest.mark.parametrize("columns", [60, 80])
def test_an_operator_that_raises_says_so_once(check: Any, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    def forward(*_: object) -> None:
        raise ValueError("out of ideas")

    monkeypatch.setattr(NoCausalMask, "forward", forward)
    monkeypatch.setattr(results, "_width", columns)
    code, out, _ = check("leaky", "--only", "shape,finite,padding,trimming,packed,implementations", "--json")
    assert code == 1
    shown, _, last = out.rstrip().rpartition("\n")
    assert shown.count("out of ideas") == 1
    assert shown.count("the operator raises") == 1
    assert "4 others" in shown
    assert "raised ValueError at test_check.py:" in " ".join(shown.split())
    assert shown.splitlines()[-1].endswith("5 not run")
    assert max(map(len, shown.splitlines())) <= columns
    rows = json.loads(last)["checks"]
    assert [row["figure"] == "the operator raises" for row in rows] == [False, True, True, True, True, False]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sdpaa"], "unknown attention variant 'sdpaa'; did you mean sdpa?"),
        (["sasrek"], "unknown model 'sasrek'; did you mean sasrec?"),
        (["sasrec", "--only", "trimming"], "unknown check 'trimming'"),
        (["awr:width=1"], "nothing but signs"),
        (["sdpa", "--only", "paddin"], "unknown check 'paddin'; did you mean padding"),
        (["sdpa", "--only", ","], "no check is named"),
        (["sdpa", "--device", "tpu"], "--device 'tpu' is not one of auto, cpu, cuda"),
        (["sdpa", "--heads", "0"], "--heads"),
    ],
    ids=" ".join,
)
def test_bad_input_is_one_line_and_exit_code_2(check: Any, arguments: list[str], message: str) -> None:
    code, out, err = check(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("attnrec: error: ")
    assert message in err


def test_kernels_without_a_gpu_are_one_line(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    command = [*COMMAND, "check", "triton", "--device", "cpu"]
    failed = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert failed.returncode == 2
    assert failed.stderr.startswith("attnrec: error: --attention triton")
    assert failed.stderr.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("columns", [60, 80])
def test_lines_fit_and_colour_carries_nothing(check: Any, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("NO_COLOR", "1")
    environment = {**os.environ, "COLUMNS": str(columns)}
    shown = subprocess.run([*COMMAND, "check", "awr", *QUICK], capture_output=True, text=True, env=environment).stdout
    assert "\x1b" not in shown
    assert max(map(len, shown.splitlines())) <= columns
    assert shown.count("holds") >= 3
