"""Named sets of options: `preset` sets all of them at once, and you can override any of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from attnrec.core.errors import InputError, nearest


@dataclass(frozen=True)
class Preset:
    """A line on what a preset is for, and the options that it sets."""

    text: str
    options: Mapping[str, Any]


PRESETS: dict[str, Preset] = {
    "sasrec-paper": Preset(
        "SASRec as its authors' code trains it; with `max_len=200` and `dropout=0.2` for MovieLens-1M.",
        {
            "max_len": 50,
            "dim": 50,
            "blocks": 2,
            "heads": 1,
            "dropout": 0.5,
            "attention_dropout": None,  # that of dropout
            "feed_forward_dropout": None,
            "norm": "original",
            "bias": True,
            "zero_init": False,
            "init_std": 0.0,
            "loss": "bce",
            "negatives": 1,
            "optimizer": "adam",
            "beta2": 0.98,
            "lr": 1e-3,
            "weight_decay": 0.0,
            "schedule": "constant",
            "warmup": 0,
            "clip_norm": 0.0,
            "batch_size": 128,
            "epochs": 1000,
            "eval_every": 10,
            "patience": 10,
            "select": "sampled",
        },
    ),
    "strong": Preset(
        "The best options that we found, on validation, for short and sparse histories.",
        {
            "max_len": 50,
            "dim": 128,
            "blocks": 2,
            "heads": 1,
            "dropout": 0.5,
            "attention_dropout": None,
            "feed_forward_dropout": None,
            "norm": "original",
            "bias": True,
            "loss": "ce",
            "optimizer": "adam",
            "beta2": 0.999,
            "lr": 1e-3,
            "weight_decay": 1e-6,
            "schedule": "constant",
            "batch_size": 256,
            "epochs": 300,
            "eval_every": 3,
            "patience": 5,
            "select": "full",
        },
    ),
}


def with_preset(values: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` without ``preset``, plus the options of that preset that ``values`` does not give.

    Raises InputError for an unknown preset.
    """
    given = dict(values)
    name = given.pop("preset", None)
    if name is None:
        return given
    if not isinstance(name, str) or name not in PRESETS:
        raise InputError(f"unknown preset {name!r}{nearest(str(name), list(PRESETS))}")
    return dict(PRESETS[name].options) | given
