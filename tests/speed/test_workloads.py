"""The laws of history lengths, and the work that attention needs, against counting by hand."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from attnrec.data.batches import TrainingBatches
from attnrec.data.reading.read import read_interactions
from attnrec.data.splits import leave_one_out
from attnrec.speed import workloads
from attnrec.speed.workloads import LAWS, Ceilings, Work, history_lengths, vanilla_work
from tests.conftest import real_file


@pytest.mark.parametrize("lengths", ["full", *LAWS])
@pytest.mark.parametrize("batch", [1, 2, 128])
def test_lengths_are_ascending_clipped_and_always_the_same(lengths: str, batch: int) -> None:
    found = history_lengths(lengths, 50, batch)
    assert found.shape == (batch,)
    assert found.min() >= 1
    assert found.max() <= 50
    assert (np.diff(found) >= 0).all()
    assert (found == history_lengths(lengths, 50, batch)).all()


def test_full_lengths_are_all_n() -> None:
    assert history_lengths("full", 7, 3).tolist() == [7, 7, 7]


@pytest.mark.parametrize("name", LAWS)
def test_a_batch_has_the_quantiles_of_its_law(name: str) -> None:
    """The middle history of an odd batch is the law's median, shift + exp(mu)."""
    law = LAWS[name]
    assert history_lengths(name, 10**6, 101)[50] == round(law.shift + np.exp(law.mu))


@pytest.mark.real_data
@pytest.mark.parametrize(("name", "n", "mean_error"), [("games", 50, 0.05), ("ml-1m", 200, 0.15)])
def test_a_law_is_near_the_real_lengths(name: str, n: int, mean_error: float) -> None:
    """As its docstring says: median and 90th percentile within 5 %, the clipped mean within 2 %."""
    split = leave_one_out(read_interactions(real_file(f"{name}.txt")))
    real = TrainingBatches(split, 10**9, 128, 0).lengths
    law = history_lengths(name, 10**9, 20_000)
    assert law.mean() == pytest.approx(real.mean(), rel=mean_error)
    for probability in (0.5, 0.9):
        assert np.quantile(law, probability) == pytest.approx(np.quantile(real, probability), rel=0.05)
    assert np.minimum(law, n).mean() == pytest.approx(np.minimum(real, n).mean(), rel=0.02)


def test_work_is_that_of_every_visible_pair() -> None:
    lengths, heads, dim = np.array([1, 3, 5]), 2, 4
    # a multiplication and an addition for each of d components, once for Q K^T and once for A V
    flops = sum(4 * dim for length in lengths for i in range(length) for _ in range(i + 1)) * heads
    rows = int(lengths.sum()) * heads
    forward = vanilla_work(lengths, heads, dim, 2, "forward")
    assert forward == Work(flops, 4 * rows * dim * 2)
    both = vanilla_work(lengths, heads, dim, 2, "both")
    assert both == Work(3.5 * flops, 12 * rows * dim * 2 + 2 * rows * 4)


def test_the_ceiling_of_slow_products_is_that_of_smaller_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of fp16 on a processor, whose product of the usual size takes many seconds."""
    sizes: list[int] = []

    def slow(a: torch.Tensor, b: torch.Tensor, **more: torch.Tensor) -> torch.Tensor:
        sizes.append(len(a))
        time.sleep(0.02 * (len(a) / 64) ** 3)
        return a

    monkeypatch.setattr(torch, "mm", slow)
    monkeypatch.setattr(workloads, "_COPIED_BYTES", {"cpu": 1 << 16})
    found = workloads.measure_ceilings(torch.device("cpu"), torch.float16)
    assert max(sizes) == 128
    assert found.flops_per_second == pytest.approx(2 * 128**3 / 0.16, rel=0.3)


def test_padding_is_no_work() -> None:
    alone = vanilla_work(np.array([3]), 1, 8, 4, "forward")
    assert vanilla_work(history_lengths("full", 3, 1), 1, 8, 4, "forward") == alone
    assert vanilla_work(np.array([3, 3]), 1, 8, 4, "forward") == Work(2 * alone.flops, 2 * alone.bytes)


@pytest.mark.parametrize(("work", "seconds"), [(Work(100.0, 1.0), 10.0), (Work(10.0, 20.0), 4.0)])
def test_the_floor_is_the_slower_of_computing_and_moving(work: Work, seconds: float) -> None:
    assert Ceilings(10.0, 5.0).floor_seconds(work) == seconds
