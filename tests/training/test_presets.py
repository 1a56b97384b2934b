"""Presets: what they set, and what wins over them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import attnrec
from attnrec.core.errors import InputError
from attnrec.training.config import TrainConfig
from attnrec.training.presets import PRESETS


@pytest.mark.parametrize("name", list(PRESETS))
def test_a_preset_sets_what_it_says(name: str) -> None:
    config = TrainConfig.from_mapping({"preset": name})
    for option, value in PRESETS[name].options.items():
        assert config.value(option) == (config.model.dropout if value is None else value), option


def test_what_is_given_wins_and_carries_what_follows_it() -> None:
    config = TrainConfig.from_mapping({"preset": "sasrec-paper", "dropout": 0.2, "lr": 5e-4})
    assert (config.model.dropout, config.model.attention_dropout, config.model.feed_forward_dropout) == (0.2, 0.2, 0.2)
    assert (config.training.lr, config.model.norm) == (5e-4, "original")
    config = TrainConfig.from_mapping({"preset": "sasrec-paper", "attention_dropout": 0.0})
    assert (config.model.dropout, config.model.attention_dropout, config.model.feed_forward_dropout) == (0.5, 0.0, 0.5)


def test_an_unknown_preset_is_refused() -> None:
    with pytest.raises(InputError, match=r"unknown preset 'sasrec-papr'; did you mean sasrec-paper\?"):
        TrainConfig.from_mapping({"preset": "sasrec-papr"})


def test_from_python(small_file: Path, tmp_path: Path) -> None:
    small: dict[str, Any] = {"dataset": str(small_file), "epochs": 1, "eval_every": 1, "cutoffs": (1, 5)}
    attnrec.train(preset="sasrec-paper", out=tmp_path / "run", **small)
    assert 'norm = "original"' in (tmp_path / "run" / "config.toml").read_text()
    with pytest.raises(InputError, match="`config` already holds all options"):
        attnrec.train(TrainConfig(), preset="sasrec-paper", out=tmp_path / "other")
    with pytest.raises(InputError, match="`preset` cannot be given"):
        attnrec.train(resume=True, preset="sasrec-paper", out=tmp_path / "run")
