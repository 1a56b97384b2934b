"""Running a benchmark: turns, what a failing operator leaves, exponents, CSV, and what operators are given."""

from __future__ import annotations

import csv
import io
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from attnrec.attention import ATTENTION, AttentionOperator, SequenceContext, register_attention
from attnrec.attention.packing import Packing
from attnrec.core import measuring
from attnrec.core.errors import InputError
from attnrec.speed.components import check_names
from attnrec.speed.plan import BenchmarkPlan
from attnrec.speed.report import environment, growth, to_csv
from attnrec.speed.runner import Measurement, measure
from attnrec.speed.workloads import Ceilings, history_lengths, measure_ceilings

CPU = torch.device("cpu")
CEILINGS = Ceilings(1e11, 1e10)
QUICK = BenchmarkPlan(attention=("sdpa",), seq_lens=(4, 8), dims=(8,), batch=2, seconds=1e-3)


def run(plan: BenchmarkPlan) -> list[Measurement]:
    return [m for found in measure(plan, CPU, CEILINGS, lambda _: None) for m in found]


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ATTENTION, "_registered", ATTENTION.registered())


@pytest.mark.usefixtures("registry")
def test_operators_are_given_packed_batches_as_by_the_trunk() -> None:
    seen: list[tuple[tuple[int, ...], Packing, bool, Any]] = []

    @register_attention("witness")
    class Witness(AttentionOperator):
        needs_timestamps = True

        def forward(self, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
            assert ctx.timestamps is not None
            return v

        def forward_packed(self, q: Tensor, k: Tensor, v: Tensor, packing: Packing) -> Tensor:
            seen.append((tuple(q.shape), packing, torch.is_grad_enabled(), v.dtype))
            assert torch.is_autocast_enabled("cpu")
            return super().forward_packed(q, k, v, packing)

    plan = replace(QUICK, attention=("witness",), seq_lens=(50,), heads=3, batch=64, lengths="games", precision="bf16")
    found = run(plan)
    assert not any(m.error for m in found)
    lengths = history_lengths("games", 50, 64)
    for shape, packing, _, dtype in seen:
        assert shape == (int(lengths.sum()), 3, 8)
        assert torch.cat([group.ctx.lengths for group in packing.groups]).tolist() == lengths.tolist()
        assert len(packing.groups) == 4
        assert dtype == torch.bfloat16
    assert {grad for _, _, grad, _ in seen} == {False, True}  # the forward pass alone keeps nothing


def test_every_operator_pass_and_size_has_a_measurement() -> None:
    plan = replace(QUICK, attention=("sdpa", "torch:math"), dims=(8, 4))
    found = run(plan)
    names = [(m.operator, m.passes, m.n, m.d) for m in found]
    assert len(set(names)) == len(names) == 2 * 2 * 2 * 2
    for m in found:
        assert m.error == ""
        assert m.items == 2 * m.n
        assert m.ms is not None
        assert m.ms_low is not None
        assert m.ms_high is not None
        assert 0 < m.ms_low <= m.ms <= m.ms_high
        assert m.share == pytest.approx((m.floor_ms or 0) / m.ms)
        assert (m.kept_bytes is not None) == (m.passes == "both")


def test_rates_are_the_vanilla_work_over_the_time() -> None:
    (m,) = run(replace(QUICK, seq_lens=(8,), passes=("both",)))
    assert m.ms is not None
    assert m.tflops is not None
    assert m.gbps is not None
    flops = 3.5 * 4 * 8 * 2 * 8 * 9 / 2
    assert m.tflops * 1e12 * m.ms / 1e3 == pytest.approx(flops)
    assert m.gbps * 1e9 * m.ms / 1e3 == pytest.approx(12 * 16 * 8 * 4 + 8 * 16)


@pytest.mark.usefixtures("registry")
def test_one_that_fails_says_so_and_the_others_go_on() -> None:
    @register_attention("brittle")
    class Brittle(AttentionOperator):
        def forward(self, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
            if ctx.width > 4:
                raise IndexError("too long\nfor me")
            return v * float("nan") if self.head_dim > 8 else v

    plan = replace(QUICK, attention=("brittle", "sdpa", "torch:cudnn"), dims=(8, 16))
    found = {(m.operator, m.n, m.d, m.passes): m for m in run(plan)}
    assert all(m.error == "" for m in found.values() if m.operator == "sdpa")
    assert found["brittle", 4, 8, "both"].error == ""
    assert found["brittle", 8, 8, "both"].error == "too long for me"
    assert found["brittle", 4, 16, "forward"].error == "its output is not finite"
    assert found["brittle", 8, 8, "both"].ms is None
    assert "torch has no cudnn attention kernel" in found["torch:cudnn", 4, 8, "forward"].error
    grown = {(g.operator, g.passes): g for g in growth(list(found.values()))}
    assert set(grown["sdpa", "forward"].time) == {"n", "d"}
    assert "an exponent needs two" in grown["brittle", "forward"].why
    assert grown["torch:cudnn", "both"].why == "nothing was measured"


def test_growth_recovers_exponents() -> None:
    blank = Measurement("x", "both", 0, 0, 0)
    rows = [
        replace(blank, n=n, d=d, ms=3e-7 * n**2 * d**0.5, kept_bytes=5 * n * d) for n in (64, 128, 512) for d in (8, 32)
    ]
    (found,) = growth(rows)
    assert found.time == pytest.approx({"n": 2.0, "d": 0.5})
    assert found.memory == pytest.approx({"n": 1.0, "d": 1.0})
    (by_width,) = growth([row for row in rows if row.n == 64])
    assert by_width.time == pytest.approx({"d": 0.5})


@pytest.mark.parametrize("name", ["sdpaa", "awr:x=1", "awr:refinement=values", "torch:flas", "torch:"])
def test_a_name_or_option_that_there_is_not_is_found_before_measuring(name: str) -> None:
    with pytest.raises(InputError):
        check_names(replace(QUICK, attention=("sdpa", name)))


@pytest.mark.parametrize("rounds", [[3, 7, 1], [5], [2, 2], []])
def test_turns_are_spread_evenly(rounds: list[int]) -> None:
    turns = list(measuring._turns(rounds))
    assert Counter(place for place, _ in turns) == {place: count for place, count in enumerate(rounds) if count}
    for place, count in enumerate(rounds):
        assert [turn for other, turn in turns if other == place] == list(range(count))
    most = max(rounds, default=0)
    busiest = [at for at, (place, _) in enumerate(turns) if rounds[place] == most]
    assert all(later - earlier <= len(rounds) for earlier, later in pairwise(busiest))


def test_times_are_medians_and_quartiles() -> None:
    times = measuring._summary([4.0, 1.0, 2.0, 3.0, 100.0])
    assert (times.rounds, times.median, times.low, times.high, times.least) == (5, 3.0, 2.0, 4.0, 1.0)


def test_a_gpu_is_waited_for_before_and_after_all_turns_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a pretended GPU, whose clock is the number of things done."""
    done: list[str] = []

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            self.at = len(done)
            done.append("event")

        def elapsed_time(self, end: Event) -> float:
            assert done[-1] == "wait"
            return float(end.at - self.at)

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda *_: done.append("wait"))
    monkeypatch.setattr(torch.cuda, "_sleep", lambda _: done.append("idle"))
    computations = [lambda turn: done.append(f"a{turn}"), lambda turn: done.extend([f"b{turn}"] * 3)]
    one, other = measuring.time_in_turns(computations, [1.0, 1.0], torch.device("cuda"), 1e-3)
    assert (one.rounds, one.median, other.median) == (10, 2.0, 4.0)
    assert one.launch is not None
    assert [at for at, what in enumerate(done) if what == "wait"] == [0, len(done) - 1]
    assert done[1:5] == ["idle", "event", "a0", "event"]


def test_the_csv_says_where_and_how() -> None:
    found = run(QUICK)
    where = environment(CPU, CEILINGS)
    rows = list(csv.DictReader(io.StringIO(to_csv(QUICK, where, found))))
    assert len(rows) == len(found) == 4
    for row, m in zip(rows, found, strict=True):
        assert float(row["ms"]) == m.ms
        assert row["passes"] == m.passes
        assert row["peak_bytes"] == ""
        assert (row["batch"], row["heads"], row["lengths"], row["seed"], row["precision"]) == (
            "2", "1", "full", "0", "fp32",
        )  # fmt: skip
        assert row["torch"] == torch.__version__
        assert int(row["threads"]) == torch.get_num_threads()
        assert row["device"]
        assert row["date"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_on_a_gpu() -> None:
    device = torch.device("cuda")
    ceilings = measure_ceilings(device, torch.bfloat16)
    assert ceilings.flops_per_second > 1e12
    plan = replace(QUICK, attention=("sdpa", "triton", "torch:flash"), precision="bf16", dims=(16,), seq_lens=(32, 64))
    for m in (m for found in measure(plan, device, ceilings, lambda _: None) for m in found):
        assert m.error == ""
        assert m.ms is not None
        assert m.launch_ms is not None
        assert m.peak_bytes is not None
        assert min(m.ms, m.launch_ms, m.peak_bytes) > 0
