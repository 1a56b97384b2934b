r"""The workload of a benchmark: how long the histories are, and how much work attention over them takes.

Work is always that of vanilla causal attention on the real items. With histories of L_1, ..., L_B items,
H heads of width d, and N = sum of L:

    forward          F = 4 d H sum L (L + 1) / 2                floating-point operations: Q K^T and A V, causal half
    backward         2.5 F                                      five products of that size for the forward's two
    forward, bytes   4 N H d s                                  Q, K, V read, the output written; s bytes an element
    both, bytes      12 N H d s + 8 N H                         and Q, K, V, output and its gradient read, three
                                                                gradients written, the log-sum-exp (4 bytes a row)
                                                                written and read

Operations are counted as in Dao, "FlashAttention-2" (ICLR 2024), section 4.1, with the diagonal. Padding and softmax
are not counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import torch

from attnrec.core.measuring import Computation, time_in_turns, warm_up
from attnrec.speed.plan import BOTH

_MATRIX = {"cpu": 1024, "cuda": 8192}
_SMALLEST = 64  # first matrix size tried on a CPU, to find out how large products can be
_COPIED_BYTES = {"cpu": 1 << 28, "cuda": 1 << 30}
_CEILING_SECONDS = 0.3


@dataclass(frozen=True)
class LengthLaw:
    """Shifted log-normal history lengths: L = max(1, round(shift + exp(mu + sigma z))), z standard normal."""

    shift: float
    mu: float
    sigma: float

    def quantiles(self, probabilities: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """Lengths at these probabilities, strictly between 0 and 1."""
        normal = NormalDist()
        z = np.array([normal.inv_cdf(p) for p in probabilities])
        return np.maximum(1, np.rint(self.shift + np.exp(self.mu + self.sigma * z))).astype(np.int64)


LAWS = {
    "games": LengthLaw(shift=1.25, mu=0.8, sigma=1.25),
    "ml-1m": LengthLaw(shift=6.0, mu=4.45, sigma=1.2),
}
"""Fitted to the histories that a training sees (leave-one-out, at least one target) in the files of the SASRec paper,
by least absolute deviation of the logarithm of the quantiles from 2 % to 99 %. Law against data:

| | mean | median | 90th percentile | mean, clipped |
|---|---|---|---|---|
| `games` | 6.1, 6.3 | 3, 3 | 12, 12 | at 50: 5.9, 5.9 |
| `ml-1m` | 182, 162 | 92, 93 | 404, 397 | at 200: 107, 107 |

The law of `ml-1m` has a heavier tail than the data, but models do not see it: they usually limit n to 200.
"""


def history_lengths(lengths: str, n: int, batch: int) -> npt.NDArray[np.int64]:
    """Lengths of ``batch`` histories, ascending, each 1..n; the same at every call.

    Args:
        lengths: ``full`` (all n), or the name of one of `LAWS`: its quantiles at the midpoints (i + 1/2) / batch,
            clipped to n.
        n: the longest length.
        batch: how many histories.
    """
    if lengths == "full":
        return np.full(batch, n, dtype=np.int64)
    return np.minimum(LAWS[lengths].quantiles((np.arange(batch) + 0.5) / batch), n)


@dataclass(frozen=True)
class Work:
    """Floating-point operations and bytes to and from memory."""

    flops: float
    bytes: float


def vanilla_work(lengths: npt.NDArray[np.int64], heads: int, dim: int, element_size: int, passes: str) -> Work:
    """The work of vanilla causal attention over these histories, as defined at the top of this file.

    Args:
        lengths: int64 [B].
        heads: H.
        dim: d.
        element_size: s, in bytes.
        passes: ``forward``, or ``both`` for forward and backward.
    """
    items = int(lengths.sum())
    flops = 4.0 * dim * heads * float((lengths * (lengths + 1) // 2).sum())
    tensor = float(items * heads * dim * element_size)
    if passes == BOTH:
        return Work(3.5 * flops, 12 * tensor + 8 * items * heads)
    return Work(flops, 4 * tensor)


@dataclass(frozen=True)
class Ceilings:
    """The best rates that the machine reached: multiplying matrices, and copying memory."""

    flops_per_second: float
    bytes_per_second: float

    def floor_seconds(self, work: Work) -> float:
        """Least time for ``work`` by the roofline model (Williams, Waterman & Patterson, CACM 2009).

        The rate of computing is at most the compute ceiling, and at most the arithmetic intensity times the memory
        ceiling, so the time is at least the larger of the two times.
        """
        return max(work.flops / self.flops_per_second, work.bytes / self.bytes_per_second)


def _matrix_size(device: torch.device, dtype: torch.dtype) -> int:
    """The usual size, or a smaller one that is quick if the CPU multiplies slowly in ``dtype`` (fp16 in software)."""
    most = _MATRIX[device.type]
    size = most if device.type == "cuda" else min(most, _SMALLEST)
    while size < most:
        a = torch.ones(size, size, dtype=dtype, device=device)
        seconds = warm_up(lambda _, a=a: torch.mm(a, a), device)  # type: ignore[misc]
        if 8 * seconds > _CEILING_SECONDS:
            break
        size *= 2
    return size


def measure_ceilings(device: torch.device, dtype: torch.dtype) -> Ceilings:
    """The fastest product of two square matrices and the fastest copy, in ``dtype`` on ``device``.

    A copy of x bytes reads x and writes x bytes; it does not fit into a cache.
    """
    size, copied = _matrix_size(device, dtype), _COPIED_BYTES[device.type]
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    product = torch.empty_like(a)
    source = torch.ones(copied // dtype.itemsize, dtype=dtype, device=device)
    target = torch.empty_like(source)
    computations: list[Computation] = [lambda _: torch.mm(a, b, out=product), lambda _: target.copy_(source)]
    estimates = [warm_up(compute, device) for compute in computations]
    multiplied, moved = time_in_turns(computations, estimates, device, _CEILING_SECONDS)
    return Ceilings(2.0 * size**3 / multiplied.least * 1e3, 2.0 * copied / moved.least * 1e3)
