"""`attnrec doctor` as a user types it: what it shows, exit codes, JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from attnrec.cli import doctor as command
from attnrec.cli import main as entry
from attnrec.doctor import Finding, Report

FINE = Finding("what works", "training on the CPU", "ok", "a small model in 2.0 s", needed=True)
BROKEN = Finding("what works", "torch.compile", "no", "[Errno 2] no g++", "install a C++ compiler")
ABSENT = Finding("machine", "GPU", "not here", "none")


@pytest.fixture
def doctor(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs the command, which finds what is given, and gives its exit code, stdout and stderr."""

    def run(findings: list[Finding], *arguments: str, columns: int = 80) -> tuple[int, str, str]:
        def examine(seconds: float, observe: Callable[[str], None]) -> Report:
            observe("nothing")
            return Report(tuple(findings))

        monkeypatch.setattr("attnrec.doctor.examine", examine)
        monkeypatch.setattr(command, "results", Console(width=columns, highlight=False))
        monkeypatch.setattr(sys, "argv", ["attnrec", "doctor", *arguments])
        with pytest.raises(SystemExit) as stopped:
            entry.main()
        captured = capsys.readouterr()
        return int(stopped.value.code or 0), captured.out, captured.err

    return run


def test_a_line_a_check_and_what_to_do(doctor: Any) -> None:
    code, out, err = doctor([ABSENT, FINE, BROKEN])
    assert (code, err) == (0, "")
    assert [line.strip() for line in out.splitlines() if line.strip()] == [
        "machine",
        "not here  GPU                  none",
        "what works",
        "ok        training on the CPU  a small model in 2.0 s",
        "no        torch.compile        [Errno 2] no g++",
        "-> install a C++ compiler",
        "training on the CPU works; look at: torch.compile",
    ]


def test_without_what_training_needs_it_fails(doctor: Any) -> None:
    stopped = Finding("what works", "training on the CPU", "no", "ImportError: libtorch", needed=True)
    code, out, _ = doctor([stopped], "--json")
    assert code == 1
    assert out.splitlines()[-2] == "training on the CPU does not work; look at: training on the CPU"
    assert json.loads(out.splitlines()[-1])["works"] is False


def test_a_narrow_terminal(doctor: Any) -> None:
    _, out, _ = doctor([FINE, Finding("machine", "system", "ok", "Linux-" * 20)], columns=60)
    assert max(map(len, out.splitlines())) <= 60
    assert "..." not in out


def test_json(doctor: Any) -> None:
    code, out, _ = doctor([FINE, BROKEN], "--json")
    assert code == 0
    found = json.loads(out.splitlines()[-1])
    assert set(found) == {"works", "checks"}
    assert found["works"] is True
    assert found["checks"][1] == {
        "group": "what works",
        "name": "torch.compile",
        "status": "no",
        "text": "[Errno 2] no g++",
        "advice": "install a C++ compiler",
        "needed": False,
    }


def test_a_bad_option_is_a_line(doctor: Any) -> None:
    code, out, err = doctor([FINE], "--seconds", "soon")
    assert (code, out) == (2, "")
    assert err.startswith("attnrec: error: ")
    assert err.count("\n") == 1


@pytest.mark.slow
def test_this_machine(tmp_path: Path) -> None:
    """Everything for real but for torch.compile, which is not waited for."""
    line = [sys.executable, "-c", "from attnrec.cli.main import main; main()", "doctor", "--seconds", "1", "--json"]
    done = subprocess.run(line, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    checks = {check["name"]: check for check in json.loads(done.stdout.splitlines()[-1])["checks"]}
    assert {"attnrec", "Python", "torch", "CPU", "threads", "attnrec's cache", "torch.compile"} <= set(checks)
    assert checks["training on the CPU"]["status"] == "ok"
    assert not list(tmp_path.iterdir())  # nothing is left in the current folder


def test_a_torch_that_cannot_be_imported(tmp_path: Path) -> None:
    """It is said, without a traceback, and the rest is looked at."""
    (tmp_path / "torch.py").write_text("raise ImportError('libtorch.so: cannot open shared object file')")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from attnrec.cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", code, "doctor", "--json"], capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    checks = {check["name"]: check for check in json.loads(done.stdout.splitlines()[-1])["checks"]}
    assert checks["torch's build"]["text"] == "ImportError: libtorch.so: cannot open shared object file"
    assert checks["torch's build"]["advice"]
    assert checks["training on the CPU"]["text"] == "torch cannot be imported"
    assert checks["CPU"]["status"] == "ok"
