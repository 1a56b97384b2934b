"""What a training needs in memory at least, so that one that cannot fit is refused before anything is built.

Only what is there for certain is counted: the parameters with their gradients and Adam's two averages, what a batch of
the mean size keeps for the backward pass, and sampled negatives. What an operator adds, and copies, are left out, so
nothing that fits is refused.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from attnrec.data.batches import TrainingBatches
from attnrec.data.interactions import Interactions
from attnrec.errors import InputError
from attnrec.options import flag
from attnrec.training.config import TrainConfig

_FLOAT, _LONG = 4, 8  # bytes
_WITH_GRADIENT_AND_AVERAGES = 4
_KEPT_BY_A_BLOCK = 5  # rows of width d: the input of attention, queries, keys, values, and what the ReLU gives
_SIZES = ("dim", "blocks", "max_len", "negatives", "batch_size", "user_vector")
_LIMITS_OF_CONTAINERS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


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
    """Parameters of the model without those of its operators; ``other``: options with another value."""
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
    usual = {field.name: field.default for field in fields(config) if field.name in _SIZES}
    with_usual = {name: least_bytes(config, size, **{name: value}) for name, value in usual.items()}
    culprit = min(with_usual, key=with_usual.__getitem__)
    if with_usual[culprit] == needed:
        what = f"a model of {size.items:,} items"
    else:
        what = flag(culprit) if culprit == "user_vector" else f"{flag(culprit)} {getattr(config, culprit)}"
    refuse_more(needed, device, what)


def refuse_more(needed: int, device: torch.device, what: str) -> None:
    """InputError where ``what`` needs more bytes than there are."""
    if needed > (there := memory_of(device)):
        where = "the GPU" if device.type == "cuda" else "this machine"
        raise InputError(f"{what} needs at least {_shown(needed)} of memory, and {where} has {_shown(there)}")


def memory_of(device: torch.device) -> int:
    """All memory of a GPU; of the host what the system or its container has, with what it can swap out."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")] if hasattr(os, "sysconf") else []
    for path in map(Path, _LIMITS_OF_CONTAINERS):
        with contextlib.suppress(OSError, ValueError):  # ValueError: it says `max`
            limits.append(int(path.read_text()))
    return min(limits, default=1 << 62) + _swap()


def _swap() -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):
        text = Path("/proc/meminfo").read_text()
        return int(text.split("SwapTotal:")[1].split()[0]) << 10
    return 0


def _reader(config: TrainConfig, other: dict[str, Any]) -> Callable[[str], Any]:
    return lambda name: other.get(name, getattr(config, name))


def _shown(size: int) -> str:
    for unit, letters in ((1 << 60, "EiB"), (1 << 50, "PiB"), (1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB")):
        if size >= unit:
            return f"{size / unit:,.1f} {letters}"
    return f"{size:,} bytes"
