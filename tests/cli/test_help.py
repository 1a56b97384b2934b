"""`--help`: every option has its whole name, and defaults are plain words, on terminals of any width."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from attnrec.cli.main import app
from tests.cli.test_commands import attnrec  # noqa: F401  (a fixture)


def commands(group: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with the words that call it."""
    yield words, group
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, (*words, name))


COMMANDS = dict(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("width", [60, 80])
@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(("attnrec", *words)))
def test_every_name_is_whole(
    attnrec: Any,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    width: int,
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    shown = attnrec(*words, "--help")
    assert shown.code == 0
    assert max(map(len, shown.out.splitlines())) <= width
    named = set(re.findall(r"--[a-z0-9-]+", " ".join(re.findall(r"^  (--\S+(?: / --\S+)?)", shown.out, re.MULTILINE))))
    options = {name for param in COMMANDS[words].params for name in (*param.opts, *param.secondary_opts)}
    assert named == {name for name in options if name.startswith("--")} | {"--help"}
    assert "…" not in shown.out
    assert "default: (" not in shown.out


def test_a_default_in_words_and_choices_that_are_long(
    attnrec: Any,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    shown = " ".join(attnrec("train", "--help").out.split())
    assert "[default: as --dropout]" in shown
    assert "--format auto | pairs | sequences | csv" in shown
