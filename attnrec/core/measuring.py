"""Measuring: times of computations that take turns, bytes kept for the backward pass, exponents of growth.

Computations take turns so that drift of the machine affects them all equally.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attnrec.core.devices import synchronize

Computation = Callable[[int], object]
"""Computes once; the argument counts its turns."""

_ROUNDS = {"cpu": (5, 100), "cuda": (10, 200)}  # least and most
_HEAD_START = 1_000_000  # cycles, half a millisecond


@dataclass(frozen=True)
class Times:
    """Times of one computation, in milliseconds.

    Attributes:
        rounds: how often it was measured.
        median, low, high: the median and the quartiles.
        least: the fastest.
        launch: the least time that the host took to launch it on a GPU; None on a CPU.
    """

    rounds: int
    median: float
    low: float
    high: float
    least: float
    launch: float | None = None


def warm_up(compute: Computation, device: torch.device) -> float:
    """Run three times and return the seconds of the faster of the last two, for planning.

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
    """Measure computations that are warmed up, about ``seconds`` each, taking turns.

    Args:
        computations: what to measure.
        estimates: seconds that each takes, from `warm_up`.
        device: where they compute. A CPU is timed by the host's clock. On a GPU, events are recorded around each turn,
            and nothing waits for the GPU before all turns are over.
        seconds: how long to measure each.
    """
    least, most = _ROUNDS[device.type]
    rounds = [max(least, min(most, int(seconds / max(each, 1e-9)))) for each in estimates]
    measure = _on_gpu if device.type == "cuda" else _on_cpu
    return measure(computations, rounds)


def _turns(rounds: Sequence[int]) -> Iterator[tuple[int, int]]:
    """(computation, turn) in an order that spreads the rounds of each evenly from beginning to end."""
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
        # let the GPU idle while the host launches, so that launching is not counted as computing
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


def kept_for_backward(compute: Callable[[], Any]) -> int:
    """Bytes that autograd keeps after ``compute``, each storage counted once."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        alive = compute()  # keep it: a freed storage's address can be reused, and would then be counted once for two
    del alive
    return sum(kept.values())


def fit_exponents(values: Sequence[float], *sizes: Sequence[float]) -> tuple[float, ...]:
    """Exponents a, b, ... of value = c * size_1^a * size_2^b * ..., by least squares on logarithms.

    Args:
        values: measured, above 0.
        sizes: one sequence for each size, as long as ``values``; each must take at least two values.

    Raises:
        ValueError: a size does not vary, so that its exponent is undefined.
    """
    if any(len(set(size)) < 2 for size in sizes):
        raise ValueError("an exponent needs at least two different sizes")
    design = np.log(np.array([*sizes], dtype=float)).T
    design = np.column_stack([design, np.ones(len(values))])
    found = np.linalg.lstsq(design, np.log(np.array(values, dtype=float)), rcond=None)[0]
    return tuple(float(exponent) for exponent in found[:-1])
