"""What a benchmark found: exponents in n and d, and the table of all measurements."""

from __future__ import annotations

import csv
import io
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

import attnrec
from attnrec.core.measuring import fit_exponents
from attnrec.speed.plan import BenchmarkPlan
from attnrec.speed.runner import Measurement
from attnrec.speed.workloads import Ceilings


@dataclass(frozen=True)
class Growth:
    """How time and memory of one operator and pass grow; empty if nothing could be fitted.

    Attributes:
        operator, passes: what was measured.
        time, memory: exponents by size, such as {"n": 1.9, "d": 0.8}. Memory is what is kept for the backward pass; in
            the pass ``forward`` it is the peak on a GPU.
        why: why there are no exponents.
    """

    operator: str
    passes: str
    time: dict[str, float]
    memory: dict[str, float]
    why: str = ""


def growth(measurements: Sequence[Measurement]) -> list[Growth]:
    """Exponents for every operator and pass, in the order of the measurements."""
    found = []
    for operator, passes in dict.fromkeys((m.operator, m.passes) for m in measurements):
        done = [m for m in measurements if (m.operator, m.passes) == (operator, passes) and m.ms is not None]
        sizes = {size: len({getattr(m, size) for m in done}) for size in ("n", "d")}
        varied = [size for size, count in sizes.items() if count > 1]
        if not varied or len(done) <= len(varied):
            few = "too few sizes were measured; an exponent needs two of n or of d"
            found.append(Growth(operator, passes, {}, {}, few if done else "nothing was measured"))
            continue
        memory = [m.kept_bytes or m.peak_bytes or 0 for m in done]
        found.append(
            Growth(operator, passes, _fit([m.ms or 0 for m in done], done, varied), _fit(memory, done, varied))
        )
    return found


def _fit(values: Sequence[float], done: Sequence[Measurement], varied: Sequence[str]) -> dict[str, float]:
    if not all(values):
        return {}
    exponents = fit_exponents(values, *([getattr(m, size) for m in done] for size in varied))
    return dict(zip(varied, exponents, strict=True))


def environment(device: torch.device, ceilings: Ceilings) -> dict[str, Any]:
    """Machine and versions of the measurement, without the host name."""
    try:
        import triton

        triton_version = triton.__version__
    except ImportError:
        triton_version = ""
    return {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "attnrec": attnrec.__version__,
        "torch": torch.__version__,
        "triton": triton_version,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "ceiling_tflops": ceilings.flops_per_second / 1e12,
        "ceiling_gbps": ceilings.bytes_per_second / 1e9,
    }


def device_name(device: torch.device) -> str:
    """Model of the GPU or CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or platform.machine())


def to_csv(plan: BenchmarkPlan, where: dict[str, Any], measurements: Sequence[Measurement]) -> str:
    """One line per measurement, with the plan and the environment on every line; missing values are empty."""
    arguments = {name: value for name, value in asdict(plan).items() if not isinstance(value, tuple)}
    columns = [field.name for field in fields(Measurement)]
    file = io.StringIO()
    writer = csv.DictWriter(file, [*columns, *arguments, *where], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(m) | arguments | where for m in measurements)
    return file.getvalue()


def by_panel(measurements: Sequence[Measurement]) -> dict[tuple[str, int], list[Measurement]]:
    """The measurements of each (pass, d), in their order."""
    groups: dict[tuple[str, int], list[Measurement]] = {}
    for m in measurements:
        groups.setdefault((m.passes, m.d), []).append(m)
    return groups
