"""`attnrec bench` as a user types it."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from attnrec.cli import main as entry

QUICK = ["--seq-len", "8,16", "--dim", "4", "--batch", "2", "--seconds", "0.001", "--device", "cpu"]
COMMAND = [sys.executable, "-c", "from attnrec.cli.main import main; main()", "bench"]


class Result:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    """Runs `attnrec bench` in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["attnrec", "bench", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            entry.main()
        captured = capsys.readouterr()
        return Result(int(stopped.value.code or 0), captured.out, captured.err)

    return run


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_table_csv_figure_and_json(bench: Any) -> None:
    done = bench("--attention", "sdpa", "--attention", "torch:mask", *QUICK, "--out", "b", "--json")
    assert done.code == 0
    result = json.loads(done.out.splitlines()[-1])
    assert {"out", "interrupted", "environment", "plan", "measurements", "growth"} == set(result)
    assert result["plan"]["seq_lens"] == [8, 16]
    assert [(m["operator"], m["n"], m["passes"]) for m in result["measurements"]] == [
        (operator, n, passes) for n in (8, 16) for operator in ("sdpa", "torch:mask") for passes in ("forward", "both")
    ]
    assert all(set(g["time"]) == {"n"} for g in result["growth"])
    written = rows(Path("b/bench.csv"))
    assert [float(row["ms"]) for row in written] == [m["ms"] for m in result["measurements"]]
    assert sorted(path.name for path in Path("b").iterdir()) == [
        "bench.csv",
        "time-by-length.png",
        "time-by-length.svg",
    ]
    for words in ("forward, d = 4", "forward and backward, d = 4", "sdpa", "torch:mask", "n^", "ceilings:"):
        assert words in done.out
    assert "ceilings" not in done.err


@pytest.mark.parametrize("width", [60, 80, 120])
def test_every_line_of_the_tables_fits(bench: Any, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    from attnrec.cli.output import results

    monkeypatch.setattr(results, "_width", width)
    arguments = [*QUICK, "--out", "b", "--attention", "awr:impl=reference", "--attention", "torch:efficient"]
    text = bench(*arguments).out
    # paths are not cut, so that they can be copied
    assert max(len(line) for line in text.splitlines() if not line.startswith("written to")) <= width
    for words in ("GFLOP", "floor", "kept", "MB", "torch has no efficient attention kernel", "impl=reference"):
        assert words in text


def test_one_size_has_no_exponent_and_says_why(bench: Any) -> None:
    done = bench("--attention", "sdpa", *QUICK, "--seq-len", "8", "--out", "b")
    assert done.code == 0
    assert "none for sdpa: too few sizes were measured" in " ".join(done.out.split())
    assert "no figure: that needs two sequence lengths" in done.err
    assert [path.name for path in Path("b").iterdir()] == ["bench.csv"]


def test_one_that_cannot_run_is_a_row_and_if_none_can_the_code_is_1(bench: Any) -> None:
    mixed = bench("--attention", "sdpa", "--attention", "torch:cudnn", *QUICK, "--out", "b")
    assert mixed.code == 0
    failed = [row for row in rows(Path("b/bench.csv")) if row["operator"] == "torch:cudnn"]
    assert len(failed) == 4
    assert all(row["ms"] == "" and "no cudnn attention kernel" in row["error"] for row in failed)
    assert "torch:cudnn: torch has no cudnn attention kernel" in mixed.out
    alone = bench("--attention", "torch:cudnn", *QUICK, "--out", "c")
    assert alone.code == 1
    assert alone.err.endswith("attnrec: error: nothing could be measured\n")


def test_a_result_is_never_written_over(bench: Any) -> None:
    assert bench("--attention", "sdpa", *QUICK, "--out", "b").code == 0
    before = Path("b/bench.csv").read_bytes()
    again = bench("--attention", "sdpa", *QUICK, "--out", "b")
    assert (again.code, again.err) == (2, "attnrec: error: b already holds a benchmark; choose another --out\n")
    assert Path("b/bench.csv").read_bytes() == before


def test_out_has_a_name_of_its_own_by_default(bench: Any) -> None:
    done = bench("--attention", "sdpa", *QUICK, "--json")
    assert Path(json.loads(done.out.splitlines()[-1])["out"]).parent == Path("runs")
    assert Path(json.loads(done.out.splitlines()[-1])["out"]).name.startswith("bench-")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--attention", "sdpaa"], "unknown attention variant 'sdpaa'; did you mean sdpa?"),
        (["--attention", "awr:x=1"], "has no option 'x'"),
        (["--attention", "torch:maks"], "unknown competitor 'torch:maks'; did you mean torch:mask"),
        (["--attention", "sdpa", "--attention", "sdpa"], "--attention has the same value twice: sdpa, sdpa"),
        (["--seq-len", "8,x"], "--seq-len '8,x' is not a list of whole numbers"),
        (["--seq-len", "0"], "--seq-len must be at least 1, not 0"),
        (["--dim", "-4"], "--dim must be at least 1, not -4"),
        (["--heads", "0"], "--heads must be at least 1, not 0"),
        (["--lengths", "beauty"], "--lengths 'beauty' is not one of full, games, ml-1m"),
        (["--precision", "fp8"], "--precision 'fp8' is not one of fp32, bf16, fp16"),
        (["--passes", "backward"], "--passes 'backward' is not one of forward, both"),
        (["--device", "tpu"], "--device 'tpu' is not one of auto, cpu, cuda"),
        (["--seconds", "0"], "--seconds must be above 0, not 0"),
        (["--seed", "-1"], "--seed must be from 0 to"),
        (["--out", "file"], "file is not a directory"),
        (["--out", "folder"], "folder already holds files; choose another --out"),
    ],
    ids=" ".join,
)
def test_bad_input_is_one_line_and_exit_code_2(bench: Any, arguments: list[str], message: str) -> None:
    Path("file").touch()
    Path("folder").mkdir()
    Path("folder/notes").touch()
    before = sorted(Path().rglob("*"))
    result = bench(*arguments)
    assert result.code == 2
    assert message in result.err
    assert result.err.count("\n") == 1
    assert result.err.startswith("attnrec: error: ")
    assert result.out == ""
    assert sorted(Path().rglob("*")) == before


@pytest.mark.slow
def test_ctrl_c_keeps_what_has_been_measured(tmp_path: Path) -> None:
    options = ["--attention", "sdpa", "--seq-len", "4,8,2048", "--batch", "8", "--dim", "64", "--json", "--out", "b"]
    process = subprocess.Popen(
        [*COMMAND, *options, "--device", "cpu", "--seconds", "60"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # which a job in the background may ignore
    )
    written = tmp_path / "b" / "bench.csv"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if written.exists() and len(rows(written)) >= 4:
            break
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGINT)
    stdout, stderr = process.communicate(timeout=120)
    assert "Traceback" not in stderr
    assert "interrupted: 2 of 3 sizes were measured and are kept" in stderr
    assert process.returncode == 130
    result = json.loads(stdout.splitlines()[-1])
    assert result["interrupted"]
    assert [row["n"] for row in rows(written)] == ["4", "4", "8", "8"]
    assert len(result["measurements"]) == 4
    assert not list(written.parent.glob(".*"))


def test_help_imports_no_torch() -> None:
    script = (
        "import sys\nfrom attnrec.cli import main as entry\nsys.argv = ['attnrec', 'bench', '--help']\n"
        "try:\n    entry.main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'numpy', 'matplotlib', 'triton'} & set(sys.modules)\nassert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
