"""The least memory that a training needs, so that one that cannot fit is refused before anything is built.

Only memory that is certainly needed is counted: the parameters with their gradients and Adam's two averages, what half
a batch of average histories keeps for the backward pass, and sampled negatives. Copies, and what an operator adds, are
not counted, so a training that fits is never refused.
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
_KEPT_BY_A_BLOCK = 5  # rows of width d: the input of attention, queries, keys, values, and the output of the ReLU
_SIZES = ("dim", "blocks", "max_len", "negatives", "batch_size", "user_vector")


@dataclass(frozen=True)
class TrainingSize:
    """The size of a training's data.

    Attributes:
        items, users: numbers of items and users in the data.
        trained: number of users with something to predict.
        history: mean number of positions predicted for each of them, at most `max_len` each.
    """

    items: int
    users: int
    trained: int
    history: float

    @classmethod
    def of(cls, batches: TrainingBatches, data: Interactions) -> TrainingSize:
        """The size of a training with these batches."""
        users = len(batches.users)
        return cls(data.num_items, data.num_users, users, batches.positions / max(1, users))


def least_parameters(config: TrainConfig, size: TrainingSize, **other: Any) -> int:
    """Number of parameters of SASRec without its operators, 0 for other models; ``other``: options to override."""
    if config.model.model != ModelOptions().model:
        return 0  # other models may have no parameters
    value = _reader(config, other)
    d, blocks, bias = value("dim"), value("blocks"), int(value("bias"))
    tables = (size.items + 1) * (1 if value("shared_embedding") else 2)
    tables += value("max_len") * value("position") + size.users * value("user_vector")
    block = (3 * d * d + 3 * d * bias) + 2 * (d * d + d) + 4 * d
    if value("norm") != "original":
        block += d * d + d * bias
    return int(tables * d + blocks * block + 2 * d)


def least_bytes(config: TrainConfig, size: TrainingSize, **other: Any) -> int:
    """Least number of bytes that a training needs; ``other``: options to override."""
    value = _reader(config, other)
    needed = least_parameters(config, size, **other) * _FLOAT * _WITH_GRADIENT_AND_AVERAGES
    histories = min(value("batch_size"), size.trained)
    positions = int(histories * min(size.history, value("max_len")) / 2)  # the last batch may be small: half is certain
    width = 2 if value("precision") == "bf16" else _FLOAT
    needed += positions * value("dim") * _KEPT_BY_A_BLOCK * value("blocks") * width
    if value("loss") != "ce":
        ids = value("negatives") + 1
        needed += 2 * positions * ids * _LONG  # the drawn negatives, and their copy with the true items
        needed += ids * value("dim") * _FLOAT  # the vectors for at least one position
    return int(needed)


def check_memory(config: TrainConfig, size: TrainingSize, device: torch.device) -> None:
    """InputError, naming the option to lower, if a training cannot fit in the memory of the device."""
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
