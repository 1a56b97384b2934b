"""A benchmark from its plan to its result; measurements are written as they come in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from attnrec.core.devices import choose_device, keep_freed_memory
from attnrec.core.errors import InputError
from attnrec.core.files import write_atomically
from attnrec.core.memory import refuse_more
from attnrec.core.options import named
from attnrec.speed.components import check_names
from attnrec.speed.plan import BOTH, BenchmarkPlan
from attnrec.speed.report import Growth, environment, growth, to_csv
from attnrec.speed.runner import DTYPES, Measurement, measure
from attnrec.speed.workloads import measure_ceilings

CSV = "bench.csv"
_INPUTS = 4 * 4  # bytes per number: float32 queries, keys, values and gradient of the output


@dataclass(frozen=True)
class BenchmarkResult:
    """What was measured.

    Attributes:
        plan: what was asked for.
        out: the folder with `bench.csv`; None if nothing was written.
        environment: machine and versions; empty if it was interrupted before these were known.
        measurements: in the order of sizes, and of the plan's operators within each.
        growth: exponents of time and memory, for each operator and pass.
        interrupted: whether sizes are missing because of Ctrl-C.
    """

    plan: BenchmarkPlan
    out: Path | None
    environment: dict[str, Any]
    measurements: tuple[Measurement, ...]
    growth: tuple[Growth, ...]
    interrupted: bool

    @property
    def device(self) -> str:
        """``cpu`` or ``cuda``."""
        return "cuda" if any(m.peak_bytes is not None for m in self.measurements) else "cpu"

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "out": None if self.out is None else str(self.out),
            "interrupted": self.interrupted,
            "environment": self.environment,
            "plan": asdict(self.plan),
            "measurements": [asdict(m) for m in self.measurements],
            "growth": [asdict(g) for g in self.growth],
        }


def run(
    plan: BenchmarkPlan,
    device_name: str = "auto",
    out: Path | None = None,
    observe: Callable[[str], None] = lambda text: None,
) -> BenchmarkResult:
    """Measure; Ctrl-C keeps the sizes that are done.

    Args:
        plan: what to measure.
        device_name: ``auto``, ``cpu`` or ``cuda``.
        out: a folder for the table, new or empty; by default nothing is written.
        observe: called with a description of each step.

    Raises:
        InputError: an operator, the device or the folder cannot be used, or the inputs would not fit in memory.
        RunError: the table cannot be written.
    """
    device = choose_device(device_name)
    n, d = max(plan.seq_lens), max(plan.dims)
    sizes = f"{named('seq_lens', (n,))} with {named('dims', (d,))}, {named('heads', plan.heads)}"
    if plan.lengths == "full":
        refuse_more(_INPUTS * n * d * plan.heads * plan.batch, device, f"{sizes} and {named('batch', plan.batch)}")
    for name, needed in check_names(plan).items():
        refuse_more(needed * (2 if BOTH in plan.passes else 1), device, f"{named('attention', name)} at {sizes}")
    if out is not None:
        _make_folder(out)
    keep_freed_memory()
    measurements: list[Measurement] = []
    where: dict[str, Any] = {}
    interrupted = False
    try:
        observe("measuring the ceilings of the machine")
        ceilings = measure_ceilings(device, DTYPES[plan.precision])
        where = environment(device, ceilings)
        for found in measure(plan, device, ceilings, observe):
            measurements += found
            if out is not None:
                write_atomically(out / CSV, to_csv(plan, where, measurements).encode())
    except KeyboardInterrupt:
        interrupted = True
    return BenchmarkResult(plan, out, where, tuple(measurements), tuple(growth(measurements)), interrupted)


def _make_folder(directory: Path) -> None:
    if directory.exists() and not directory.is_dir():
        raise InputError(f"{directory} is not a directory")
    if directory.is_dir() and any(directory.iterdir()):
        what = "a benchmark" if (directory / CSV).exists() else "files"
        raise InputError(f"{directory} already holds {what}; choose another `out`")
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot create {directory}: {error.strerror or error}") from error
