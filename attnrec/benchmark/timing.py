"""Measuring time: several computations take turns, so that a drift of the machine meets them all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from attnrec.benchmark.workloads import Ceilings

Computation = Callable[[int], object]
"""Computes once; the argument counts its turns."""

_ROUNDS = {"cpu": (5, 100), "cuda": (10, 200)}  # least and most
_HEAD_START = 1_000_000  # cycles, half a millisecond
_MATRIX = {"cpu": 1024, "cuda": 8192}
_COPIED_BYTES = {"cpu": 1 << 28, "cuda": 1 << 30}
_CEILING_SECONDS = 0.3


@dataclass(frozen=True)
class Times:
    """Of one computation, in milliseconds.

    Attributes:
        rounds: how often it was measured.
        median, low, high: with the quartiles.
        least: the fastest.
        launch: least time that the host took to launch it on a GPU; None on a CPU.
    """

    rounds: int
    median: float
    low: float
    high: float
    least: float
    launch: float | None = None


def synchronize(device: torch.device) -> None:
    """Wait until ``device`` has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def warm_up(compute: Computation, device: torch.device) -> float:
    """Run three times and return the seconds of the fastest of the last two, to plan by.

    The first run compiles, chooses kernels and allocates.
    """
    seconds = []
    for turn in range(3):
        began = time.perf_counter()
        compute(turn)
        synchronize(device)
        seconds.append(time.perf_counter() - began)
    return min(seconds[1:])


def time_in_turns(
    computations: Sequence[Computation], estimates: Sequence[float], device: torch.device, seconds: float
) -> list[Times]:
    """Measure computations that are warm, about ``seconds`` each, taking turns.

    Args:
        computations: what is measured.
        estimates: seconds that each takes, from `warm_up`.
        device: where they compute. On a CPU the clock is that of the host; on a GPU events are recorded around each
            turn, and nothing waits for the GPU before all turns are over.
        seconds: of measuring, for each.
    """
    least, most = _ROUNDS[device.type]
    rounds = [max(least, min(most, int(seconds / max(each, 1e-9)))) for each in estimates]
    measure = _on_gpu if device.type == "cuda" else _on_cpu
    return measure(computations, rounds)


def _turns(rounds: Sequence[int]) -> Iterator[tuple[int, int]]:
    """(computation, turn) so that each has its rounds spread evenly from the beginning to the end."""
    longest = max(rounds, default=0)
    for step in range(longest):
        for place, count in enumerate(rounds):
            turn = step * count // longest
            if (step + 1) * count // longest > turn:
                yield place, turn


def _on_cpu(computations: Sequence[Computation], rounds: Sequence[int]) -> list[Times]:
    measured: list[list[float]] = [[] for _ in computations]
    for place, turn in _turns(rounds):
        began = time.perf_counter()
        computations[place](turn)
        measured[place].append((time.perf_counter() - began) * 1e3)
    return [_summary(times) for times in measured]


def _on_gpu(computations: Sequence[Computation], rounds: Sequence[int]) -> list[Times]:
    events: list[list[tuple[torch.cuda.Event, torch.cuda.Event]]] = [[] for _ in computations]
    launches: list[list[float]] = [[] for _ in computations]
    torch.cuda.synchronize()
    for place, turn in _turns(rounds):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        # the GPU idles while the host launches, so that launching is not counted as computing
        torch.cuda._sleep(_HEAD_START)
        start.record()
        began = time.perf_counter()
        computations[place](turn)
        launches[place].append((time.perf_counter() - began) * 1e3)
        end.record()
        events[place].append((start, end))
    torch.cuda.synchronize()
    return [
        _summary([start.elapsed_time(end) for start, end in pairs], min(launch))
        for pairs, launch in zip(events, launches, strict=True)
    ]


def _summary(times: Sequence[float], launch: float | None = None) -> Times:
    low, median, high = (float(value) for value in np.quantile(times, (0.25, 0.5, 0.75)))
    return Times(len(times), median, low, high, min(times), launch)


def measure_ceilings(device: torch.device, dtype: torch.dtype) -> Ceilings:
    """The fastest product of two square matrices and the fastest copy, in ``dtype`` on ``device``.

    A copy of x bytes reads x and writes x; it is too large for a cache.
    """
    size, copied = _MATRIX[device.type], _COPIED_BYTES[device.type]
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    product = torch.empty_like(a)
    source = torch.ones(copied // dtype.itemsize, dtype=dtype, device=device)
    target = torch.empty_like(source)
    computations: list[Computation] = [lambda _: torch.mm(a, b, out=product), lambda _: target.copy_(source)]
    estimates = [warm_up(compute, device) for compute in computations]
    multiplied, moved = time_in_turns(computations, estimates, device, _CEILING_SECONDS)
    return Ceilings(2.0 * size**3 / multiplied.least * 1e3, 2.0 * copied / moved.least * 1e3)
