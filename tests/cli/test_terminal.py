"""Text from outside is shown as it is and cannot act on the terminal; streams that fail do not stop the work."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.progress import Progress
from rich.table import Table

from attnrec.cli.output import plain_table, print_json, spinner
from attnrec.cli.terminal import FieldsColumn, SafeConsole, Surviving, escaped, one_line, styled
from attnrec.core.errors import RunError
from tests.cli.test_commands import COMMAND, FAST, attnrec  # noqa: F401  (a fixture)

HOSTILE = ["[/foo]", "[bold]x[/bold]", "[link=a]", ":heart:", "\\[x]", "\x1b[31mred", "a\x07b\x9b2J", "\u202egpj.exe"]
NEVER = {chr(code) for code in (*range(0x20), *range(0x7F, 0xA0))} - {"\n"} | {"\u202e"}


def shown(console: SafeConsole) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.fixture
def console() -> SafeConsole:
    return SafeConsole(file=io.StringIO(), width=60)


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_everything_that_shows_text(console: SafeConsole, text: str) -> None:
    table = Table(title=text, caption=text, width=60)
    table.add_column(text)
    table.add_row(text)
    column = FieldsColumn("{task.description} {task.fields[own]}")
    with Progress(column, console=console, auto_refresh=False) as progress:
        progress.add_task(text, own=text)
        (task,) = progress.tasks
    for thing in (text, table, plain_table((text, "n"), [(text, "1")], numbers=(1,)), column.render(task)):
        before = len(shown(console))
        console.print(thing)
        printed = shown(console)[before:]
        assert one_line(text) in printed
        assert not NEVER & set(printed)
    assert styled((text, "bold")).plain == one_line(text)


def test_escapes() -> None:
    assert one_line("a\x1b[2J\n\tb\x7f\udcff\u2028é\xa0界") == "a\\x1b[2J\\n\\tb\\x7f\\udcff\\u2028é\xa0界"
    assert escaped("a\nb\r\n") == "a\nb\\r\n"


def test_a_spinner_takes_any_text() -> None:
    with spinner("[/a]") as show:
        show("[/b]")


def test_hostile_names_from_end_to_end(attnrec: Any) -> None:  # noqa: F811
    names = [name for name in HOSTILE if " " not in name]
    lines = [f"{names[user % 8]}{user},{names[(user + place) % 8]}" for user in range(30) for place in range(6)]
    path = Path("[bold]d[/\x1bz].csv")
    path.parent.mkdir()
    path.write_text("\n".join(["user,item,title", *(f"{line},t[/x]\x1b" for line in lines)]) + "\n")
    trained = attnrec("train", "--dataset", path, "--out", "x[/y]\x1b", "--json", *FAST, "--cutoffs", "1,5")
    assert trained.code == 0, trained.err
    assert "run directory: x[/y]\\x1b" in trained.err
    found = attnrec("recommend", "x[/y]\x1b", "--history", names[0], "--include-seen", "--json")
    assert {entry["item"] for entry in found.json()["recommendations"]} == set(names)
    refused = attnrec("recommend", "x[/y]\x1b", "--history", "\x1b[/no]")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    listed = attnrec("data", path, "--json")
    for result in (trained, found, refused, listed):
        assert not NEVER & set(result.err + result.out)


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_json_in_any_encoding(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    value = {"item": "é\x9b\udcff\u202e界\x1b"}
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    print_json(value)
    raw = stream.buffer.getvalue()
    assert json.loads(raw) == value
    assert not NEVER & set(raw.decode(encoding))


class Failing(io.TextIOBase):
    """A stream of which every writing fails."""

    encoding = "utf-8"

    def __init__(self, number: int) -> None:
        self.number, self.tried = number, 0

    def write(self, text: str) -> int:
        self.tried += 1
        raise OSError(self.number, os.strerror(self.number))

    flush = write  # type: ignore[assignment]


@pytest.mark.parametrize("number", [errno.EPIPE, errno.EIO, errno.ENOSPC])
def test_a_stream_that_fails_is_silent_from_then_on(number: int) -> None:
    broken: Any = Failing(number)
    stream = Surviving(broken)
    for _ in range(3):
        assert stream.write("abc") == 3
        stream.flush()
    assert broken.tried == 1
    assert not stream.isatty()


def test_a_closed_stream() -> None:
    stream = Surviving(None)
    assert stream.write("abc") == 3
    stream.flush()
    with pytest.raises(io.UnsupportedOperation):
        stream.fileno()


@pytest.mark.parametrize("stderr", [None, Failing(errno.ENOSPC)], ids=["closed", "full"])
def test_a_training_without_stderr(
    attnrec: Any,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    small_file: Path,
    stderr: Any,
) -> None:
    monkeypatch.setattr(sys, "stderr", stderr)
    assert attnrec("train", "--dataset", small_file, "--out", "run", *FAST).code == 0
    assert Path("run/summary.json").is_file()
    assert attnrec("evaluate", "nowhere").out == ""  # an error is not said on stdout instead


@pytest.mark.parametrize("stdout", [None, Failing(errno.EPIPE)], ids=["closed", "gone"])
def test_json_that_cannot_be_written(
    attnrec: Any,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    small_file: Path,
    stdout: Any,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stdout)
        with pytest.raises(RunError, match="the result cannot be written"):
            print_json({})
        result = attnrec("train", "--dataset", small_file, "--out", "run", "--json", *FAST)
    assert result.code == 1
    assert result.err.splitlines()[-1].startswith("attnrec: error: the result cannot be written")
    assert Path("run/summary.json").is_file()


@pytest.mark.parametrize(
    ("redirection", "code"),
    [
        (">&-", 1),
        ("2>&-", 0),
        (">&- 2>&-", 1),
        ("<&- >&- 2>&-", 1),
        (">/dev/full", 1),
        ("2>/dev/full", 0),
        ("| sleep 0", 1),
        ("2>&1 >/dev/null | sleep 0", 0),
    ],
)
def test_streams_of_the_shell(tmp_path: Path, redirection: str, code: int) -> None:
    """Python does not complain at exit either, which would be exit code 120."""
    option = "" if "2>&1" in redirection else "--json"
    script = f'"$@" data {option} {redirection}; exit ${{PIPESTATUS[0]}}'
    result = subprocess.run(
        ["bash", "-c", script, "bash", *COMMAND], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert result.returncode == code, result.stderr
    told = "" if "2>" in redirection else "interactions" if code == 0 else "error: the result cannot be written"
    assert told in (result.stderr.splitlines() or [""])[-1]
    assert "Exception ignored" not in result.stderr


def test_closed_numbers_are_not_given_to_files(tmp_path: Path) -> None:
    script = (
        "import os\nfrom attnrec.cli.terminal import open_standard_streams\nopen_standard_streams()\n"
        "number = os.open('file', os.O_CREAT | os.O_WRONLY)\nos._exit(number)"
    )
    started = subprocess.run(
        ["bash", "-c", '"$@" <&- >&- 2>&-', "bash", sys.executable, "-c", script], cwd=tmp_path, check=False
    )
    assert started.returncode > 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "--dataset", os.fsdecode(b"a\xff.txt")],
        ["train", "--out", os.fsdecode(b"a\xff")],
        ["train", "--config", os.fsdecode(b"a\xff.toml")],
        ["plot", "run", "--items", os.fsdecode(b"a\xff.csv")],
        ["recommend", "run", "--history", os.fsdecode(b"\xff")],
    ],
    ids=lambda arguments: arguments[-2],
)
def test_arguments_that_are_not_in_utf8(attnrec: Any, arguments: list[str]) -> None:  # noqa: F811
    result = attnrec(*arguments)
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert "is not valid UTF-8; rename the file or folder it names" in result.err


def test_history_from_a_stdin_that_is_closed_or_not_in_utf8(
    attnrec: Any,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for stdin, message in (
        (None, "--history -: stdin is closed"),
        (io.TextIOWrapper(io.BytesIO(b"\xff"), encoding="utf-8"), "--history -: stdin is not valid UTF-8"),
    ):
        monkeypatch.setattr(sys, "stdin", stdin)
        result = attnrec("recommend", "run", "--history", "-")
        assert (result.code, result.err) == (2, f"attnrec: error: {message}\n")
