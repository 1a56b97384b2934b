"""Devices: choosing one, waiting for it, and how much memory this process uses on it."""

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
    """The device for ``auto``, ``cpu`` or ``cuda``; InputError for any other name, or if ``cuda`` has no GPU."""
    if name not in ("auto", "cpu", "cuda"):
        raise InputError(f"`device` {name!r} is not one of auto, cpu, cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("`device='cuda'`: torch finds no CUDA GPU here; use `device='cpu'`")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def given_device(device: object) -> torch.device:
    """The device given to the Python API; InputError for anything that is not one, and for a GPU that is missing."""
    if not isinstance(device, str | torch.device):  # torch takes 1 for the second GPU
        refuse("device", "a string such as cpu or cuda, or a torch.device", device)
    try:
        found = torch.device(device)
    except RuntimeError:
        raise InputError(f"torch knows no device {device!r}; give cpu or cuda") from None
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise InputError(f"device {found}: torch finds no such CUDA GPU here")
    return found


def keep_freed_memory() -> None:
    """Let glibc's allocator keep freed memory for the next step; other allocators are left alone.

    By default it returns buffers as large as an item table's gradient to the system, which then hands them out
    again page by page. With a small batch and a large catalogue, that takes a tenth of the time of a step.
    """
    if sys.platform != "linux":
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_M_MMAP_THRESHOLD, 32 << 20)  # the most it takes
        library.mallopt(_M_TRIM_THRESHOLD, 1 << 30)


def peak_memory(device: torch.device) -> int:
    """Peak memory of this process so far, in bytes: resident memory, or what torch allocated on a GPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.exists():
        # getrusage would also count what the parent process held when it started this one
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) << 10  # type: ignore[index]
    import resource  # not on every system

    unit = 1 if sys.platform == "darwin" else 1 << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def synchronize(device: torch.device) -> None:
    """Wait until ``device`` has finished all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
