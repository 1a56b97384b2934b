r"""Losses over the real positions of a batch, with their gradients computed chunk by chunk in the forward pass.

f is a position's output, e_i the vector of item i, s_i = <f, e_i>, + the true next item. Each loss is the
mean over positions of

| loss | a position's term | source |
|---|---|---|
| `bce` | -log sigma(s_+) - sum over K sampled items of log(1 - sigma(s_-)) | Kang & McAuley, ICDM 2018, eq. 7 (K = 1) |
| `gbce` | the same with beta log sigma(s_+) | Petrov & Macdonald, RecSys 2023, section 4 (times K + 1) |
| `ssm` | -log softmax(s)_+ over the true and K sampled items | sampled softmax, uncorrected: Jean et al., ACL 2015 |
| `ce` | -log softmax(s)_+ over all items | full softmax cross-entropy |

A naive form keeps positions x items (`ce`) or positions x K x d numbers for the backward pass. Here the scores of a
chunk are computed, turned into their share of both gradients, and overwritten by the next chunk, so memory does not
grow with the catalogue.

Shape legend: N positions, d model width, I items, K negatives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

_CHUNK_ELEMENTS = 1 << 21
_SAFE_EXPONENT = 60.0  # exp of scores within +-60, and sums of them, fit into float32

_Gradients = tuple[Tensor, Tensor, Tensor]


class _GradientsInForward(torch.autograd.Function):
    """A scalar function of (outputs, table); ``compute`` returns its value and both gradients together."""

    @staticmethod
    def forward(ctx: Any, outputs: Tensor, table: Tensor, compute: Callable[[Tensor, Tensor], _Gradients]) -> Tensor:
        loss, d_outputs, d_table = compute(outputs.detach(), table.detach())
        ctx.save_for_backward(d_outputs, d_table)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, None]:
        d_outputs, d_table = ctx.saved_tensors
        (factor,) = grad_outputs
        if factor.device.type == "cpu" and factor == 1:  # as in every training step; saves a pass over the table
            return d_outputs, d_table, None
        return d_outputs * factor, d_table * factor, None


def sampled_loss(
    outputs: Tensor, table: Tensor, targets: Tensor, negatives: Tensor, positive_weight: float = 1.0
) -> Tensor:
    """`bce`, or `gbce` with ``positive_weight`` beta.

    Args:
        outputs: [N, d].
        table: item vectors [I + 1, d]; row 0 is never used.
        targets: int64 [N], 1..I.
        negatives: int64 [N, K], 1..I.
        positive_weight: see `gbce_beta`.

    Returns:
        a scalar, differentiable once by ``outputs`` and ``table``.
    """
    signs = outputs.new_ones(negatives.shape[1] + 1)
    signs[0] = -1
    weights = torch.ones_like(signs)
    weights[0] = positive_weight

    def term(scores: Tensor) -> tuple[Tensor, Tensor]:
        scores = scores.mul_(signs)
        return (F.softplus(scores) * weights).sum(), scores.sigmoid_().mul_(weights * signs)

    return _over_sampled(outputs, table, targets, negatives, term)


def sampled_softmax_loss(outputs: Tensor, table: Tensor, targets: Tensor, negatives: Tensor) -> Tensor:
    """`ssm`; arguments and result as for `sampled_loss`."""

    def term(scores: Tensor) -> tuple[Tensor, Tensor]:
        log_shares = scores.log_softmax(1)
        d_scores = log_shares.exp()
        d_scores[:, 0] -= 1
        return -log_shares[:, 0].sum(), d_scores

    return _over_sampled(outputs, table, targets, negatives, term)


def _over_sampled(
    outputs: Tensor,
    table: Tensor,
    targets: Tensor,
    negatives: Tensor,
    term: Callable[[Tensor], tuple[Tensor, Tensor]],
) -> Tensor:
    """Mean over positions of a loss on the scores of the true item and the sampled ones.

    ``term`` takes scores [n, 1 + K], the true item's first; it may overwrite them. It returns the sum of the losses
    over positions, and its derivative by the scores.
    """

    def compute(f: Tensor, e: Tensor) -> _Gradients:
        count, width = len(f), negatives.shape[1] + 1
        ids = torch.cat([targets[:, None], negatives], 1)
        loss = f.new_zeros(())
        d_f, d_e = torch.empty_like(f), torch.zeros_like(e)
        size = max(1, _CHUNK_ELEMENTS // (width * f.shape[1]))
        for part in (slice(low, low + size) for low in range(0, count, size)):
            flat = ids[part].reshape(-1)
            rows = e.index_select(0, flat).view(-1, width, e.shape[1])
            of_part, d_scores = term(_inner(rows, f[part]))
            loss += of_part / count
            d_scores = d_scores[..., None] / count
            torch.sum(rows * d_scores, 1, out=d_f[part])
            d_e.index_add_(0, flat, (d_scores * f[part, None]).view(-1, e.shape[1]))
        return loss, d_f, d_e

    result: Tensor = _GradientsInForward.apply(outputs, table, compute)
    return result


def full_softmax_loss(outputs: Tensor, table: Tensor, targets: Tensor) -> Tensor:
    """`ce` over all items, the padding row left out.

    Args:
        outputs: [N, d].
        table: item vectors [I + 1, d]; row 0 is neither scored nor trained.
        targets: int64 [N], 1..I.

    Returns:
        a scalar, differentiable once by ``outputs`` and ``table``.
    """

    def compute(f: Tensor, e: Tensor) -> _Gradients:
        count, items = len(f), len(e) - 1
        vectors = e[1:]
        d_e = torch.zeros_like(e)
        size = max(1, _CHUNK_ELEMENTS // items)
        buffer = f.new_empty(min(size, count), items)
        # |s| <= |f||e|: if that is small, exp is safe without subtracting the maximum, which saves a pass
        bounded = bool(f.norm(dim=1).max() * vectors.norm(dim=1).max() <= _SAFE_EXPONENT)
        log_sums = f.new_empty(count)
        d_f = torch.empty_like(f)
        for part in (slice(low, min(low + size, count)) for low in range(0, count, size)):
            scores = torch.mm(f[part], vectors.T, out=buffer[: part.stop - part.start])
            if bounded:
                shift = scores.new_zeros(len(scores), 1)
            else:
                shift = scores.amax(1, keepdim=True)
                scores.sub_(shift)
            sums = scores.exp_().sum(1, keepdim=True)
            log_sums[part] = (sums.log() + shift)[:, 0]
            # the softmax is scores / sums; dividing the narrow factors instead saves a pass over the wide one
            d_f[part] = (scores @ vectors).div_(sums)
            d_e[1:].addmm_(scores.T, f[part] / sums)
        rows = e.index_select(0, targets)
        loss = (log_sums - (rows * f).sum(1)).mean()
        d_f.sub_(rows).div_(count)
        d_e.index_add_(0, targets, f, alpha=-1).div_(count)
        return loss, d_f, d_e

    result: Tensor = _GradientsInForward.apply(outputs, table, compute)
    return result


def gbce_beta(num_negatives: int, num_items: int, t: float) -> float:
    """Weight of the positive term: beta = alpha (t (1 - 1/alpha) + 1/alpha) with sampling rate alpha = K / (I - 1).

    Petrov & Macdonald, "gSASRec: Reducing Overconfidence in Sequential Recommendation Trained with Negative
    Sampling" (RecSys 2023), equation 8; t = 0 is `bce`, t = 1 calibrates to full softmax.
    """
    alpha = num_negatives / max(1, num_items - 1)
    return alpha * (t * (1 - 1 / alpha) + 1 / alpha)


def _inner(rows: Tensor, f: Tensor) -> Tensor:
    """<rows[n, k], f[n]>: [n, k, d] with [n, d] to [n, k]."""
    if rows.shape[1] <= 4:  # for so few rows, two plain passes are faster than a batched matrix product
        return (rows * f[:, None]).sum(-1)
    return torch.bmm(rows, f[..., None])[..., 0]
