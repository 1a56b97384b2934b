"""Where to compute: the device asked for, waiting for it, and what memory a process takes on it."""

from __future__ import annotations

import ctypes
import re
import sys
from pathlib import Path

import torch

from attnrec.core.arguments import refuse
from attnrec.core.errors import InputError

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


def choose_device(name: str) -> torch.device:
    """The device for ``auto``, ``cpu`` or ``cuda``; InputError for another, and where there is no GPU for ``cuda``."""
    if name not in ("auto", "cpu", "cuda"):
        raise InputError(f"`device` {name!r} is not one of auto, cpu, cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("`device='cuda'`: no CUDA GPU is available to torch here; use `device='cpu'`")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def given_device(device: object) -> torch.device:
    """The device that a caller of Python names; InputError for what is none, and for a GPU that is not there."""
    if not isinstance(device, str | torch.device):  # torch takes 1 for the second GPU
        refuse("device", "a text such as cpu or cuda, or a torch.device", device)
    try:
        found = torch.device(device)
    except RuntimeError:
        raise InputError(f"device {device!r} is none that torch knows; give cpu or cuda") from None
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise InputError(f"device {found}: no such CUDA GPU is available to torch here")
    return found


def keep_freed_memory() -> None:
    """Let the allocator keep what is freed for the next step, where it is glibc's.

    By default it gives buffers as large as an item table's gradient back to the system, which hands them out
    again page by page: a tenth of the time of a step with a small batch and a large catalogue.
    """
    if sys.platform != "linux":
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_M_MMAP_THRESHOLD, 32 << 20)  # the most it takes
        library.mallopt(_M_TRIM_THRESHOLD, 1 << 30)


def peak_memory(device: torch.device) -> int:
    """Most memory that this process has held so far, in bytes: resident, or on a GPU what torch allocated there."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.exists():
        # unlike getrusage's figure, this one does not include what the parent held when it started us
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) << 10  # type: ignore[index]
    import resource  # not on every system

    unit = 1 if sys.platform == "darwin" else 1 << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def synchronize(device: torch.device) -> None:
    """Wait until ``device`` has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
