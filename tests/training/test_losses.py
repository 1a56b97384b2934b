"""Losses and their hand-written gradients against autograd on the plain formulas, in float64."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from attnrec.training import losses
from attnrec.training.losses import full_softmax_loss, gbce_beta, sampled_loss, sampled_softmax_loss

N, D, ITEMS = 23, 6, 40


@pytest.fixture
def inputs() -> tuple[Tensor, Tensor, Tensor]:
    f = torch.randn(N, D, dtype=torch.float64, requires_grad=True)
    table = torch.randn(ITEMS + 1, D, dtype=torch.float64, requires_grad=True)
    return f, table, torch.randint(1, ITEMS + 1, (N,))


@pytest.fixture(params=[1 << 21, 100], ids=["one chunk", "many chunks"])
def _chunks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "_CHUNK_ELEMENTS", request.param)


def assert_same(found: Tensor, expected: Tensor, wrt: tuple[Tensor, Tensor]) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    # a factor checks that backward uses the gradient it is given
    for one, other in zip(torch.autograd.grad(3 * found, wrt), torch.autograd.grad(3 * expected, wrt), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-13)


@pytest.mark.usefixtures("_chunks")
@pytest.mark.parametrize("negatives", [1, 3, 9])
@pytest.mark.parametrize("beta", [1.0, 0.3])
def test_sampled_loss(inputs: tuple[Tensor, Tensor, Tensor], negatives: int, beta: float) -> None:
    f, table, targets = inputs
    drawn = torch.randint(1, ITEMS + 1, (N, negatives))
    positive = torch.sigmoid((f * table[targets]).sum(1)) ** beta
    negative = torch.sigmoid((f[:, None] * table[drawn]).sum(2))
    expected = -(positive.log() + (1 - negative).log().sum(1)).mean()
    assert_same(sampled_loss(f, table, targets, drawn, beta), expected, (f, table))


@pytest.mark.usefixtures("_chunks")
@pytest.mark.parametrize("negatives", [1, 3, 9])
@pytest.mark.parametrize("scale", [1.0, 1000.0], ids=["small scores", "large scores"])
def test_sampled_softmax_loss(inputs: tuple[Tensor, Tensor, Tensor], negatives: int, scale: float) -> None:
    f, table, targets = inputs
    scaled = (f.detach() * scale).requires_grad_()
    drawn = torch.randint(1, ITEMS + 1, (N, negatives))
    scores = (scaled[:, None] * table[torch.cat([targets[:, None], drawn], 1)]).sum(2)
    expected = F.cross_entropy(scores, torch.zeros(N, dtype=torch.int64))
    assert_same(sampled_softmax_loss(scaled, table, targets, drawn), expected, (scaled, table))


@pytest.mark.usefixtures("_chunks")
@pytest.mark.parametrize("scale", [1.0, 1000.0], ids=["bounded scores", "large scores"])
def test_full_softmax_loss(inputs: tuple[Tensor, Tensor, Tensor], scale: float) -> None:
    f, table, targets = inputs
    scaled = (f.detach() * scale).requires_grad_()
    expected = F.cross_entropy(scaled @ table[1:].T, targets - 1)
    assert_same(full_softmax_loss(scaled, table, targets), expected, (scaled, table))


def test_the_padding_row_takes_no_part(inputs: tuple[Tensor, Tensor, Tensor]) -> None:
    f, table, targets = inputs
    drawn = torch.randint(1, ITEMS + 1, (N, 2))
    with torch.no_grad():
        table[0] = 1e6
    applied: list[Callable[[], Tensor]] = [
        lambda: sampled_loss(f, table, targets, drawn),
        lambda: sampled_softmax_loss(f, table, targets, drawn),
        lambda: full_softmax_loss(f, table, targets),
    ]
    for loss in applied:
        assert loss() < 100
        (gradient,) = torch.autograd.grad(loss(), table)
        assert (gradient[0] == 0).all()
        assert (gradient[targets].abs().sum(1) > 0).all()


def test_the_published_loss_starts_at_twice_log_two(inputs: tuple[Tensor, Tensor, Tensor]) -> None:
    f, table, targets = inputs
    nothing = sampled_loss(f * 0, table, targets, targets[:, None])
    assert math.isclose(nothing.item(), 2 * math.log(2))


@pytest.mark.parametrize("size", [1.0, 7.0, 60.0])
def test_single_precision_is_as_good_as_torchs(size: float) -> None:
    f = torch.randn(64, 50, dtype=torch.float64) * size / 50**0.5
    table = torch.randn(2001, 50, dtype=torch.float64)
    targets = torch.randint(1, 2001, (64,))
    exact = F.cross_entropy(f @ table[1:].T, targets - 1)
    single = full_softmax_loss(f.float(), table.float(), targets).double()
    torchs = F.cross_entropy(f.float() @ table.float()[1:].T, targets - 1).double()
    # no worse than eager torch in the same precision, up to a few units in the last place
    assert (single - exact).abs() <= (torchs - exact).abs() + 4e-7 * exact.abs()


def test_gbce_beta() -> None:
    assert math.isclose(gbce_beta(16, 1001, 0.0), 1.0)  # t = 0: plain bce
    assert math.isclose(gbce_beta(16, 1001, 1.0), 16 / 1000)  # t = 1: the sampling rate
    assert math.isclose(gbce_beta(1000, 1001, 0.6), 1.0)  # all items sampled
