"""From a configuration to the split and the untrained model; options of runs that are resumed or started from."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from attnrec.core.errors import InputError
from attnrec.core.options import named
from attnrec.data.catalogue import catalogue_of
from attnrec.data.interactions import Interactions
from attnrec.data.known import known_only
from attnrec.data.splits import Split, make_split
from attnrec.models.base import SequentialModel
from attnrec.models.build import build_model
from attnrec.models.options import ModelOptions
from attnrec.training.config import TrainConfig
from attnrec.training.kept_sources import Sources
from attnrec.training.presets import with_preset
from attnrec.training.run_directory import RunDirectory, Vocabulary

MAY_CHANGE = {"dataset", "epochs", "patience", "eval_every", "device", "skip_nonfinite"}  # when resuming
MAY_CHANGE_AFTER_DIVERGING = MAY_CHANGE | {"lr", "clip_norm", "warmup"}


def build_for(config: TrainConfig, data: Interactions, device: torch.device, sources: Sources) -> SequentialModel:
    """The untrained model that ``config`` describes for ``data``; raises as `build_model` and `catalogue_of`."""
    return build_model(sources.model, catalogue_of(data, config.data), device, config.data.dataset)


def resumed_config(run: str | Path, options: dict[str, Any]) -> TrainConfig:
    """The options of a run to be resumed, with ``options`` changed; InputError for one that may not change."""
    if "preset" in options:
        raise InputError("`resume` takes its options from the run, so `preset` cannot be given")
    directory = RunDirectory.open(run)
    before = directory.config()
    may_change = MAY_CHANGE_AFTER_DIVERGING if directory.manifest.diverged else MAY_CHANGE
    asked = TrainConfig.from_mapping(before.to_mapping() | options, "options")
    for name in options:
        if name not in may_change and asked.value(name) != before.value(name):
            raise InputError(
                f"`resume`: the run was started with {named(name, before.value(name))}, not {asked.value(name)}; "
                f"only {', '.join(map(named, sorted(may_change)))} may change"
            )
    if before.training.schedule == "cosine" and asked.training.epochs != before.training.epochs:
        raise InputError("`resume`: `epochs` cannot change under a cosine schedule, which depends on it")
    return asked


def started_options(options: dict[str, Any]) -> dict[str, Any]:
    """``options``; if they name a run to start from, its model options fill in those that are not given.

    Raises InputError if there is no such run.
    """
    if not options.get("start_from"):
        return options
    before = RunDirectory.open(str(options["start_from"])).config()
    return with_preset(options) | {name: before.value(name) for name in _of_model()} | _given(options)


def check_start(config: TrainConfig, before: TrainConfig) -> None:
    """Raise InputError if an option of the model differs from the run that it starts from."""
    for name in _of_model():
        if config.value(name) != before.value(name):
            raise InputError(
                f"`start_from`: the run's model has {named(name, before.value(name))}, not {config.value(name)}"
            )


def _of_model() -> list[str]:
    return [own.name for own in fields(ModelOptions)]


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name != "preset"}


def split_of(
    config: TrainConfig, data: Interactions, vocabulary: Vocabulary | None = None, *, part: str | None = None
) -> Split:
    """The split of ``data`` that the options describe; with ``vocabulary``, cut to the items that a model knows.

    ``part``: the only part that will be evaluated, if nothing is trained. Raises InputError for data or options that
    cannot be used.
    """
    split = make_split(data, config.data.split, config.data.valid_from, config.data.test_from, part=part)
    return split if vocabulary is None else known_only(split, vocabulary.items, vocabulary.users, part=part)
