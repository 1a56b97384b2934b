"""Values of options that are no numbers to compute with, or no texts for a file: refused wherever they come from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from attnrec.attention import ATTENTION
from attnrec.core.errors import InputError
from attnrec.core.spec import Spec, Specs
from attnrec.data.preparation import Preparation, split_options
from attnrec.training.config import TrainConfig, declared, read_toml, to_toml

DEFAULTS = {name: one.field.default for name, one in declared().items()}
NUMBERS = [name for name, default in DEFAULTS.items() if isinstance(default, float)]
COUNTS = [name for name, default in DEFAULTS.items() if type(default) is int]
TEXTS = [name for name, default in DEFAULTS.items() if isinstance(default, str | Spec | Specs)]


def test_there_are_options() -> None:
    assert min(len(NUMBERS), len(COUNTS), len(TEXTS)) > 5


def refused(values: dict[str, Any]) -> str:
    with pytest.raises(InputError) as caught:
        TrainConfig.from_mapping(values)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 500
    return message


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_are_finite(name: str) -> None:
    for value in (float("inf"), float("-inf"), float("nan"), 10**400):
        assert "must be a finite number" in refused({name: value})


@pytest.mark.parametrize("name", COUNTS)
def test_counts_have_an_end(name: str) -> None:
    for value in (10**18, 10**400, 10**5000):
        assert "must be at most" in refused({name: value})


@pytest.mark.parametrize("name", TEXTS)
def test_texts_can_be_written(name: str) -> None:
    assert "holds a NUL character" in refused({name: "a\0b"})
    assert "is not valid UTF-8" in refused({name: "a\udcff"})


def test_preparation() -> None:
    for name in ("users", "seed", "min_user", "min_item"):
        with pytest.raises(InputError, match="must be at most"):
            split_options({name: 10**5000}, None)
    for value in (float("inf"), float("nan")):
        with pytest.raises(InputError, match="`min_rating` must be a finite number"):
            split_options({"min_rating": value}, None)
    assert Preparation().min_rating == 0


@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "1" * 400, "1e31"])
def test_numbers_of_an_operator(value: str) -> None:
    for text in (f"awr:temperature={value}", f"awr:init_scale={value}", f"rotary:base={value}"):
        with pytest.raises(InputError, match="is not a number of at most"):
            ATTENTION.options(Spec.parse(text))
    with pytest.raises(InputError, match="whole number"):
        ATTENTION.options(Spec.parse(f"awr:width={value}"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("lr = inf", "`lr` must be a finite number, not inf"),
        ("init_std = nan", "`init_std` must be a finite number, not nan"),
        (f"lr = {'9' * 400}", "lr must be a finite number"),
        (f"epochs = {'9' * 400}", "`epochs` must be at most"),
        (f"epochs = {'9' * 5000}", "is not valid TOML"),
        (f"cutoffs = {'[' * 20_000}{']' * 20_000}", "nested too deeply"),
        ("x = " + "{a=" * 20_000, "nested too deeply"),
        (f"'{'k' * 5000}' = 1", "unknown option 'kk"),
        ("dataset = 'a\0b'", "is not valid TOML"),
        ('dataset = "a\\u0000b"', "`dataset` 'a\\x00b' holds a NUL character"),
        (b"dataset = '\xff'", "is not valid TOML"),
    ],
    ids=range(11),
)
def test_a_configuration_file(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = tmp_path / "c.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as caught:
        TrainConfig.from_mapping(read_toml(path), str(path))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_what_is_no_file_of_options(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path, message in (
        (tmp_path / "pipe", "it is a pipe, not a file"),
        (Path("/dev/zero"), "it is a device, not a file"),
        (tmp_path, "it is a folder"),
        (tmp_path / "loop", "Too many levels of symbolic links"),
        (tmp_path / ("x" * 300), "File name too long"),
        (tmp_path / "none", "No such file"),
    ):
        with pytest.raises(InputError, match=f"^cannot read {path}: {message}"):
            read_toml(path)


def test_every_character_survives_in_a_file_of_options(tmp_path: Path) -> None:
    text = "".join(map(chr, (*range(1, 0x180), 0x2028, 0xFEFF, 0x1F600)))
    (tmp_path / "c.toml").write_text(to_toml({"dataset": text}), encoding="utf-8", newline="")
    assert read_toml(tmp_path / "c.toml") == {"dataset": text}
