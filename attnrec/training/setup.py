"""What a configuration stands for: the device, and the untrained model."""

from __future__ import annotations

from dataclasses import fields

import torch

from attnrec.attention import parse_attention
from attnrec.errors import InputError
from attnrec.models.sasrec import SASRec, SASRecConfig
from attnrec.training.config import TrainConfig


def choose_device(name: str) -> torch.device:
    """The device for ``auto``, ``cpu`` or ``cuda``; InputError for ``cuda`` on a machine without one."""
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: no CUDA GPU is available to torch here; use --device cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def build_model(config: TrainConfig, num_items: int, num_users: int) -> SASRec:
    """The untrained model that ``config`` describes; InputError for an unknown variant or option of it."""
    shared = {option.name for option in fields(SASRecConfig)} & {option.name for option in fields(TrainConfig)}
    options = {name: getattr(config, name) for name in shared} | {"attention": parse_attention(config.attention)}
    return SASRec(SASRecConfig(num_items=num_items, num_users=num_users, **options))
