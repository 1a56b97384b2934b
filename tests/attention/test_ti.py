"""Time intervals: a plain loop in float64, intervals of all sorts, and memory without a vector a pair."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from attnrec.attention import SequenceContext
from attnrec.attention.ti import TimeIntervalAttention
from tests.attention.conftest import DIM, MAX_LEN, build, close, context, inputs, real_rows


def made(heads: int = 1, max_interval: int = 7) -> TimeIntervalAttention:
    operator = build(f"ti:max_interval={max_interval}", heads)
    assert isinstance(operator, TimeIntervalAttention)
    return operator


def interval(times: list[float], i: int, j: int, most: int) -> int:
    """min(k, floor(|t_i - t_j| / r_min)), r_min over all pairs of items up to i."""
    apart = [abs(a - b) for place, a in enumerate(times[: i + 1]) for b in times[:place] if a != b]
    return min(most, math.floor(abs(times[i] - times[j]) / min(apart))) if apart else 0


def oracle(op: TimeIntervalAttention, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
    """A row, a head and a query at a time, with a vector of the interval for every pair."""
    assert ctx.timestamps is not None
    out = torch.zeros_like(v)
    for row, columns, slots in real_rows(ctx):
        times = ctx.timestamps[row, columns].tolist()
        for head in range(q.shape[1]):
            for i in range(len(times)):
                known = range(i + 1)
                apart = [interval(times, i, j, op.max_interval) for j in known]
                keys, values = (
                    torch.stack(
                        [
                            own[row, head, columns.start + j] + of_time[head, apart[j]] + place[head, slots.start + j]
                            for j in known
                        ]
                    )
                    for own, of_time, place in (
                        (k, op.interval_keys, op.slot_keys),
                        (v, op.interval_values, op.slot_values),
                    )
                )
                weights = (keys @ q[row, head, columns.start + i] / math.sqrt(DIM)).softmax(0)
                out[row, head, columns.start + i] = weights @ values
    return out


@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("width", [1, 6, 13])
@pytest.mark.parametrize("max_interval", [1, 3, 40])
def test_forward_is_the_oracle(heads: int, width: int, max_interval: int) -> None:
    operator = made(heads, max_interval)
    q, k, v = (x.detach() for x in inputs(4, heads, width))
    ctx = context([0, 1, (width + 1) // 2, width], width)
    with torch.no_grad():
        close(operator(q, k, v, ctx), oracle(operator, q, k, v, ctx))


def intervals(times: list[float], max_interval: int = 100, pads: int = 0) -> list[list[int]]:
    """The lower triangle of r for one history."""
    padded = torch.tensor([[0.0] * pads + times], dtype=torch.float64)
    width = len(times) + pads
    ctx = SequenceContext(torch.tensor([len(times)]), width, MAX_LEN - width, padded)
    found = made(max_interval=max_interval)._intervals(ctx)[0, 0, pads:, pads:]
    return [row[: i + 1].tolist() for i, row in enumerate(found)]


def test_equal_gaps_are_distances() -> None:
    expected = [[0], [1, 0], [2, 1, 0], [3, 2, 1, 0]]
    assert intervals([5e8, 5e8 + 3600, 5e8 + 7200, 5e8 + 10800]) == expected
    assert intervals([0.0, 0.25, 0.5, 0.75]) == expected


def test_equal_times_are_no_interval() -> None:
    assert intervals([7.0, 7.0, 7.0]) == [[0], [0, 0], [0, 0, 0]]
    assert intervals([7.0, 7.0, 9.0, 9.0]) == [[0], [0, 0], [1, 1, 0], [1, 1, 0, 0]]


def test_intervals_are_rounded_down_and_cut_off() -> None:
    assert intervals([0.0, 10.0, 29.0, 1000.0], max_interval=5) == [[0], [1, 0], [2, 1, 0], [5, 5, 5, 0]]


def test_the_smallest_interval_is_of_what_is_known_so_far() -> None:
    """A quick visit at the end does not change what earlier positions saw."""
    assert intervals([0.0, 100.0, 200.0, 210.0]) == [[0], [1, 0], [2, 1, 0], [21, 11, 1, 0]]


@pytest.mark.parametrize("pads", [0, 1, 6])
def test_padding_is_no_item_of_time_zero(pads: int) -> None:
    assert intervals([1.7e9, 1.7e9 + 60, 1.7e9 + 180], pads=pads) == [[0], [1, 0], [3, 2, 0]]
    assert intervals([5.0, 105.0, 205.0], pads=pads) == [[0], [1, 0], [2, 1, 0]]


def test_the_clock_is_the_users_own() -> None:
    """Another unit or another beginning of time changes nothing."""
    operator = made(2)
    tensors, ctx = inputs(2, 2, 6), context([4, 6], 6)
    assert ctx.timestamps is not None
    out = operator(*tensors, ctx)
    for times in (ctx.timestamps * 1000, ctx.timestamps - 1.7e9):
        assert operator(*tensors, SequenceContext(ctx.lengths, 6, ctx.offset, times)).equal(out)


def test_seconds_of_this_century_are_told_apart_in_a_float32_model() -> None:
    times = torch.tensor([[1.77e9, 1.77e9 + 1, 1.77e9 + 3]], dtype=torch.float64)
    found = made().float()._intervals(SequenceContext(torch.tensor([3]), 3, 17, times))
    assert found[0, 0, 2].tolist() == [3, 2, 0]


def test_no_vector_for_each_pair_is_kept() -> None:
    """The largest tensor kept for the backward pass is T x T of indexes or weights, far from T x T x d."""
    n, dim = 128, 64
    operator = TimeIntervalAttention(1, dim, n, 0.0)
    q, k, v = (torch.randn(1, 1, n, dim, requires_grad=True) for _ in range(3))
    sizes: list[int] = []

    def keep(tensor: Tensor) -> Tensor:
        sizes.append(tensor.untyped_storage().nbytes())
        return tensor

    ctx = SequenceContext(torch.tensor([n]), n, 0, torch.arange(n, dtype=torch.float64)[None] ** 2)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        operator(q, k, v, ctx)
    assert max(sizes) <= 8 * n * max(n, operator.max_interval + 1)
    assert max(sizes) < 4 * n * n * dim / 8
