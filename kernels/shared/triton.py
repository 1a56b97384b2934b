r"""Parts of the kernels: where a program's rows are, loads and stores, softmax step by step, dropout.

Coordinates are local to a sequence: row i of sequence b is its i-th real item, stored at slot ``starts[b] + i`` of
a padded tensor, or at row ``starts[b] + i`` of a packed one (batch stride 0). Tiles line up with real items, and
programs past the length only write the zeros of padding.

Tensors that the launchers allocate are contiguous, [B, H, T, width] or packed [N, H, width], and share one set of
strides, counted in rows (``rows_batch, rows_head, rows_row``); the inputs q, k and v have their own strides.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

LOG2E = tl.constexpr(1.4426950408889634)
LOWEST = tl.constexpr(-1e30)  # finite: a row without keys gives 0, never NaN
NOT_SPECIAL = ("seed", "dropped")  # do not recompile for a seed that happens to be 1 or a multiple of 16


@triton.jit
def sequence(sequence_head, heads, starts_ptr, lengths_ptr):
    """A program's sequence, head, first slot and length, and the first slot again as int64 for addresses."""
    b, h = sequence_head // heads, sequence_head % heads
    start, length = tl.load(starts_ptr + b), tl.load(lengths_ptr + b)
    return b.to(tl.int64), h.to(tl.int64), start, length, start.to(tl.int64)


@triton.jit
def load_tile(base, rows, columns, stride, count, UPCAST: tl.constexpr):
    """Load [rows, columns], zero beyond ``count`` rows."""
    places = base + rows[:, None].to(tl.int64) * stride + columns[None, :]
    x = tl.load(places, mask=rows[:, None] < count, other=0.0)
    return x.to(tl.float32) if UPCAST else x


@triton.jit
def store_tile(base, x, rows, columns, stride, count):
    """Store the first ``count`` rows of a tile."""
    places = base + rows[:, None].to(tl.int64) * stride + columns[None, :]
    tl.store(places, x.to(base.dtype.element_ty), mask=rows[:, None] < count)


@triton.jit
def zero_padding(base, pid, padding, columns, stride, WIDTH: tl.constexpr, BLOCK_ROWS: tl.constexpr):
    """Write zeros to the padding among this program's slots; ``base`` points at slot 0."""
    rows = pid * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    zeros = tl.zeros([BLOCK_ROWS, WIDTH], dtype=tl.float32)
    store_tile(base, zeros, rows, columns, stride, padding)


# -- softmax, forward and backward -------------------------------------------------------------------------


@triton.jit
def softmax_step(
    total, highest, q, k_base, k_row, n0, m_rows, length, factor, seed, sequence_head, m0, dropped, rescale,
    D: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, MASKED: tl.constexpr, DROPOUT: tl.constexpr,
    PRECISION: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """Weights of a tile of keys relative to the highest score so far, the decay of older sums, new sum, new highest.

    ``factor`` is the scale of the scores times log2(e). Without MASKED, all keys are real and before all queries.
    """
    n_rows = n0 + tl.arange(0, BLOCK_N)
    k = load_tile(k_base, n_rows, tl.arange(0, D), k_row, length, UPCAST)
    scores = tl.dot(q, tl.trans(k), input_precision=PRECISION) * factor
    if MASKED:
        scores = tl.where(m_rows[:, None] >= n_rows[None, :], scores, LOWEST)
    new = tl.maximum(highest, tl.max(scores, 1))
    weights = tl.exp2(scores - new[:, None])
    decay = tl.exp2(highest - new)
    total = total * decay + tl.sum(weights, 1)
    if DROPOUT:
        kept = kept_tile(seed, sequence_head, m0, n0, dropped, BLOCK_M, BLOCK_N)
        weights = tl.where(kept, weights * rescale, 0.0)
    return weights, decay, total, new


@triton.jit
def weights_again(q, k, lse, m_rows, n_rows, factor, MASKED: tl.constexpr, PRECISION: tl.constexpr):
    """The weights of a tile, before dropout, from the log-sum-exp of the rows."""
    scores = tl.dot(q, tl.trans(k), input_precision=PRECISION) * factor
    if MASKED:
        scores = tl.where((m_rows[:, None] >= n_rows[None, :]) & (n_rows[None, :] >= 0), scores, LOWEST)
    return tl.exp2(scores - lse[:, None])


@triton.jit
def score_gradient(
    weights, d_weights, delta, seed, sequence_head, m0, n0, dropped, rescale,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, DROPOUT: tl.constexpr,
):  # fmt: skip
    """Weights after dropout and the gradient of the scores, both [BLOCK_M, BLOCK_N]."""
    applied = weights
    if DROPOUT:
        kept = kept_tile(seed, sequence_head, m0, n0, dropped, BLOCK_M, BLOCK_N)
        applied = tl.where(kept, weights * rescale, 0.0)
        d_weights = tl.where(kept, d_weights * rescale, 0.0)
    return applied, weights * (d_weights - delta[:, None])


# -- dropout -----------------------------------------------------------------------------------------------


@triton.jit
def _random_bits(seed, sequence_head, rows, quads):
    """Four times 32 bits for each row and each group of four columns.

    Philox (Salmon et al., SC 2011) with the counter (column / 4, row, sequence and head): no counter can overflow.
    """
    c0 = quads.to(tl.uint32)[None, :] + tl.zeros_like(rows).to(tl.uint32)[:, None]
    c1 = rows.to(tl.uint32)[:, None] + tl.zeros_like(quads).to(tl.uint32)[None, :]
    c2 = tl.zeros_like(c0) + sequence_head.to(tl.uint32)
    return tl.philox(seed, c0, c1, c2, tl.zeros_like(c0))


@triton.jit
def kept_tile(seed, sequence_head, row, column, dropped, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Which weights of a tile dropout keeps, [ROWS, COLUMNS]; this does not depend on how the matrix is tiled.

    ``row`` and ``column`` are the tile's first, in local coordinates; ``column`` must be a multiple of 4, because one
    call of the generator gives four columns.
    """
    quads = column // 4 + tl.arange(0, COLUMNS // 4)
    bits0, bits1, bits2, bits3 = _random_bits(seed, sequence_head, row + tl.arange(0, ROWS), quads)
    bits = tl.reshape(tl.join(tl.join(bits0, bits1), tl.join(bits2, bits3)), [ROWS, COLUMNS])
    return (bits >> 8) >= dropped  # 24 bits: a threshold that float32 and int32 both hold


@triton.jit
def kept_anywhere(seed, sequence_head, rows, columns, dropped):
    """Like `kept_tile` for columns that need not start at a multiple of 4, at four times the work."""
    bits0, bits1, bits2, bits3 = _random_bits(seed, sequence_head, rows, columns // 4)
    lane = (columns % 4)[None, :]  # in the order of the joins above
    bits = tl.where(lane == 0, bits0, tl.where(lane == 1, bits2, tl.where(lane == 2, bits1, bits3)))
    return (bits >> 8) >= dropped


@triton.jit
def keep_kernel(keep_ptr, seed, dropped, T: tl.constexpr, BLOCK: tl.constexpr):
    """What dropout keeps, as 1 and 0 in [sequences x heads, T, T], in local coordinates; for tests."""
    row, column, sequence_head = tl.program_id(0) * BLOCK, tl.program_id(1) * BLOCK, tl.program_id(2)
    kept = kept_tile(seed, sequence_head, row, column, dropped, BLOCK, BLOCK)
    rows, columns = row + tl.arange(0, BLOCK), column + tl.arange(0, BLOCK)
    places = keep_ptr + (sequence_head.to(tl.int64) * T + rows[:, None]) * T + columns[None, :]
    tl.store(places, kept.to(tl.int8), mask=(rows[:, None] < T) & (columns[None, :] < T))


INTERPRETED = not isinstance(keep_kernel, triton.runtime.JITFunction)
"""Whether the kernels run on the CPU, because TRITON_INTERPRET=1 was set when this file was imported."""


def dropout_threshold(p: float) -> tuple[int, float]:
    """How many of 2**24 equally likely bit patterns are dropped, and the factor for the kept weights."""
    dropped = round(p * 2**24)
    return dropped, 2**24 / (2**24 - dropped)


def kept_weights(batch: int, heads: int, length: int, seed: int, p: float, device: torch.device) -> Tensor:
    """Which weights dropout keeps, bool [B, H, length, length], rows and columns counted from the first real item."""
    keep = torch.empty(batch * heads, length, length, dtype=torch.int8, device=device)
    tiles = triton.cdiv(length, 32)
    keep_kernel[(tiles, tiles, batch * heads)](keep, seed, dropout_threshold(p)[0], length, 32)
    return keep.bool().view(batch, heads, length, length)
