"""What a training needs in memory at least, so that one that cannot fit is refused before anything is built.

Only what is there for certain is counted: the parameters with their gradients and Adam's two averages, what a batch of
the mean size keeps for the backward pass, and sampled negatives. What an operator adds, and copies, are left out, so
nothing that fits is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from attnrec.core.memory import refuse_more
from attnrec.core.options import named
from attnrec.data.batches import TrainingBatches
from attnrec.data.interactions import Interactions
from attnrec.models.options import ModelOptions
from attnrec.training.config import TrainConfig

_FLOAT, _LONG = 4, 8  # bytes
_WITH_GRADIENT_AND_AVERAGES = 4
_KEPT_BY_A_BLOCK = 5  # rows of width d: the input of attention, queries, keys, values, and what the ReLU gives
_SIZES = ("dim", "blocks", "max_len", "negatives", "batch_size", "user_vector")


@dataclass(frozen=True)
class TrainingSize:
    """How large the data of a training are.

    Attributes:
        items, users: of the data.
        trained: users with something to predict.
        history: mean number of positions predicted for each of these, at most `max_len` each.
    """

    items: int
    users: int
    trained: int
    history: float

    @classmethod
    def of(cls, batches: TrainingBatches, data: Interactions) -> TrainingSize:
        """Those of a training with these batches."""
        users = len(batches.users)
        return cls(data.num_items, data.num_users, users, batches.positions / max(1, users))


def least_parameters(config: TrainConfig, size: TrainingSize, **other: Any) -> int:
    """Parameters of SASRec without its operators', 0 of another model; ``other``: options with another value."""
    if config.model.model != ModelOptions().model:
        return 0  # another model may have none
    value = _reader(config, other)
    d, blocks, bias = value("dim"), value("blocks"), int(value("bias"))
    tables = (size.items + 1) * (1 if value("shared_embedding") else 2)
    tables += value("max_len") * value("position") + size.users * value("user_vector")
    block = (3 * d * d + 3 * d * bias) + 2 * (d * d + d) + 4 * d
    if value("norm") != "original":
        block += d * d + d * bias
    return int(tables * d + blocks * block + 2 * d)


def least_bytes(config: TrainConfig, size: TrainingSize, **other: Any) -> int:
    """Bytes that a training needs at least; ``other``: options with another value."""
    value = _reader(config, other)
    needed = least_parameters(config, size, **other) * _FLOAT * _WITH_GRADIENT_AND_AVERAGES
    histories = min(value("batch_size"), size.trained)
    positions = int(histories * min(size.history, value("max_len")) / 2)  # the last batch may be small: half is certain
    width = 2 if value("precision") == "bf16" else _FLOAT
    needed += positions * value("dim") * _KEPT_BY_A_BLOCK * value("blocks") * width
    if value("loss") != "ce":
        ids = value("negatives") + 1
        needed += 2 * positions * ids * _LONG  # the drawn ones, and beside the true items
        needed += ids * value("dim") * _FLOAT  # the vectors for one position at least
    return int(needed)


def check_memory(config: TrainConfig, size: TrainingSize, device: torch.device) -> None:
    """InputError, with the option to lower, where a training cannot fit in the memory of the device."""
    needed = least_bytes(config, size)
    usual = {name: TrainConfig().value(name) for name in _SIZES}
    with_usual = {name: least_bytes(config, size, **{name: value}) for name, value in usual.items()}
    culprit = min(with_usual, key=with_usual.__getitem__)
    if with_usual[culprit] == needed:
        what = f"a model of {size.items:,} items"
    else:
        what = named(culprit, config.value(culprit))
    refuse_more(needed, device, what)


def _reader(config: TrainConfig, other: dict[str, Any]) -> Callable[[str], Any]:
    return lambda name: other.get(name, config.value(name))
