"""The library names options by their keywords; on a command line they are spelled as the command takes them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import attnrec as library
from attnrec.cli.main import app
from attnrec.cli.spelling import running, spelled, spelled_error
from attnrec.core.errors import InputError, RunWarning
from attnrec.core.options import named
from tests.cli.test_commands import attnrec  # noqa: F401  (a fixture)
from tests.cli.test_help import COMMANDS
from tests.test_architecture import ROOMS, sources

OPTIONS = {name for command in COMMANDS.values() for own in command.params for name in (*own.opts, *own.secondary_opts)}


def context(*words: str) -> Any:
    """That of a command, as it is while it runs."""
    root = typer.main.get_command(app)
    parent, command = typer.Context(root), root
    for word in words:
        command = command.commands[word]  # type: ignore[attr-defined]
        parent = typer.Context(command, parent=parent)
    return parent


@pytest.fixture(autouse=True)
def _train() -> Iterator[None]:
    """`attnrec train` is what runs, where nothing else is said; afterwards nothing does."""
    running(context("train"))
    yield
    running(None)


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Every text in a source with its line, docstrings included, parts of f-strings too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def put_together(path: Path) -> Iterator[int]:
    """Lines of f-strings in a source with dashes before a value."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            parts = [str(part.value) for part in node.values[:-1] if isinstance(part, ast.Constant)]
            if any(re.search(r"--(no-)?$", part) for part in parts):
                yield node.lineno


@pytest.mark.parametrize("room", [room for room in ROOMS if room != "cli"])
def test_the_library_spells_no_option_as_a_command_line_does(room: str) -> None:
    assert {"--max-len", "--no-position", "--out", "--seq-len", "--trust-code"} <= OPTIONS
    for path in sources(room):
        for line, text in texts(path):
            used = OPTIONS & set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", text))
            assert not used, f"{path}, line {line}: {used}; use attnrec.core.options.named"
        assert not (found := list(put_together(path))), f"{path}, lines {found}: an option is put together"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("`max_len` must be at least 1", "--max-len must be at least 1"),
        ("`max_len=50`, not 60", "--max-len 50, not 60"),
        ("try `lr=1e-05`; or (`warmup=100`)", "try --lr 1e-05; or (--warmup 100)"),
        ("without: `position=False`.", "without: --no-position."),
        ("`user_vector=True` needs more", "--user-vector needs more"),
        ("continue with `resume=True`", "continue with --resume"),
        ("choose another `out`", "choose another --out"),
        ("`attention='awr:width=4,x=2'`: no", "--attention awr:width=4,x=2: no"),
        ("`dataset='my file.csv'` is", "--dataset 'my file.csv' is"),
        (r"`dataset='it\'s.csv'` is", "--dataset 'it'\"'\"'s.csv' is"),
        (r"`dataset='a\x1b[1m\n'` is", r"--dataset 'a\x1b[1m\n' is"),
        ("`features=FILE`", "--features FILE"),
        ("`feature_columns=('genre', 'brand')`", "--feature-columns genre,brand"),
        ("`force=True` replaces it", "--force replaces it"),  # of another command
        ("`seq_lens=(100000,)` with `dims=(64,)`", "--seq-len 100000 with --dim 64"),
    ],
)
def test_an_option_is_spelled_as_the_command_takes_it(text: str, shown: str) -> None:
    assert spelled(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "`synthetic` is embedded; `attnrec check` says more; see ``max_len`` of a constructor",
        "unknown item '`max_len`'; there is no `max_len`.csv, and no runs/`lr`",
        "it's `` or ` alone `",
        "`dim=` and `dim='open`",
        "`dim=(a b)` is none",
    ],
)
def test_what_is_no_option_stays(text: str) -> None:
    assert spelled(text) == text


@pytest.mark.parametrize("value", [50, 0.001, True, None, "awr", "a b", "it's", '"', "`", "a`max_len`b", "é\n", ("a",)])
def test_what_is_named_is_understood(value: object) -> None:
    text = spelled(named("dataset", value))
    assert named("dataset") == "`dataset`"
    assert text.startswith("--dataset ")
    assert "\n" not in text


def test_an_argument_has_no_dashes() -> None:
    assert spelled("`run` must be a path", context("evaluate")) == "`run` must be a path"
    assert spelled("`dataset` is empty", context("data", "show")) == "`dataset` is empty"
    assert spelled("`dataset` is empty", context("evaluate")) == "--dataset is empty"


def test_without_a_command_nothing_is_translated() -> None:
    running(None)
    assert spelled("`max_len`") == "`max_len`"


def test_what_other_code_raised_stays() -> None:
    own = ValueError("`heads` of `dim` is odd")
    try:
        raise InputError(f"`attention='mine.py'`: {own}; try another `heads`") from own
    except InputError as error:
        error.add_note("  mine.py, line 3:")
        error.add_note("    raise ValueError('`heads`')")
        lines = spelled_error(error)
    assert lines[0] == "--attention mine.py: `heads` of `dim` is odd; try another --heads"
    assert lines[1:] == ["  mine.py, line 3:", "    raise ValueError('`heads`')"]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_names_no_keyword(attnrec: Any, words: tuple[str, ...]) -> None:  # noqa: F811
    keywords = {own.name for own in COMMANDS[words].params if own.param_type_name == "option"}
    shown = attnrec(*words, "--help").out
    assert not keywords & set(re.findall(r"`(\w+)", " ".join(shown.split())))


def test_both_worlds_read_their_own_spelling(
    attnrec: Any,  # noqa: F811
    small_file: Path,
    tmp_path: Path,
) -> None:
    cases: list[tuple[dict[str, Any], list[str], str, str]] = [
        (
            {"max_len": 0},
            ["--max-len", "0"],
            "`max_len` must be at least 1, not 0",
            "--max-len must be at least 1, not 0",
        ),
        ({"heads": 3}, ["--heads", "3"], "`heads=3` does not divide `dim=64`", "--heads 3 does not divide --dim 64"),
        (
            {"zero_init": True, "residual": False},
            ["--zero-init", "--no-residual"],
            "`zero_init` needs",
            "--zero-init needs",
        ),
    ]
    for options, words, in_python, on_a_line in cases:
        with pytest.raises(library.InputError, match=re.escape(in_python)):
            library.train(dataset=str(small_file), out=tmp_path / "run", **options)
        assert attnrec("train", "--dataset", small_file, *words).err.startswith(f"attnrec: error: {on_a_line}")


def test_warnings_are_translated(attnrec: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    import warnings

    import attnrec.training.condition as condition

    def damaged(run: object) -> None:
        warnings.warn("`resume=True` goes on", RunWarning, stacklevel=2)
        raise InputError("`trust_code=True` is missing")

    monkeypatch.setattr(condition, "condition_of", damaged)
    shown = attnrec("doctor", "somewhere").err
    assert shown == "warning: --resume goes on\nattnrec: error: --trust-code is missing\n"
