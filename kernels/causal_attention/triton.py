r"""The Triton kernels of causal attention: forward, dq, and dk with dv.

    S = scale Q K^T,  P = softmax(causal(S)),  O = drop(P) V

computed tile by tile with a running maximum and sum, so that no T x T matrix exists (Milakov & Gimelshein,
arXiv 1805.02867; Dao et al., "FlashAttention", NeurIPS 2022; Dao, "FlashAttention-2", 2023, for the split of the
backward pass into a kernel for dq and one for dk and dv, which needs no atomic additions).

Coordinates are local to a sequence: row i of sequence b is its i-th real item, stored at slot ``starts[b] + i`` of
a padded tensor, or at row ``starts[b] + i`` of a packed one (batch stride 0). Tiles line up with real items, and
programs past the length do nothing but write the zeros of padding.

Shape legend: B sequences, H heads, D width of queries and keys, E width of values (powers of two).
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

_LOG2E = tl.constexpr(1.4426950408889634)
_NOT_SPECIAL = ("seed", "dropped")  # no compilation for a seed that happens to be 1 or a multiple of 16
_LOWEST = tl.constexpr(-1e30)  # finite: a row without keys gives 0, never NaN


@triton.jit
def _sequence(sequence_head, heads, starts_ptr, lengths_ptr):
    """A program's sequence, head, first slot and length, and the first slot again, wide enough for places."""
    b, h = sequence_head // heads, sequence_head % heads
    start, length = tl.load(starts_ptr + b), tl.load(lengths_ptr + b)
    return b.to(tl.int64), h.to(tl.int64), start, length, start.to(tl.int64)


@triton.jit
def _tile(base, rows, columns, stride, count, UPCAST: tl.constexpr):
    """Load [rows, columns], zero beyond ``count`` rows."""
    places = base + rows[:, None].to(tl.int64) * stride + columns[None, :]
    x = tl.load(places, mask=rows[:, None] < count, other=0.0)
    return x.to(tl.float32) if UPCAST else x


@triton.jit
def _store(base, x, rows, columns, stride, count):
    """Store the first ``count`` rows of a tile."""
    places = base + rows[:, None].to(tl.int64) * stride + columns[None, :]
    tl.store(places, x.to(base.dtype.element_ty), mask=rows[:, None] < count)


@triton.jit
def _zero_padding(base, pid, padding, columns, stride, WIDTH: tl.constexpr, BLOCK_ROWS: tl.constexpr):
    """Zeros in those of this program's slots that are padding; ``base`` points at slot 0."""
    rows = pid * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    zeros = tl.zeros([BLOCK_ROWS, WIDTH], dtype=tl.float32)
    _store(base, zeros, rows, columns, stride, padding)


@triton.jit
def _kept(seed, sequence_head, row, column, dropped, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Which weights of a tile dropout keeps, [ROWS, COLUMNS]; the same whatever tile a weight is computed in.

    Philox (Salmon et al., SC 2011) with the counter (column / 4, row, sequence and head): one call makes the bits of
    four columns, and no counter can overflow. ``row`` and ``column`` are the tile's first, in local coordinates.
    """
    quads = (column // 4 + tl.arange(0, COLUMNS // 4)).to(tl.uint32)
    rows = (row + tl.arange(0, ROWS)).to(tl.uint32)
    c0 = tl.broadcast_to(quads[None, :], [ROWS, COLUMNS // 4])
    c1 = tl.broadcast_to(rows[:, None], [ROWS, COLUMNS // 4])
    c2 = tl.zeros_like(c0) + sequence_head.to(tl.uint32)
    bits0, bits1, bits2, bits3 = tl.philox(seed, c0, c1, c2, tl.zeros_like(c0))
    bits = tl.reshape(tl.join(tl.join(bits0, bits1), tl.join(bits2, bits3)), [ROWS, COLUMNS])
    return (bits >> 8) >= dropped  # 24 bits: a threshold that float32 and int32 both hold


@triton.jit
def _forward_step(
    accumulated, total, highest, q, k_base, v_base, k_stride, v_stride, n0, m_rows, length, factor,
    seed, sequence_head, m0, dropped, rescale,
    D: tl.constexpr, E: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    MASKED: tl.constexpr, DROPOUT: tl.constexpr, PRECISION: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    n_rows = n0 + tl.arange(0, BLOCK_N)
    d, e = tl.arange(0, D), tl.arange(0, E)
    k = _tile(k_base, n_rows, d, k_stride, length, UPCAST)
    scores = tl.dot(q, tl.trans(k), input_precision=PRECISION) * factor
    if MASKED:
        scores = tl.where(m_rows[:, None] >= n_rows[None, :], scores, _LOWEST)
    new = tl.maximum(highest, tl.max(scores, 1))
    weights = tl.exp2(scores - new[:, None])
    decay = tl.exp2(highest - new)
    total = total * decay + tl.sum(weights, 1)
    if DROPOUT:
        kept = _kept(seed, sequence_head, m0, n0, dropped, BLOCK_M, BLOCK_N)
        weights = tl.where(kept, weights * rescale, 0.0)
    v = _tile(v_base, n_rows, e, v_stride, length, UPCAST)
    accumulated = tl.dot(weights.to(v.dtype), v, accumulated * decay[:, None], input_precision=PRECISION)
    return accumulated, total, new


@triton.jit(do_not_specialize=_NOT_SPECIAL)
def forward_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, lse_ptr, starts_ptr, lengths_ptr,
    q_batch, q_head, q_row, k_batch, k_head, k_row, v_batch, v_head, v_row, out_batch, out_head, out_row,
    lse_batch, lse_head, heads, scale, seed, dropped, rescale,
    D: tl.constexpr, E: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    PADDED: tl.constexpr, DROPOUT: tl.constexpr, PRECISION: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """out = drop(softmax(causal(scale q k^T))) v, and the log-sum-exp of each row (base 2, of the scaled scores)."""
    sequence_head, pid = tl.program_id(0), tl.program_id(1)
    b, h, start, length, first = _sequence(sequence_head, heads, starts_ptr, lengths_ptr)
    d, e = tl.arange(0, D), tl.arange(0, E)
    out_base = out_ptr + b * out_batch + h * out_head
    lse_base = lse_ptr + b * lse_batch + h * lse_head
    if PADDED:
        _zero_padding(out_base, pid, start, e, out_row, E, BLOCK_M)
        rows = pid * BLOCK_M + tl.arange(0, BLOCK_M)
        tl.store(lse_base + rows, tl.zeros([BLOCK_M], dtype=tl.float32), mask=rows < start)
    m0 = pid * BLOCK_M
    if m0 >= length:
        return
    m_rows = m0 + tl.arange(0, BLOCK_M)
    q = _tile(q_ptr + b * q_batch + h * q_head + first * q_row, m_rows, d, q_row, length, UPCAST)
    k_base = k_ptr + b * k_batch + h * k_head + first * k_row
    v_base = v_ptr + b * v_batch + h * v_head + first * v_row
    factor = scale * _LOG2E
    accumulated = tl.zeros([BLOCK_M, E], dtype=tl.float32)
    total = tl.zeros([BLOCK_M], dtype=tl.float32)
    highest = tl.zeros([BLOCK_M], dtype=tl.float32) + _LOWEST
    whole = (m0 // BLOCK_N) * BLOCK_N  # keys before it are before every query of the tile
    for n0 in range(0, whole, BLOCK_N):
        accumulated, total, highest = _forward_step(
            accumulated, total, highest, q, k_base, v_base, k_row, v_row, n0, m_rows, length, factor,
            seed, sequence_head, m0, dropped, rescale,
            D, E, BLOCK_M, BLOCK_N, False, DROPOUT, PRECISION, UPCAST,
        )  # fmt: skip
    for n0 in range(whole, tl.minimum(m0 + BLOCK_M, length), BLOCK_N):
        accumulated, total, highest = _forward_step(
            accumulated, total, highest, q, k_base, v_base, k_row, v_row, n0, m_rows, length, factor,
            seed, sequence_head, m0, dropped, rescale,
            D, E, BLOCK_M, BLOCK_N, True, DROPOUT, PRECISION, UPCAST,
        )  # fmt: skip
    _store(out_base + first * out_row, accumulated / total[:, None], m_rows, e, out_row, length)
    tl.store(lse_base + first + m_rows, highest + tl.log2(total), mask=m_rows < length)


@triton.jit
def _score_gradient(
    q, k, v, d_out, lse, delta, m_rows, n_rows, factor, seed, sequence_head, m0, n0, dropped, rescale,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, MASKED: tl.constexpr, DROPOUT: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Weights as they were applied (after dropout) and the gradient of the scores, [BLOCK_M, BLOCK_N] both."""
    scores = tl.dot(q, tl.trans(k), input_precision=PRECISION) * factor
    if MASKED:
        scores = tl.where(m_rows[:, None] >= n_rows[None, :], scores, _LOWEST)
    weights = tl.exp2(scores - lse[:, None])
    d_weights = tl.dot(d_out, tl.trans(v), input_precision=PRECISION)
    applied = weights
    if DROPOUT:
        kept = _kept(seed, sequence_head, m0, n0, dropped, BLOCK_M, BLOCK_N)
        applied = tl.where(kept, weights * rescale, 0.0)
        d_weights = tl.where(kept, d_weights * rescale, 0.0)
    return applied, weights * (d_weights - delta[:, None])


@triton.jit(do_not_specialize=_NOT_SPECIAL)
def dq_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, d_out_ptr, lse_ptr, delta_ptr, dq_ptr, starts_ptr, lengths_ptr,
    q_batch, q_head, q_row, k_batch, k_head, k_row, v_batch, v_head, v_row, out_batch, out_head, out_row,
    do_batch, do_head, do_row, dq_batch, dq_head, dq_row,
    lse_batch, lse_head, heads, scale, seed, dropped, rescale,
    D: tl.constexpr, E: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    PADDED: tl.constexpr, DROPOUT: tl.constexpr, PRECISION: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """dq, and delta = sum(out * d_out) of each row, which `dk_dv_kernel` reads."""
    sequence_head, pid = tl.program_id(0), tl.program_id(1)
    b, h, start, length, first = _sequence(sequence_head, heads, starts_ptr, lengths_ptr)
    d, e = tl.arange(0, D), tl.arange(0, E)
    dq_base = dq_ptr + b * dq_batch + h * dq_head
    if PADDED:
        _zero_padding(dq_base, pid, start, d, dq_row, D, BLOCK_M)
    m0 = pid * BLOCK_M
    if m0 >= length:
        return
    m_rows = m0 + tl.arange(0, BLOCK_M)
    q = _tile(q_ptr + b * q_batch + h * q_head + first * q_row, m_rows, d, q_row, length, UPCAST)
    out = _tile(out_ptr + b * out_batch + h * out_head + first * out_row, m_rows, e, out_row, length, True)
    d_out = _tile(d_out_ptr + b * do_batch + h * do_head + first * do_row, m_rows, e, do_row, length, UPCAST)
    own = b * lse_batch + h * lse_head + first + m_rows
    lse = tl.load(lse_ptr + own, mask=m_rows < length, other=0.0)
    delta = tl.sum(out * d_out.to(tl.float32), 1)
    tl.store(delta_ptr + own, delta, mask=m_rows < length)
    k_base = k_ptr + b * k_batch + h * k_head + first * k_row
    v_base = v_ptr + b * v_batch + h * v_head + first * v_row
    factor = scale * _LOG2E
    dq = tl.zeros([BLOCK_M, D], dtype=tl.float32)
    whole = (m0 // BLOCK_N) * BLOCK_N
    for n0 in range(0, whole, BLOCK_N):
        n_rows = n0 + tl.arange(0, BLOCK_N)
        k = _tile(k_base, n_rows, d, k_row, length, UPCAST)
        v = _tile(v_base, n_rows, e, v_row, length, UPCAST)
        _, d_scores = _score_gradient(
            q, k, v, d_out, lse, delta, m_rows, n_rows, factor, seed, sequence_head, m0, n0, dropped, rescale,
            BLOCK_M, BLOCK_N, False, DROPOUT, PRECISION,
        )  # fmt: skip
        dq = tl.dot(d_scores.to(k.dtype), k, dq, input_precision=PRECISION)
    for n0 in range(whole, tl.minimum(m0 + BLOCK_M, length), BLOCK_N):
        n_rows = n0 + tl.arange(0, BLOCK_N)
        k = _tile(k_base, n_rows, d, k_row, length, UPCAST)
        v = _tile(v_base, n_rows, e, v_row, length, UPCAST)
        _, d_scores = _score_gradient(
            q, k, v, d_out, lse, delta, m_rows, n_rows, factor, seed, sequence_head, m0, n0, dropped, rescale,
            BLOCK_M, BLOCK_N, True, DROPOUT, PRECISION,
        )  # fmt: skip
        dq = tl.dot(d_scores.to(k.dtype), k, dq, input_precision=PRECISION)
    _store(dq_base + first * dq_row, dq * scale, m_rows, d, dq_row, length)


@triton.jit(do_not_specialize=_NOT_SPECIAL)
def dk_dv_kernel(
    q_ptr, k_ptr, v_ptr, d_out_ptr, lse_ptr, delta_ptr, dk_ptr, dv_ptr, starts_ptr, lengths_ptr,
    q_batch, q_head, q_row, k_batch, k_head, k_row, v_batch, v_head, v_row,
    do_batch, do_head, do_row, dk_batch, dk_head, dk_row, dv_batch, dv_head, dv_row,
    lse_batch, lse_head, heads, scale, seed, dropped, rescale,
    D: tl.constexpr, E: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    PADDED: tl.constexpr, DROPOUT: tl.constexpr, PRECISION: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """dk and dv, one program for a tile of keys."""
    sequence_head, pid = tl.program_id(0), tl.program_id(1)
    b, h, start, length, first = _sequence(sequence_head, heads, starts_ptr, lengths_ptr)
    d, e = tl.arange(0, D), tl.arange(0, E)
    dk_base = dk_ptr + b * dk_batch + h * dk_head
    dv_base = dv_ptr + b * dv_batch + h * dv_head
    if PADDED:
        _zero_padding(dk_base, pid, start, d, dk_row, D, BLOCK_N)
        _zero_padding(dv_base, pid, start, e, dv_row, E, BLOCK_N)
    n0 = pid * BLOCK_N
    if n0 >= length:
        return
    n_rows = n0 + tl.arange(0, BLOCK_N)
    k = _tile(k_ptr + b * k_batch + h * k_head + first * k_row, n_rows, d, k_row, length, UPCAST)
    v = _tile(v_ptr + b * v_batch + h * v_head + first * v_row, n_rows, e, v_row, length, UPCAST)
    q_base = q_ptr + b * q_batch + h * q_head + first * q_row
    do_base = d_out_ptr + b * do_batch + h * do_head + first * do_row
    own = b * lse_batch + h * lse_head + first
    factor = scale * _LOG2E
    dk = tl.zeros([BLOCK_N, D], dtype=tl.float32)
    dv = tl.zeros([BLOCK_N, E], dtype=tl.float32)
    for m0 in range((n0 // BLOCK_M) * BLOCK_M, length, BLOCK_M):
        m_rows = m0 + tl.arange(0, BLOCK_M)
        real = m_rows < length
        q = _tile(q_base, m_rows, d, q_row, length, UPCAST)
        d_out = _tile(do_base, m_rows, e, do_row, length, UPCAST)
        # an infinite log-sum-exp takes the rows past the length out
        lse = tl.load(lse_ptr + own + m_rows, mask=real, other=1e30)
        delta = tl.load(delta_ptr + own + m_rows, mask=real, other=0.0)
        applied, d_scores = _score_gradient(
            q, k, v, d_out, lse, delta, m_rows, n_rows, factor, seed, sequence_head, m0, n0, dropped, rescale,
            BLOCK_M, BLOCK_N, True, DROPOUT, PRECISION,
        )  # fmt: skip
        dv = tl.dot(tl.trans(applied.to(d_out.dtype)), d_out, dv, input_precision=PRECISION)
        dk = tl.dot(tl.trans(d_scores.to(q.dtype)), q, dk, input_precision=PRECISION)
    _store(dk_base + first * dk_row, dk * scale, n_rows, d, dk_row, length)
    _store(dv_base + first * dv_row, dv, n_rows, e, dv_row, length)


@triton.jit
def keep_kernel(keep_ptr, seed, dropped, T: tl.constexpr, BLOCK: tl.constexpr):
    """What dropout keeps, as 1 and 0 in [sequences x heads, T, T], in local coordinates; for tests."""
    row, column, sequence_head = tl.program_id(0) * BLOCK, tl.program_id(1) * BLOCK, tl.program_id(2)
    kept = _kept(seed, sequence_head, row, column, dropped, BLOCK, BLOCK)
    rows, columns = row + tl.arange(0, BLOCK), column + tl.arange(0, BLOCK)
    places = keep_ptr + (sequence_head.to(tl.int64) * T + rows[:, None]) * T + columns[None, :]
    tl.store(places, kept.to(tl.int8), mask=(rows[:, None] < T) & (columns[None, :] < T))


INTERPRETED = not isinstance(forward_kernel, triton.runtime.JITFunction)
"""Whether the kernels run on the CPU, because TRITON_INTERPRET=1 was set when this file was imported."""


def dropout_threshold(p: float) -> tuple[int, float]:
    """Of 2**24 equally likely bit patterns how many are dropped, and what the kept weights are multiplied by."""
    dropped = round(p * 2**24)
    return dropped, 2**24 / (2**24 - dropped)


def kept_weights(batch: int, heads: int, length: int, seed: int, p: float, device: torch.device) -> Tensor:
    """Which weights dropout keeps, bool [B, H, length, length], rows and columns counted from the first real item."""
    keep = torch.empty(batch * heads, length, length, dtype=torch.int8, device=device)
    tiles = triton.cdiv(length, 32)
    keep_kernel[(tiles, tiles, batch * heads)](keep, seed, dropout_threshold(p)[0], length, 32)
    return keep.bool().view(batch, heads, length, length)
