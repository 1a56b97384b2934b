r"""The Triton kernels of causal attention: forward, dq, and dk with dv.

    S = scale Q K^T,  P = softmax(causal(S)),  O = drop(P) V

computed tile by tile with a running maximum and sum, so that no T x T matrix exists (Milakov & Gimelshein,
arXiv 1805.02867; Dao et al., "FlashAttention", NeurIPS 2022; Dao, "FlashAttention-2", 2023, for the split of the
backward pass into a kernel for dq and one for dk and dv, which needs no atomic additions).

`attnrec.kernels.shared.triton` explains coordinates and strides. Tiles of keys before every query of a tile of queries
need no mask; a second loop handles those on the diagonal.

Shape legend: B sequences, H heads, D width of queries and keys, E width of values (powers of two).
"""

from __future__ import annotations

import triton
import triton.language as tl

from attnrec.kernels.shared.triton import (
    LOG2E,
    LOWEST,
    NOT_SPECIAL,
    load_tile,
    score_gradient,
    sequence,
    softmax_step,
    store_tile,
    weights_again,
    zero_padding,
)


@triton.jit
def _forward_step(
    accumulated, total, highest, q, k_base, v_base, k_row, v_row, n0, m_rows, length, factor,
    seed, sequence_head, m0, dropped, rescale,
    D: tl.constexpr, E: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    MASKED: tl.constexpr, DROPOUT: tl.constexpr, PRECISION: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    weights, decay, total, highest = softmax_step(
        total, highest, q, k_base, k_row, n0, m_rows, length, factor, seed, sequence_head, m0, dropped, rescale,
        D, BLOCK_M, BLOCK_N, MASKED, DROPOUT, PRECISION, UPCAST,
    )  # fmt: skip
    v = load_tile(v_base, n0 + tl.arange(0, BLOCK_N), tl.arange(0, E), v_row, length, UPCAST)
    accumulated = tl.dot(weights.to(v.dtype), v, accumulated * decay[:, None], input_precision=PRECISION)
    return accumulated, total, highest


@triton.jit(do_not_specialize=NOT_SPECIAL)
def forward_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, lse_ptr, starts_ptr, lengths_ptr,
    q_batch, q_head, q_row, k_batch, k_head, k_row, v_batch, v_head, v_row, rows_batch, rows_head, rows_row,
    heads, scale, seed, dropped, rescale,
    D: tl.constexpr, E: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    PADDED: tl.constexpr, DROPOUT: tl.constexpr, PRECISION: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """out = drop(softmax(causal(scale q k^T))) v, and the log-sum-exp of each row (base 2, of the scaled scores)."""
    sequence_head, pid = tl.program_id(0), tl.program_id(1)
    b, h, start, length, first = sequence(sequence_head, heads, starts_ptr, lengths_ptr)
    e = tl.arange(0, E)
    own = b * rows_batch + h * rows_head
    if PADDED:
        zero_padding(out_ptr + own * E, pid, start, e, rows_row * E, E, BLOCK_M)
        rows = pid * BLOCK_M + tl.arange(0, BLOCK_M)
        tl.store(lse_ptr + own + rows * rows_row, tl.zeros([BLOCK_M], dtype=tl.float32), mask=rows < start)
    m0 = pid * BLOCK_M
    if m0 >= length:
        return
    own += first * rows_row
    m_rows = m0 + tl.arange(0, BLOCK_M)
    q_base = q_ptr + b * q_batch + h * q_head + first * q_row
    q = load_tile(q_base, m_rows, tl.arange(0, D), q_row, length, UPCAST)
    k_base = k_ptr + b * k_batch + h * k_head + first * k_row
    v_base = v_ptr + b * v_batch + h * v_head + first * v_row
    factor = scale * LOG2E
    accumulated = tl.zeros([BLOCK_M, E], dtype=tl.float32)
    total = tl.zeros([BLOCK_M], dtype=tl.float32)
    highest = tl.zeros([BLOCK_M], dtype=tl.float32) + LOWEST
    diagonal = (m0 // BLOCK_N) * BLOCK_N
    for n0 in range(0, diagonal, BLOCK_N):
        accumulated, total, highest = _forward_step(
            accumulated, total, highest, q, k_base, v_base, k_row, v_row, n0, m_rows, length, factor,
            seed, sequence_head, m0, dropped, rescale,
            D, E, BLOCK_M, BLOCK_N, False, DROPOUT, PRECISION, UPCAST,
        )  # fmt: skip
    for n0 in range(diagonal, tl.minimum(m0 + BLOCK_M, length), BLOCK_N):
        accumulated, total, highest = _forward_step(
            accumulated, total, highest, q, k_base, v_base, k_row, v_row, n0, m_rows, length, factor,
            seed, sequence_head, m0, dropped, rescale,
            D, E, BLOCK_M, BLOCK_N, True, DROPOUT, PRECISION, UPCAST,
        )  # fmt: skip
    store_tile(out_ptr + own * E, accumulated / total[:, None], m_rows, e, rows_row * E, length)
    tl.store(lse_ptr + own + m_rows * rows_row, highest + tl.log2(total), mask=m_rows < length)


@triton.jit
def _dq_step(
    dq, q, k_base, v_base, k_row, v_row, d_out, lse, delta, n0, m_rows, length, factor,
    seed, sequence_head, m0, dropped, rescale,
    D: tl.constexpr, E: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    MASKED: tl.constexpr, DROPOUT: tl.constexpr, PRECISION: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    n_rows = n0 + tl.arange(0, BLOCK_N)
    k = load_tile(k_base, n_rows, tl.arange(0, D), k_row, length, UPCAST)
    v = load_tile(v_base, n_rows, tl.arange(0, E), v_row, length, UPCAST)
    weights = weights_again(q, k, lse, m_rows, n_rows, factor, MASKED, PRECISION)
    d_weights = tl.dot(d_out, tl.trans(v), input_precision=PRECISION)
    _, d_scores = score_gradient(
        weights, d_weights, delta, seed, sequence_head, m0, n0, dropped, rescale, BLOCK_M, BLOCK_N, DROPOUT
    )
    return tl.dot(d_scores.to(k.dtype), k, dq, input_precision=PRECISION)


@triton.jit(do_not_specialize=NOT_SPECIAL)
def dq_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, d_out_ptr, lse_ptr, delta_ptr, dq_ptr, starts_ptr, lengths_ptr,
    q_batch, q_head, q_row, k_batch, k_head, k_row, v_batch, v_head, v_row, rows_batch, rows_head, rows_row,
    heads, scale, seed, dropped, rescale,
    D: tl.constexpr, E: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    PADDED: tl.constexpr, DROPOUT: tl.constexpr, PRECISION: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """dq, and delta = sum(out * d_out) of each row, which `dk_dv_kernel` reads."""
    sequence_head, pid = tl.program_id(0), tl.program_id(1)
    b, h, start, length, first = sequence(sequence_head, heads, starts_ptr, lengths_ptr)
    d, e = tl.arange(0, D), tl.arange(0, E)
    own = b * rows_batch + h * rows_head
    if PADDED:
        zero_padding(dq_ptr + own * D, pid, start, d, rows_row * D, D, BLOCK_M)
    m0 = pid * BLOCK_M
    if m0 >= length:
        return
    own += first * rows_row
    m_rows = m0 + tl.arange(0, BLOCK_M)
    q = load_tile(q_ptr + b * q_batch + h * q_head + first * q_row, m_rows, d, q_row, length, UPCAST)
    out = load_tile(out_ptr + own * E, m_rows, e, rows_row * E, length, True)
    d_out = load_tile(d_out_ptr + own * E, m_rows, e, rows_row * E, length, UPCAST)
    places = own + m_rows * rows_row
    lse = tl.load(lse_ptr + places, mask=m_rows < length, other=0.0)
    delta = tl.sum(out * d_out.to(tl.float32), 1)
    tl.store(delta_ptr + places, delta, mask=m_rows < length)
    k_base = k_ptr + b * k_batch + h * k_head + first * k_row
    v_base = v_ptr + b * v_batch + h * v_head + first * v_row
    factor = scale * LOG2E
    dq = tl.zeros([BLOCK_M, D], dtype=tl.float32)
    diagonal = (m0 // BLOCK_N) * BLOCK_N
    for n0 in range(0, diagonal, BLOCK_N):
        dq = _dq_step(
            dq, q, k_base, v_base, k_row, v_row, d_out, lse, delta, n0, m_rows, length, factor,
            seed, sequence_head, m0, dropped, rescale,
            D, E, BLOCK_M, BLOCK_N, False, DROPOUT, PRECISION, UPCAST,
        )  # fmt: skip
    for n0 in range(diagonal, tl.minimum(m0 + BLOCK_M, length), BLOCK_N):
        dq = _dq_step(
            dq, q, k_base, v_base, k_row, v_row, d_out, lse, delta, n0, m_rows, length, factor,
            seed, sequence_head, m0, dropped, rescale,
            D, E, BLOCK_M, BLOCK_N, True, DROPOUT, PRECISION, UPCAST,
        )  # fmt: skip
    store_tile(dq_ptr + own * D, dq * scale, m_rows, d, rows_row * D, length)


@triton.jit
def _dk_dv_step(
    dk, dv, k, v, q_base, do_base, lse_base, delta_base, q_row, rows_row, m0, n_rows, length, factor,
    seed, sequence_head, n0, dropped, rescale,
    D: tl.constexpr, E: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    MASKED: tl.constexpr, DROPOUT: tl.constexpr, PRECISION: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    m_rows = m0 + tl.arange(0, BLOCK_M)
    q = load_tile(q_base, m_rows, tl.arange(0, D), q_row, length, UPCAST)
    d_out = load_tile(do_base, m_rows, tl.arange(0, E), rows_row * E, length, UPCAST)
    # an infinite log-sum-exp gives rows past the length zero weights
    lse = tl.load(lse_base + m_rows * rows_row, mask=m_rows < length, other=1e30)
    delta = tl.load(delta_base + m_rows * rows_row, mask=m_rows < length, other=0.0)
    weights = weights_again(q, k, lse, m_rows, n_rows, factor, MASKED, PRECISION)
    d_weights = tl.dot(d_out, tl.trans(v), input_precision=PRECISION)
    applied, d_scores = score_gradient(
        weights, d_weights, delta, seed, sequence_head, m0, n0, dropped, rescale, BLOCK_M, BLOCK_N, DROPOUT
    )
    dv = tl.dot(tl.trans(applied.to(d_out.dtype)), d_out, dv, input_precision=PRECISION)
    dk = tl.dot(tl.trans(d_scores.to(q.dtype)), q, dk, input_precision=PRECISION)
    return dk, dv


@triton.jit(do_not_specialize=NOT_SPECIAL)
def dk_dv_kernel(
    q_ptr, k_ptr, v_ptr, d_out_ptr, lse_ptr, delta_ptr, dk_ptr, dv_ptr, starts_ptr, lengths_ptr,
    q_batch, q_head, q_row, k_batch, k_head, k_row, v_batch, v_head, v_row, rows_batch, rows_head, rows_row,
    heads, scale, seed, dropped, rescale,
    D: tl.constexpr, E: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    PADDED: tl.constexpr, DROPOUT: tl.constexpr, PRECISION: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """dk and dv; one program per tile of keys."""
    sequence_head, pid = tl.program_id(0), tl.program_id(1)
    b, h, start, length, first = sequence(sequence_head, heads, starts_ptr, lengths_ptr)
    d, e = tl.arange(0, D), tl.arange(0, E)
    own = b * rows_batch + h * rows_head
    if PADDED:
        zero_padding(dk_ptr + own * D, pid, start, d, rows_row * D, D, BLOCK_N)
        zero_padding(dv_ptr + own * E, pid, start, e, rows_row * E, E, BLOCK_N)
    n0 = pid * BLOCK_N
    if n0 >= length:
        return
    own += first * rows_row
    n_rows = n0 + tl.arange(0, BLOCK_N)
    k = load_tile(k_ptr + b * k_batch + h * k_head + first * k_row, n_rows, d, k_row, length, UPCAST)
    v = load_tile(v_ptr + b * v_batch + h * v_head + first * v_row, n_rows, e, v_row, length, UPCAST)
    q_base = q_ptr + b * q_batch + h * q_head + first * q_row
    factor = scale * LOG2E
    dk = tl.zeros([BLOCK_N, D], dtype=tl.float32)
    dv = tl.zeros([BLOCK_N, E], dtype=tl.float32)
    diagonal = (n0 // BLOCK_M) * BLOCK_M
    below = tl.minimum(tl.cdiv(n0 + BLOCK_N, BLOCK_M) * BLOCK_M, length)  # queries after every key of the tile
    for m0 in range(diagonal, below, BLOCK_M):
        dk, dv = _dk_dv_step(
            dk, dv, k, v, q_base, d_out_ptr + own * E, lse_ptr + own, delta_ptr + own, q_row, rows_row,
            m0, n_rows, length, factor, seed, sequence_head, n0, dropped, rescale,
            D, E, BLOCK_M, BLOCK_N, True, DROPOUT, PRECISION, UPCAST,
        )  # fmt: skip
    for m0 in range(below, length, BLOCK_M):
        dk, dv = _dk_dv_step(
            dk, dv, k, v, q_base, d_out_ptr + own * E, lse_ptr + own, delta_ptr + own, q_row, rows_row,
            m0, n_rows, length, factor, seed, sequence_head, n0, dropped, rescale,
            D, E, BLOCK_M, BLOCK_N, False, DROPOUT, PRECISION, UPCAST,
        )  # fmt: skip
    store_tile(dk_ptr + own * D, dk * scale, n_rows, d, rows_row * D, length)
    store_tile(dv_ptr + own * E, dv, n_rows, e, rows_row * E, length)
