"""Runs a benchmark: operators, mixers and competitors on the same packed batches, size after size.

A mixer is measured with its projections, on rows as wide as all heads together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from attnrec.attention import Packing
from attnrec.attention.packing import make_packing
from attnrec.core.errors import is_out_of_memory
from attnrec.core.measuring import Times, kept_for_backward, time_in_turns, warm_up
from attnrec.core.options import named
from attnrec.mixers import Mixer
from attnrec.speed.competitors import COMPETITORS, is_competitor
from attnrec.speed.components import FEATURES, component
from attnrec.speed.plan import BOTH, BenchmarkPlan
from attnrec.speed.workloads import Ceilings, history_lengths, vanilla_work

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_GROUPS = 4  # the most rectangles a batch is cut into for operators that need them; as in training
_CACHES = 4  # on a GPU, sets of inputs take turns that together are this many times its L2 cache
_MOST_SETS = 32
_DAY = 86400.0
_ITEMS = 1000  # for variants that ask for item numbers
_Memory = tuple[int | None, int | None]  # bytes kept for the backward pass, peak on a GPU


@dataclass(frozen=True)
class Measurement:
    """One operator in one pass at one size; if it failed, ``error`` says how and the rest is None.

    Attributes:
        operator, passes: as given to the plan.
        n, d: longest history and width of a head.
        items: N, real items in the batch.
        rounds: how often it was timed.
        ms, ms_low, ms_high: median and quartiles, in milliseconds.
        launch_ms: least time that the host took to launch it on a GPU.
        tflops, gbps: the vanilla operator's work on the real items (`workloads`) over time, 10^12 floating-point
            operations and 10^9 bytes a second.
        floor_ms: least possible time for that work by the machine's ceilings.
        share: ``floor_ms / ms``.
        kept_bytes: what autograd keeps for the backward pass.
        peak_bytes: peak memory allocated on a GPU during the pass, minus what was allocated before.
        setup_ms: time to prepare the batch (FlexAttention's block mask), which is not part of ``ms``.
        error: in one line.
    """

    operator: str
    passes: str
    n: int
    d: int
    items: int
    rounds: int | None = None
    ms: float | None = None
    ms_low: float | None = None
    ms_high: float | None = None
    launch_ms: float | None = None
    tflops: float | None = None
    gbps: float | None = None
    floor_ms: float | None = None
    share: float | None = None
    kept_bytes: int | None = None
    peak_bytes: int | None = None
    setup_ms: float | None = None
    error: str = ""


@dataclass(frozen=True, eq=False)
class _Batch:
    """The inputs at one size: packed rows q, k, v and the output's gradient, one set per turn."""

    n: int
    d: int
    lengths: npt.NDArray[np.int64]
    packing: Packing
    sets: list[tuple[Tensor, ...]]
    device: torch.device


class _Subject:
    """Something to measure, with inputs in its layout."""

    def __init__(
        self,
        mix: Callable[[Tensor, Tensor, Tensor], Tensor],
        sets: list[tuple[Tensor, ...]],
        parameters: Sequence[Tensor],
        autocast: torch.autocast,
        setup_seconds: float | None = None,
    ) -> None:
        self.mix, self.parameters, self.autocast, self.setup_seconds = mix, parameters, autocast, setup_seconds
        self.sets = [(*(x.detach().requires_grad_() for x in qkv), gradient) for *qkv, gradient in sets]

    def output(self, turn: int) -> Tensor:
        q, k, v, _ = self.sets[turn % len(self.sets)]
        with self.autocast:
            return self.mix(q, k, v)

    def forward(self, turn: int) -> Tensor:
        with torch.no_grad():
            return self.output(turn)

    def both(self, turn: int) -> tuple[Tensor, ...]:
        *inputs, gradient = self.sets[turn % len(self.sets)]
        wanted = [*inputs, *self.parameters]
        return torch.autograd.grad(self.output(turn), wanted, gradient, allow_unused=True)


def measure(
    plan: BenchmarkPlan, device: torch.device, ceilings: Ceilings, progress: Callable[[str], None]
) -> Iterator[list[Measurement]]:
    """Measure size after size; yields the measurements of each, in the order of ``plan.attention``.

    If an operator fails at a size, the others are still measured.
    """
    for place, (n, d) in enumerate(plan.sizes(), 1):
        where = f"n = {n}, d = {d} ({place} of {len(plan.sizes())})"
        progress(where)
        batch = _make_batch(plan, n, d, device)
        subjects: dict[str, _Subject] = {}
        found: dict[tuple[str, str], Measurement] = {}
        for name in plan.attention:
            progress(f"{where}: warming up {name}")
            _prepare(plan, batch, name, subjects, found)
        progress(f"{where}: measuring")
        _measure_warm(plan, batch, ceilings, subjects, found)
        yield [found[name, passes] for name in plan.attention for passes in plan.passes]


def _make_batch(plan: BenchmarkPlan, n: int, d: int, device: torch.device) -> _Batch:
    lengths = history_lengths(plan.lengths, n, plan.batch)
    dtype = DTYPES[plan.precision]
    shape = (4, int(lengths.sum()), plan.heads, d)
    count = 1
    if device.type == "cuda":
        size = 4 * shape[1] * shape[2] * d * dtype.itemsize
        cache = torch.cuda.get_device_properties(device).L2_cache_size
        count = max(2, min(_MOST_SETS, -(-_CACHES * cache // size)))
    generator = torch.Generator(device).manual_seed(plan.seed)
    sets = [torch.randn(shape, generator=generator, device=device).to(dtype).unbind() for _ in range(count)]
    days = torch.arange(shape[1], dtype=torch.float64, device=device) * _DAY  # for operators that need timestamps
    packing = make_packing(lengths, n, _GROUPS, days, device)
    items = torch.randint(1, _ITEMS, (shape[1],), generator=generator, device=device)
    features = {name: items[:, None] % size + 1 for name, size in FEATURES.items()}
    return _Batch(n, d, lengths, replace(packing, items=items, features=features), sets, device)


def _build(plan: BenchmarkPlan, batch: _Batch, name: str) -> _Subject:
    device, dtype = batch.device, DTYPES[plan.precision]
    if is_competitor(name):
        competitor = COMPETITORS[name](batch.packing)
        arranged = [tuple(competitor.arrange(x) for x in tensors) for tensors in batch.sets]
        plain = torch.autocast(device.type, enabled=False)
        return _Subject(competitor.mix, arranged, [], plain, competitor.setup_seconds)
    torch.manual_seed(plan.seed)
    part = component(plan, name, batch.n, batch.d).to(device)
    part.check_device(device)
    parameters = [parameter for parameter in part.parameters() if parameter.requires_grad]
    narrow = dtype != torch.float32
    autocast = torch.autocast(device.type, dtype if narrow else None, enabled=narrow)  # as the trunk calls it
    if isinstance(part, Mixer):
        return _Subject(partial(_mixed, part, batch.packing), batch.sets, parameters, autocast)
    packing = batch.packing.seen_by(part, batch.sets[0][0].flatten(1))
    return _Subject(partial(part.forward_packed, packing=packing), batch.sets, parameters, autocast)


def _mixed(mixer: Mixer, packing: Packing, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """A mixer on the rows of an operator's queries; it makes its own keys and values."""
    x = q.flatten(1)
    return mixer(x, x, packing).view_as(q)


def _prepare(
    plan: BenchmarkPlan,
    batch: _Batch,
    name: str,
    subjects: dict[str, _Subject],
    found: dict[tuple[str, str], Measurement],
) -> None:
    """Build a subject and run it once; on failure, record the error for all its passes."""
    try:
        subject = _build(plan, batch, name)
        if not subject.forward(0).isfinite().all():
            raise ValueError("its output is not finite")
        subjects[name] = subject
    except Exception as error:  # noqa: BLE001  (a variant may fail in any way; its row says how)
        for passes in plan.passes:
            found[name, passes] = _failed(batch, name, passes, error)


def _measure_warm(
    plan: BenchmarkPlan,
    batch: _Batch,
    ceilings: Ceilings,
    subjects: dict[str, _Subject],
    found: dict[tuple[str, str], Measurement],
) -> None:
    """Time every subject in every pass, in turns."""
    memory: dict[tuple[str, str], _Memory] = {}
    estimates: dict[tuple[str, str], float] = {}
    for name, subject in subjects.items():
        for passes in plan.passes:
            try:
                estimate = warm_up(_computation(subject, passes), batch.device)
                memory[name, passes] = _memory(subject, passes, batch.device)
                estimates[name, passes] = estimate
            except Exception as error:  # noqa: BLE001  (as above)
                found[name, passes] = _failed(batch, name, passes, error)
    computations = [_computation(subjects[name], passes) for name, passes in estimates]
    measured = time_in_turns(computations, list(estimates.values()), batch.device, plan.seconds)
    for (name, passes), times in zip(estimates, measured, strict=True):
        setup = subjects[name].setup_seconds
        found[name, passes] = _measurement(plan, batch, ceilings, name, passes, times, memory[name, passes], setup)


def _computation(subject: _Subject, passes: str) -> Callable[[int], object]:
    return subject.both if passes == BOTH else subject.forward


def _memory(subject: _Subject, passes: str, device: torch.device) -> _Memory:
    """Bytes kept for the backward pass, and on a GPU the peak of the pass."""
    kept = kept_for_backward(lambda: subject.output(0)) if passes == BOTH else None
    if device.type != "cuda":
        return kept, None
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    _computation(subject, passes)(0)
    torch.cuda.synchronize(device)
    return kept, torch.cuda.max_memory_allocated(device) - before


def _measurement(
    plan: BenchmarkPlan,
    batch: _Batch,
    ceilings: Ceilings,
    name: str,
    passes: str,
    times: Times,
    memory: _Memory,
    setup_seconds: float | None,
) -> Measurement:
    work = vanilla_work(batch.lengths, plan.heads, batch.d, DTYPES[plan.precision].itemsize, passes)
    floor = ceilings.floor_seconds(work) * 1e3
    return Measurement(
        operator=name,
        passes=passes,
        n=batch.n,
        d=batch.d,
        items=int(batch.lengths.sum()),
        rounds=times.rounds,
        ms=times.median,
        ms_low=times.low,
        ms_high=times.high,
        launch_ms=times.launch,
        tflops=work.flops / times.median / 1e9,
        gbps=work.bytes / times.median / 1e6,
        floor_ms=floor,
        share=floor / times.median,
        kept_bytes=memory[0],
        peak_bytes=memory[1],
        setup_ms=None if setup_seconds is None else setup_seconds * 1e3,
    )


def _failed(batch: _Batch, name: str, passes: str, error: Exception) -> Measurement:
    if batch.device.type == "cuda":
        torch.cuda.empty_cache()
    if is_out_of_memory(error):
        message = "out of memory"
    else:
        message = " ".join((str(error) or type(error).__name__).split()).removeprefix(f"{named('attention', name)}: ")
    return Measurement(name, passes, batch.n, batch.d, int(batch.lengths.sum()), error=message)
