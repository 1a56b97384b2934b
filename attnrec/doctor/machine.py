"""The machine: system, CPU cores and memory that this process may use. torch lists the GPUs (`gpus`)."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from pathlib import Path

from attnrec.doctor.findings import Finding, tried

GROUP = "machine"
_CGROUP = Path("/sys/fs/cgroup")
GB = 1e9


def hardware() -> Iterator[Finding]:
    """System, CPU, memory."""
    yield tried(GROUP, "system", platform.platform)
    yield tried(GROUP, "CPU", _cpu)
    yield tried(GROUP, "memory", _memory)


def usable_cores() -> int:
    """CPU cores that this process may use: by its affinity and by the quota of its container, at least 1."""
    # os.sched_getaffinity is not on every system
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = _first_line(_CGROUP / "cpu.max").partition(" ")
    if quota.isdigit() and period.isdigit():
        cores = min(cores, max(1, int(quota) // int(period)))
    return cores


def _cpu() -> str:
    there, usable = os.cpu_count() or 1, usable_cores()
    cores = f"{usable} core{'s' * (usable != 1)}"
    # not every system reports its load; a load above the number of cores means that other processes compete
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{cores if usable == there else f'{cores} of {there}'}, {_model()}{load}"


def _model() -> str:
    """Name of the processor, or the architecture if it has no name."""
    for line in _lines(Path("/proc/cpuinfo")):
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory() -> str:
    """Free and total bytes as a phrase; the limit of a container counts as total."""
    kilobytes = {name: int(value.split()[0]) for name, _, value in (line.partition(":") for line in _meminfo())}
    if "MemTotal" not in kilobytes:
        pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
        return f"{pages * size / GB:.1f} GB"
    total, free = kilobytes["MemTotal"] << 10, kilobytes.get("MemAvailable", 0) << 10
    limit, used = _first_line(_CGROUP / "memory.max"), _first_line(_CGROUP / "memory.current")
    if limit.isdigit() and int(limit) < total:
        total = int(limit)
        free = min(free, max(0, total - int(used or 0)))
    return f"{free / GB:.1f} of {total / GB:.1f} GB free"


def _meminfo() -> list[str]:
    return [line for line in _lines(Path("/proc/meminfo")) if line.startswith(("MemTotal", "MemAvailable"))]


def _first_line(path: Path) -> str:
    return next(iter(_lines(path)), "")


def _lines(path: Path) -> list[str]:
    """Lines of a file; none if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
