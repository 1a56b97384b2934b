r"""The Triton kernels of the first pass of attention weight refinement; the second pass is causal attention.

    A = softmax(causal(scale Q K^T)),  X_Q = drop(A) W_q,  X_K = drop(A) W_k,  average = drop(A) V
    Q_A = f norm(X_Q),  K_A = norm(X_K)

in one sweep over the keys with an accumulator for each product. W_q and W_k have one row per slot; the last item of a
sequence uses the last row. norm multiplies a row by r = (mean(x^2) + epsilon)^(-1/2), one over its root mean square,
or does nothing; f is a factor per head.

Backward: with y = r x, dx = r (dy - y mean(y dy)), so only y and r of each row are kept. There is one kernel for dq,
one for dk and dv, and one for dW. In the dW kernel, each program sums over a share of the batch, and these sums are
added up afterwards. So there are no atomic additions, and dW is never stored per sequence.

Shape legend: B sequences, H heads, D width of queries and keys, E of values, R of the refinement (powers of two),
S slots.
"""

from __future__ import annotations

import triton
import triton.language as tl

from attnrec.kernels.shared.triton import (
    LOG2E,
    LOWEST,
    NOT_SPECIAL,
    kept_anywhere,
    load_tile,
    score_gradient,
    sequence,
    softmax_step,
    store_tile,
    weights_again,
    zero_padding,
)

_EPSILON = tl.constexpr(1e-12)


@triton.jit
def _first_pass_step(
    x_q, x_k, average, total, highest, q, k_base, v_base, w_q_base, w_k_base, k_row, v_row, n0, m_rows, length, factor,
    seed, sequence_head, m0, dropped, rescale,
    D: tl.constexpr, E: tl.constexpr, R: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    MASKED: tl.constexpr, VALUES: tl.constexpr, DROPOUT: tl.constexpr, PRECISION: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    weights, decay, total, highest = softmax_step(
        total, highest, q, k_base, k_row, n0, m_rows, length, factor, seed, sequence_head, m0, dropped, rescale,
        D, BLOCK_M, BLOCK_N, MASKED, DROPOUT, PRECISION, UPCAST,
    )  # fmt: skip
    n_rows, r = n0 + tl.arange(0, BLOCK_N), tl.arange(0, R)
    w_q = load_tile(w_q_base, n_rows, r, R, length, UPCAST)
    w_k = load_tile(w_k_base, n_rows, r, R, length, UPCAST)
    weights = weights.to(w_q.dtype)
    x_q = tl.dot(weights, w_q, x_q * decay[:, None], input_precision=PRECISION)
    x_k = tl.dot(weights, w_k, x_k * decay[:, None], input_precision=PRECISION)
    if VALUES:
        v = load_tile(v_base, n_rows, tl.arange(0, E), v_row, length, UPCAST)
        average = tl.dot(weights, v, average * decay[:, None], input_precision=PRECISION)
    return x_q, x_k, average, total, highest


@triton.jit(do_not_specialize=NOT_SPECIAL)
def first_pass_kernel(
    q_ptr, k_ptr, v_ptr, w_q_ptr, w_k_ptr, factor_ptr, a_q_ptr, a_k_ptr, average_ptr, lse_ptr, rms_ptr,
    starts_ptr, lengths_ptr,
    q_batch, q_head, q_row, k_batch, k_head, k_row, v_batch, v_head, v_row, rows_batch, rows_head, rows_row,
    heads, scale, seed, dropped, rescale, slots, inverse_width,
    D: tl.constexpr, E: tl.constexpr, R: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    VALUES: tl.constexpr, NORMALIZE: tl.constexpr, PADDED: tl.constexpr, DROPOUT: tl.constexpr,
    PRECISION: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """Q_A, K_A, the averaged values if VALUES, the log-sum-exp of each row, and r of X_Q and X_K, two per row."""
    sequence_head, pid = tl.program_id(0), tl.program_id(1)
    b, h, start, length, first = sequence(sequence_head, heads, starts_ptr, lengths_ptr)
    e, r = tl.arange(0, E), tl.arange(0, R)
    own = b * rows_batch + h * rows_head
    if PADDED:
        zero_padding(a_q_ptr + own * R, pid, start, r, rows_row * R, R, BLOCK_M)
        zero_padding(a_k_ptr + own * R, pid, start, r, rows_row * R, R, BLOCK_M)
        if VALUES:
            zero_padding(average_ptr + own * E, pid, start, e, rows_row * E, E, BLOCK_M)
    m0 = pid * BLOCK_M
    if m0 >= length:
        return
    own += first * rows_row
    m_rows = m0 + tl.arange(0, BLOCK_M)
    q_base = q_ptr + b * q_batch + h * q_head + first * q_row
    q = load_tile(q_base, m_rows, tl.arange(0, D), q_row, length, UPCAST)
    k_base = k_ptr + b * k_batch + h * k_head + first * k_row
    v_base = v_ptr + b * v_batch + h * v_head + first * v_row
    shift = (h * slots + slots - length) * R
    factor = scale * LOG2E
    x_q = tl.zeros([BLOCK_M, R], dtype=tl.float32)
    x_k = tl.zeros([BLOCK_M, R], dtype=tl.float32)
    average = tl.zeros([BLOCK_M, E], dtype=tl.float32)
    total = tl.zeros([BLOCK_M], dtype=tl.float32)
    highest = tl.zeros([BLOCK_M], dtype=tl.float32) + LOWEST
    diagonal = (m0 // BLOCK_N) * BLOCK_N
    for n0 in range(0, diagonal, BLOCK_N):
        x_q, x_k, average, total, highest = _first_pass_step(
            x_q, x_k, average, total, highest, q, k_base, v_base, w_q_ptr + shift, w_k_ptr + shift, k_row, v_row,
            n0, m_rows, length, factor, seed, sequence_head, m0, dropped, rescale,
            D, E, R, BLOCK_M, BLOCK_N, False, VALUES, DROPOUT, PRECISION, UPCAST,
        )  # fmt: skip
    for n0 in range(diagonal, tl.minimum(m0 + BLOCK_M, length), BLOCK_N):
        x_q, x_k, average, total, highest = _first_pass_step(
            x_q, x_k, average, total, highest, q, k_base, v_base, w_q_ptr + shift, w_k_ptr + shift, k_row, v_row,
            n0, m_rows, length, factor, seed, sequence_head, m0, dropped, rescale,
            D, E, R, BLOCK_M, BLOCK_N, True, VALUES, DROPOUT, PRECISION, UPCAST,
        )  # fmt: skip
    places, real = own + m_rows * rows_row, m_rows < length
    x_q, x_k = x_q / total[:, None], x_k / total[:, None]
    if NORMALIZE:
        rms_q = tl.rsqrt(tl.sum(x_q * x_q, 1) * inverse_width + _EPSILON)
        rms_k = tl.rsqrt(tl.sum(x_k * x_k, 1) * inverse_width + _EPSILON)
        x_q, x_k = x_q * rms_q[:, None], x_k * rms_k[:, None]
        tl.store(rms_ptr + 2 * places, rms_q, mask=real)
        tl.store(rms_ptr + 2 * places + 1, rms_k, mask=real)
    store_tile(a_q_ptr + own * R, x_q * tl.load(factor_ptr + h), m_rows, r, rows_row * R, length)
    store_tile(a_k_ptr + own * R, x_k, m_rows, r, rows_row * R, length)
    if VALUES:
        store_tile(average_ptr + own * E, average / total[:, None], m_rows, e, rows_row * E, length)
    tl.store(lse_ptr + places, highest + tl.log2(total), mask=real)


# -- backward ----------------------------------------------------------------------------------------------


@triton.jit
def _through_norm(y, dy, rms, inverse_width, NORMALIZE: tl.constexpr):
    """dx of y = norm(x), sum(x dx) and sum(y dy) of each row."""
    along = tl.sum(y * dy, 1)
    if NORMALIZE:
        dx = rms[:, None] * (dy - y * (along * inverse_width)[:, None])
        return dx, along * (1.0 - tl.sum(y * y, 1) * inverse_width), along
    return dy, along, along


@triton.jit
def _weight_gradient(
    dx_q, dx_k, d_average, w_q, w_k, v, VALUES: tl.constexpr, PRECISION: tl.constexpr
):  # fmt: skip
    """Gradient w.r.t. the weights after dropout, [BLOCK_M, BLOCK_N]."""
    d_weights = tl.dot(dx_q, tl.trans(w_q), input_precision=PRECISION)
    d_weights = tl.dot(dx_k, tl.trans(w_k), d_weights, input_precision=PRECISION)
    if VALUES:
        d_weights = tl.dot(d_average, tl.trans(v), d_weights, input_precision=PRECISION)
    return d_weights


@triton.jit
def _first_pass_dq_step(
    dq, q, dx_q, dx_k, d_average, k_base, v_base, w_q_base, w_k_base, k_row, v_row, lse, delta, n0, m_rows, length,
    factor, seed, sequence_head, m0, dropped, rescale,
    D: tl.constexpr, E: tl.constexpr, R: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    MASKED: tl.constexpr, VALUES: tl.constexpr, DROPOUT: tl.constexpr, PRECISION: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    n_rows, r = n0 + tl.arange(0, BLOCK_N), tl.arange(0, R)
    k = load_tile(k_base, n_rows, tl.arange(0, D), k_row, length, UPCAST)
    v = load_tile(v_base, n_rows, tl.arange(0, E), v_row, length, UPCAST) if VALUES else k
    w_q = load_tile(w_q_base, n_rows, r, R, length, UPCAST)
    w_k = load_tile(w_k_base, n_rows, r, R, length, UPCAST)
    weights = weights_again(q, k, lse, m_rows, n_rows, factor, MASKED, PRECISION)
    d_weights = _weight_gradient(dx_q, dx_k, d_average, w_q, w_k, v, VALUES, PRECISION)
    _, d_scores = score_gradient(
        weights, d_weights, delta, seed, sequence_head, m0, n0, dropped, rescale, BLOCK_M, BLOCK_N, DROPOUT
    )
    return tl.dot(d_scores.to(k.dtype), k, dq, input_precision=PRECISION)


@triton.jit(do_not_specialize=NOT_SPECIAL)
def first_pass_dq_kernel(
    q_ptr, k_ptr, v_ptr, w_q_ptr, w_k_ptr, factor_ptr, a_q_ptr, a_k_ptr, average_ptr, lse_ptr, rms_ptr,
    d_a_q_ptr, d_a_k_ptr, d_average_ptr, dx_q_ptr, dx_k_ptr, delta_ptr, along_ptr, dq_ptr, starts_ptr, lengths_ptr,
    q_batch, q_head, q_row, k_batch, k_head, k_row, v_batch, v_head, v_row, rows_batch, rows_head, rows_row,
    heads, scale, seed, dropped, rescale, slots, inverse_width,
    D: tl.constexpr, E: tl.constexpr, R: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    VALUES: tl.constexpr, NORMALIZE: tl.constexpr, PADDED: tl.constexpr, DROPOUT: tl.constexpr,
    PRECISION: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """dq, and for the other kernels dx_q, dx_k and delta, the inner product of each row of outputs with its gradient.

    ``along`` is sum(Q_A dQ_A) of each row; the gradient of the factor is computed from it.
    """
    sequence_head, pid = tl.program_id(0), tl.program_id(1)
    b, h, start, length, first = sequence(sequence_head, heads, starts_ptr, lengths_ptr)
    d, e, r = tl.arange(0, D), tl.arange(0, E), tl.arange(0, R)
    own = b * rows_batch + h * rows_head
    if PADDED:
        zero_padding(dq_ptr + own * D, pid, start, d, rows_row * D, D, BLOCK_M)
        rows = pid * BLOCK_M + tl.arange(0, BLOCK_M)
        tl.store(along_ptr + own + rows * rows_row, tl.zeros([BLOCK_M], dtype=tl.float32), mask=rows < start)
    m0 = pid * BLOCK_M
    if m0 >= length:
        return
    own += first * rows_row
    m_rows = m0 + tl.arange(0, BLOCK_M)
    places, real = own + m_rows * rows_row, m_rows < length
    q = load_tile(q_ptr + b * q_batch + h * q_head + first * q_row, m_rows, d, q_row, length, UPCAST)
    of_head = tl.load(factor_ptr + h)
    y_q = load_tile(a_q_ptr + own * R, m_rows, r, rows_row * R, length, True) / of_head
    y_k = load_tile(a_k_ptr + own * R, m_rows, r, rows_row * R, length, True)
    dy_q = load_tile(d_a_q_ptr + own * R, m_rows, r, rows_row * R, length, True) * of_head
    dy_k = load_tile(d_a_k_ptr + own * R, m_rows, r, rows_row * R, length, True)
    normed = m_rows < (length if NORMALIZE else 0)
    rms_q = tl.load(rms_ptr + 2 * places, mask=normed, other=1.0)
    rms_k = tl.load(rms_ptr + 2 * places + 1, mask=normed, other=1.0)
    dx_q, delta_q, along = _through_norm(y_q, dy_q, rms_q, inverse_width, NORMALIZE)
    dx_k, delta_k, _ = _through_norm(y_k, dy_k, rms_k, inverse_width, NORMALIZE)
    delta = delta_q + delta_k
    dx_q, dx_k = dx_q.to(q.dtype), dx_k.to(q.dtype)
    store_tile(dx_q_ptr + own * R, dx_q, m_rows, r, rows_row * R, length)
    store_tile(dx_k_ptr + own * R, dx_k, m_rows, r, rows_row * R, length)
    d_average = q
    if VALUES:
        average = load_tile(average_ptr + own * E, m_rows, e, rows_row * E, length, True)
        d_average = load_tile(d_average_ptr + own * E, m_rows, e, rows_row * E, length, UPCAST)
        delta += tl.sum(average * d_average.to(tl.float32), 1)
    tl.store(delta_ptr + places, delta, mask=real)
    tl.store(along_ptr + places, along, mask=real)
    lse = tl.load(lse_ptr + places, mask=real, other=0.0)
    k_base = k_ptr + b * k_batch + h * k_head + first * k_row
    v_base = v_ptr + b * v_batch + h * v_head + first * v_row
    shift = (h * slots + slots - length) * R
    factor = scale * LOG2E
    dq = tl.zeros([BLOCK_M, D], dtype=tl.float32)
    diagonal = (m0 // BLOCK_N) * BLOCK_N
    for n0 in range(0, diagonal, BLOCK_N):
        dq = _first_pass_dq_step(
            dq, q, dx_q, dx_k, d_average, k_base, v_base, w_q_ptr + shift, w_k_ptr + shift, k_row, v_row, lse, delta,
            n0, m_rows, length, factor, seed, sequence_head, m0, dropped, rescale,
            D, E, R, BLOCK_M, BLOCK_N, False, VALUES, DROPOUT, PRECISION, UPCAST,
        )  # fmt: skip
    for n0 in range(diagonal, tl.minimum(m0 + BLOCK_M, length), BLOCK_N):
        dq = _first_pass_dq_step(
            dq, q, dx_q, dx_k, d_average, k_base, v_base, w_q_ptr + shift, w_k_ptr + shift, k_row, v_row, lse, delta,
            n0, m_rows, length, factor, seed, sequence_head, m0, dropped, rescale,
            D, E, R, BLOCK_M, BLOCK_N, True, VALUES, DROPOUT, PRECISION, UPCAST,
        )  # fmt: skip
    store_tile(dq_ptr + own * D, dq * scale, m_rows, d, rows_row * D, length)


@triton.jit
def _first_pass_dk_dv_step(
    dk, dv, k, v, w_q, w_k, q_base, dx_q_base, dx_k_base, da_base, lse_base, delta_base, q_row, rows_row,
    m0, n_rows, length, factor, seed, sequence_head, n0, dropped, rescale,
    D: tl.constexpr, E: tl.constexpr, R: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    MASKED: tl.constexpr, VALUES: tl.constexpr, DROPOUT: tl.constexpr, PRECISION: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    m_rows, r = m0 + tl.arange(0, BLOCK_M), tl.arange(0, R)
    q = load_tile(q_base, m_rows, tl.arange(0, D), q_row, length, UPCAST)
    dx_q = load_tile(dx_q_base, m_rows, r, rows_row * R, length, UPCAST)
    dx_k = load_tile(dx_k_base, m_rows, r, rows_row * R, length, UPCAST)
    d_average = load_tile(da_base, m_rows, tl.arange(0, E), rows_row * E, length, UPCAST) if VALUES else q
    # an infinite log-sum-exp gives rows past the length zero weights
    lse = tl.load(lse_base + m_rows * rows_row, mask=m_rows < length, other=1e30)
    delta = tl.load(delta_base + m_rows * rows_row, mask=m_rows < length, other=0.0)
    weights = weights_again(q, k, lse, m_rows, n_rows, factor, MASKED, PRECISION)
    d_weights = _weight_gradient(dx_q, dx_k, d_average, w_q, w_k, v, VALUES, PRECISION)
    applied, d_scores = score_gradient(
        weights, d_weights, delta, seed, sequence_head, m0, n0, dropped, rescale, BLOCK_M, BLOCK_N, DROPOUT
    )
    if VALUES:
        dv = tl.dot(tl.trans(applied.to(q.dtype)), d_average, dv, input_precision=PRECISION)
    dk = tl.dot(tl.trans(d_scores.to(q.dtype)), q, dk, input_precision=PRECISION)
    return dk, dv


@triton.jit(do_not_specialize=NOT_SPECIAL)
def first_pass_dk_dv_kernel(
    q_ptr, k_ptr, v_ptr, w_q_ptr, w_k_ptr, lse_ptr, d_average_ptr, dx_q_ptr, dx_k_ptr, delta_ptr, dk_ptr, dv_ptr,
    starts_ptr, lengths_ptr,
    q_batch, q_head, q_row, k_batch, k_head, k_row, v_batch, v_head, v_row, rows_batch, rows_head, rows_row,
    heads, scale, seed, dropped, rescale, slots,
    D: tl.constexpr, E: tl.constexpr, R: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    VALUES: tl.constexpr, PADDED: tl.constexpr, DROPOUT: tl.constexpr, PRECISION: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """dk, and dv if VALUES; one program per tile of keys."""
    sequence_head, pid = tl.program_id(0), tl.program_id(1)
    b, h, start, length, first = sequence(sequence_head, heads, starts_ptr, lengths_ptr)
    d, e, r = tl.arange(0, D), tl.arange(0, E), tl.arange(0, R)
    own = b * rows_batch + h * rows_head
    if PADDED:
        zero_padding(dk_ptr + own * D, pid, start, d, rows_row * D, D, BLOCK_N)
        if VALUES:
            zero_padding(dv_ptr + own * E, pid, start, e, rows_row * E, E, BLOCK_N)
    n0 = pid * BLOCK_N
    if n0 >= length:
        return
    own += first * rows_row
    n_rows = n0 + tl.arange(0, BLOCK_N)
    k = load_tile(k_ptr + b * k_batch + h * k_head + first * k_row, n_rows, d, k_row, length, UPCAST)
    v = k
    if VALUES:
        v = load_tile(v_ptr + b * v_batch + h * v_head + first * v_row, n_rows, e, v_row, length, UPCAST)
    shift = (h * slots + slots - length) * R
    w_q = load_tile(w_q_ptr + shift, n_rows, r, R, length, UPCAST)
    w_k = load_tile(w_k_ptr + shift, n_rows, r, R, length, UPCAST)
    q_base = q_ptr + b * q_batch + h * q_head + first * q_row
    factor = scale * LOG2E
    dk = tl.zeros([BLOCK_N, D], dtype=tl.float32)
    dv = tl.zeros([BLOCK_N, E], dtype=tl.float32)
    diagonal = (n0 // BLOCK_M) * BLOCK_M
    below = tl.minimum(tl.cdiv(n0 + BLOCK_N, BLOCK_M) * BLOCK_M, length)  # queries after every key of the tile
    for m0 in range(diagonal, below, BLOCK_M):
        dk, dv = _first_pass_dk_dv_step(
            dk, dv, k, v, w_q, w_k, q_base, dx_q_ptr + own * R, dx_k_ptr + own * R, d_average_ptr + own * E,
            lse_ptr + own, delta_ptr + own, q_row, rows_row,
            m0, n_rows, length, factor, seed, sequence_head, n0, dropped, rescale,
            D, E, R, BLOCK_M, BLOCK_N, True, VALUES, DROPOUT, PRECISION, UPCAST,
        )  # fmt: skip
    for m0 in range(below, length, BLOCK_M):
        dk, dv = _first_pass_dk_dv_step(
            dk, dv, k, v, w_q, w_k, q_base, dx_q_ptr + own * R, dx_k_ptr + own * R, d_average_ptr + own * E,
            lse_ptr + own, delta_ptr + own, q_row, rows_row,
            m0, n_rows, length, factor, seed, sequence_head, n0, dropped, rescale,
            D, E, R, BLOCK_M, BLOCK_N, False, VALUES, DROPOUT, PRECISION, UPCAST,
        )  # fmt: skip
    store_tile(dk_ptr + own * D, dk * scale, n_rows, d, rows_row * D, length)
    if VALUES:
        store_tile(dv_ptr + own * E, dv, n_rows, e, rows_row * E, length)


@triton.jit
def _dw_step(
    dw_q, dw_k, k, q_base, dx_q_base, dx_k_base, lse_base, q_row, rows_row,
    m0, n_rows, length, factor, seed, sequence_head, dropped, rescale,
    D: tl.constexpr, R: tl.constexpr, BLOCK_M: tl.constexpr, DROPOUT: tl.constexpr, PRECISION: tl.constexpr,
    UPCAST: tl.constexpr,
):  # fmt: skip
    m_rows, r = m0 + tl.arange(0, BLOCK_M), tl.arange(0, R)
    q = load_tile(q_base, m_rows, tl.arange(0, D), q_row, length, UPCAST)
    lse = tl.load(lse_base + m_rows * rows_row, mask=m_rows < length, other=1e30)
    applied = weights_again(q, k, lse, m_rows, n_rows, factor, True, PRECISION)
    if DROPOUT:
        applied = tl.where(kept_anywhere(seed, sequence_head, m_rows, n_rows, dropped), applied * rescale, 0.0)
    applied = tl.trans(applied.to(q.dtype))
    dx_q = load_tile(dx_q_base, m_rows, r, rows_row * R, length, UPCAST)
    dx_k = load_tile(dx_k_base, m_rows, r, rows_row * R, length, UPCAST)
    dw_q = tl.dot(applied, dx_q, dw_q, input_precision=PRECISION)
    dw_k = tl.dot(applied, dx_k, dw_k, input_precision=PRECISION)
    return dw_q, dw_k


@triton.jit(do_not_specialize=NOT_SPECIAL)
def dw_kernel(
    q_ptr, k_ptr, lse_ptr, dx_q_ptr, dx_k_ptr, dw_ptr, starts_ptr, lengths_ptr,
    q_batch, q_head, q_row, k_batch, k_head, k_row, rows_batch, rows_head, rows_row,
    heads, scale, seed, dropped, rescale, slots, sequences, shares,
    D: tl.constexpr, R: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    PADDED: tl.constexpr, DROPOUT: tl.constexpr, PRECISION: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """One share's part of dW_q and dW_k for a tile of slots, into [shares, 2, H, S, R]; every shares-th sequence."""
    head_share, pid = tl.program_id(0), tl.program_id(1)
    head, share = head_share % heads, head_share // heads
    d, r = tl.arange(0, D), tl.arange(0, R)
    s_rows = pid * BLOCK_N + tl.arange(0, BLOCK_N)
    factor = scale * LOG2E
    dw_q = tl.zeros([BLOCK_N, R], dtype=tl.float32)
    dw_k = tl.zeros([BLOCK_N, R], dtype=tl.float32)
    for one in range(share, sequences, shares):
        b, h, _start, length, first = sequence(one * heads + head, heads, starts_ptr, lengths_ptr)
        n0 = pid * BLOCK_N - (slots - length)
        if n0 + BLOCK_N > 0:
            n_rows = n0 + tl.arange(0, BLOCK_N)  # negative if the slot is padding
            k_base = k_ptr + b * k_batch + h * k_head + first * k_row
            places = k_base + n_rows[:, None].to(tl.int64) * k_row + d[None, :]
            k = tl.load(places, mask=(n_rows[:, None] >= 0) & (n_rows[:, None] < length), other=0.0)
            if UPCAST:
                k = k.to(tl.float32)
            q_base = q_ptr + b * q_batch + h * q_head + first * q_row
            own = b * rows_batch + h * rows_head + first * rows_row
            for m0 in range((tl.maximum(n0, 0) // BLOCK_M) * BLOCK_M, length, BLOCK_M):
                dw_q, dw_k = _dw_step(
                    dw_q, dw_k, k, q_base, dx_q_ptr + own * R, dx_k_ptr + own * R, lse_ptr + own, q_row, rows_row,
                    m0, n_rows, length, factor, seed, one * heads + head, dropped, rescale,
                    D, R, BLOCK_M, DROPOUT, PRECISION, UPCAST,
                )  # fmt: skip
    dw_base = dw_ptr + ((share * 2).to(tl.int64) * heads + head) * slots * R
    store_tile(dw_base, dw_q, s_rows, r, R, slots)
    store_tile(dw_base + heads * slots * R, dw_k, s_rows, r, R, slots)
