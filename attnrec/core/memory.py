"""How much memory there is, so that a model or batch that cannot fit is refused before it is built."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import torch

from attnrec.core.errors import InputError

_LIMITS_OF_CONTAINERS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def refuse_more(needed: int, device: torch.device, what: str) -> None:
    """InputError if ``what`` needs more bytes than the device or machine has."""
    if needed > (there := memory_of(device)):
        where = "the GPU" if device.type == "cuda" else "this machine"
        raise InputError(f"{what} needs at least {_shown(needed)} of memory, and {where} has {_shown(there)}")


def memory_of(device: torch.device) -> int:
    """All memory of a GPU, in bytes; for the CPU, that of the system or its container, plus swap."""
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


def _shown(size: int) -> str:
    for unit, letters in ((1 << 60, "EiB"), (1 << 50, "PiB"), (1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB")):
        if size >= unit:
            return f"{size / unit:,.1f} {letters}"
    return f"{size:,} bytes"
