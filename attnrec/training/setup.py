"""What a configuration stands for: the device, and the untrained model."""

from __future__ import annotations

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
    return SASRec(
        SASRecConfig(
            num_items=num_items,
            num_users=num_users,
            max_len=config.max_len,
            dim=config.dim,
            blocks=config.blocks,
            heads=config.heads,
            dropout=config.dropout,
            attention_dropout=config.attention_dropout,
            norm=config.norm,
            position=config.position,
            shared_embedding=config.shared_embedding,
            residual=config.residual,
            user_vector=config.user_vector,
            init_std=config.init_std,
            attention=parse_attention(config.attention),
        )
    )
