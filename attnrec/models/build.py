"""Imports the built-in models, which registers them, and builds a model for a data set."""

from __future__ import annotations

from dataclasses import fields, replace

import torch
from torch import Tensor

from attnrec.attention import Component
from attnrec.core.errors import InputError
from attnrec.core.options import named
from attnrec.data.catalogue import Catalogue
from attnrec.models import sasrec  # noqa: F401  (it registers itself)
from attnrec.models.base import MODELS, SequentialModel
from attnrec.models.options import ModelOptions

__all__ = ["MODELS", "build_model", "needs_timestamps"]


def build_model(config: ModelOptions, catalogue: Catalogue, device: torch.device, dataset: str) -> SequentialModel:
    """The untrained model that ``config`` describes, on ``device``.

    Args:
        config: the model's options.
        catalogue: the items, users and features of the data.
        device: where the model will run.
        dataset: name of the data in messages.

    Raises InputError for an unknown model, variant or option, or if the model cannot run on ``device`` or these data.
    """
    _check_used(config)
    _check_needs(MODELS.find(config.model.name), named("model", config.model), catalogue, dataset)
    if not MODELS.find(config.model.name).knows_users:
        catalogue = replace(catalogue, num_users=0)  # as it will be when the run is loaded
    built = MODELS.build(config.model, catalogue, config, called_with="(catalogue, config)")
    for part in (built, *built.components()):
        own = "model" if part is built else "attention"
        _check_needs(part, named(own, getattr(config, own)), catalogue, dataset)
    _check_vectors(built, catalogue)
    model = built.to(device)
    for part in (model, *model.components()):
        part.check_device(device)
    return model


def _check_used(config: ModelOptions) -> None:
    """InputError for an option that was set but that the model does not use."""
    used = {*MODELS.find(config.model.name).uses, "model"}
    usual = ModelOptions(**{name: getattr(config, name) for name in used})
    for own in fields(config):
        if getattr(config, own.name) != getattr(usual, own.name):
            raise InputError(f"{named('model', config.model)} does not use {named(own.name)}")


def _check_vectors(model: SequentialModel, catalogue: Catalogue) -> None:
    """InputError unless the model has a vector, and with biases a bias, for every item."""
    rows, name = catalogue.num_items + 1, type(model).__name__
    vectors, bias = model.item_vectors, model.item_bias
    if not isinstance(vectors, Tensor) or vectors.ndim != 2 or len(vectors) != rows:
        found = list(vectors.shape) if isinstance(vectors, Tensor) else type(vectors).__name__
        raise InputError(f"{name}.item_vectors are {found}, not [{rows}, e]: one for each item, and one for padding")
    if bias is not None and (not isinstance(bias, Tensor) or bias.shape != (rows,)):
        found = list(bias.shape) if isinstance(bias, Tensor) else type(bias).__name__
        raise InputError(f"{name}.item_bias is {found}, not [{rows}]: one for each item, and one for padding")


def _check_needs(part: Component | type[Component], who: str, catalogue: Catalogue, dataset: str) -> None:
    """InputError if a component, called ``who`` in messages, needs something that the data do not have."""
    if part.needs_timestamps and not catalogue.timestamps:
        raise InputError(f"{who} needs timestamps, and {dataset} has none")
    if part.needs_features and catalogue.features is None:
        raise InputError(f"{who} needs item features, and {dataset} has none: give `features=FILE`")


def needs_timestamps(model: SequentialModel) -> bool:
    """Whether the model can only run on data with timestamps."""
    return any(part.needs_timestamps for part in (model, *model.components()))
