"""Attention weight refinement as torch operators: checks of arguments, kernel launches, and gradients."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
import triton
from torch import Tensor

from attnrec.kernels.awr_attention import triton as kernels
from attnrec.kernels.shared.launch import (
    Call,
    check_inputs,
    check_scalars,
    check_width,
    packed_rows,
    padded_rows,
    under_autocast,
    widened,
)

Refinement = Literal["simple", "value", "additive"]
Mix = Literal["mean", "sum"]
_PROGRAMS = 1024  # of the kernel for dW: enough to fill a GPU, and its partial sums stay small


def awr_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    w_q: Tensor,
    w_k: Tensor,
    lengths: Tensor | None = None,
    *,
    temperature: Tensor | float = 1.0,
    refinement: Refinement = "value",
    mix: Mix = "mean",
    normalize: bool = True,
    scale: float | None = None,
    dropout_p: float = 0.0,
    seed: int | None = None,
    precision: str | None = None,
) -> Tensor:
    """Attention over attention weights in two causal passes over left-padded sequences, in O(T) memory.

        A = softmax(causal(scale q k^T)),   B = softmax(causal(tau norm(A w_q) norm(A w_k)^T / sqrt(m)))

    Args:
        q, k: [B, H, T, D], D up to 128; float32, float16 or bfloat16; any strides.
        v: [B, H, T, E], E up to 128.
        w_q, w_k: [H, S, m], one row for each of S >= T slots, the last row for the last item; m up to 128.
        lengths: int [B] on the same device, real items of each sequence at the right end, 0..T; None for T everywhere.
        temperature: tau, above 0; a number or [H].
        refinement: the output is B v (``simple``), B (A v) (``value``), or A v and B v mixed (``additive``).
        mix: how ``additive`` mixes, ``mean`` or ``sum``.
        normalize: norm divides a row by its root mean square; otherwise it does nothing.
        scale: scale of the first scores, D**-0.5 by default.
        dropout_p: probability of dropping a weight, in A and in B.
        seed, precision: as in `attnrec.kernels.causal_attention`.

    Returns:
        [B, H, T, E], zeros at padding; once differentiable w.r.t. q, k, v, w_q, w_k and temperature, deterministically.

    Raises:
        ValueError, TypeError: an argument is out of range or of the wrong kind; the message names it.
        RuntimeError: the tensors are not on a GPU (and the kernels are not interpreted).
    """
    q, k, v, w_q, w_k = under_autocast(q, k, v, w_q, w_k)
    check_inputs(q, k, v, 4)
    rows = padded_rows(q, lengths)
    scalars = check_scalars(q.shape[-1], scale, dropout_p, seed, precision)
    return _refine(q, k, v, w_q, w_k, rows, temperature, refinement, mix, normalize, scalars)


def packed_awr_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    w_q: Tensor,
    w_k: Tensor,
    starts: Tensor,
    lengths: Tensor,
    max_length: int,
    *,
    temperature: Tensor | float = 1.0,
    refinement: Refinement = "value",
    mix: Mix = "mean",
    normalize: bool = True,
    scale: float | None = None,
    dropout_p: float = 0.0,
    seed: int | None = None,
    precision: str | None = None,
) -> Tensor:
    """`awr_attention` over sequences without padding, one after another.

    Args:
        q, k: [N, H, D].
        v: [N, H, E].
        starts, lengths: int [B], first row and number of rows of each sequence; every row belongs to one sequence.
        max_length: length of the longest sequence, at most S.
        others: as in `awr_attention`.

    Returns:
        [N, H, E].

    Raises:
        like `awr_attention`.
    """
    q, k, v, w_q, w_k = under_autocast(q, k, v, w_q, w_k)
    check_inputs(q, k, v, 3)
    rows = (*packed_rows(q, starts, lengths), max_length)
    scalars = check_scalars(q.shape[-1], scale, dropout_p, seed, precision)
    return _refine(q, k, v, w_q, w_k, rows, temperature, refinement, mix, normalize, scalars)


def _refine(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    w_q: Tensor,
    w_k: Tensor,
    rows: tuple[Tensor, Tensor, int],
    temperature: Tensor | float,
    refinement: Refinement,
    mix: Mix,
    normalize: bool,
    scalars: tuple[float, float, int, str],
) -> Tensor:
    _check_refinement(q, w_q, w_k, rows[2], refinement, mix)
    width, factor = w_q.shape[-1], _factor(temperature, q, w_q.shape[-1])
    w_q, w_k = (widened(w[:, w.shape[1] - rows[2] :].to(q.dtype)).contiguous() for w in (w_q, w_k))
    values = widened(v)
    averaged = None if refinement == "simple" else values
    a_q, a_k, average, _, _ = torch.ops.attnrec.refinement_first_pass(
        widened(q), widened(k), averaged, w_q, w_k, factor, *rows, *scalars, width, normalize
    )
    _, dropout_p, seed, precision = scalars
    mixed = average if refinement == "value" else values
    refined, _ = torch.ops.attnrec.causal_attention(a_q, a_k, mixed, *rows, 1.0, dropout_p, seed + 1, precision)
    if refinement == "additive":
        refined = average + refined
        refined = refined if mix == "sum" else refined / 2
    return refined[..., : v.shape[-1]]


def _check_refinement(q: Tensor, w_q: Tensor, w_k: Tensor, slots: int, refinement: str, mix: str) -> None:
    heads = q.shape[1]
    if w_q.ndim != 3 or w_q.shape != w_k.shape or w_q.shape[0] != heads or w_q.shape[1] < slots:
        shapes = f"w_q {list(w_q.shape)}, w_k {list(w_k.shape)}"
        raise ValueError(f"w_q and w_k must both be [{heads}, {slots} or more slots, m]: {shapes}")
    for name, w in (("w_q", w_q), ("w_k", w_k)):
        check_width(name, w)
        if w.device != q.device:
            raise ValueError(f"{name} must be on {q.device}, not {w.device}")
        if not w.is_floating_point():
            raise TypeError(f"{name} must be of a floating-point type, not {w.dtype}")
    for name, value, kind in (("refinement", refinement, Refinement), ("mix", mix, Mix)):
        if value not in get_args(kind):
            raise ValueError(f"{name} {value!r} is not one of {', '.join(get_args(kind))}")


def _factor(temperature: Tensor | float, q: Tensor, width: int) -> Tensor:
    """tau / sqrt(m) of each head, float32 [H]."""
    heads = q.shape[1]
    if isinstance(temperature, Tensor):
        if temperature.shape != (heads,) or temperature.device != q.device:
            raise ValueError(f"temperature must be a number or of shape [{heads}] on {q.device}")
        return temperature.float() * width**-0.5
    if not 0 < temperature < float("inf"):
        raise ValueError(f"temperature must be above 0, not {temperature}")
    return torch.full((heads,), temperature * width**-0.5, dtype=torch.float32, device=q.device)


# -- operators ---------------------------------------------------------------------------------------------


@torch.library.custom_op("attnrec::refinement_first_pass", mutates_args=())
def _first_pass(
    q: Tensor,
    k: Tensor,
    v: Tensor | None,
    w_q: Tensor,
    w_k: Tensor,
    factor: Tensor,
    starts: Tensor,
    lengths: Tensor,
    max_length: int,
    scale: float,
    dropout_p: float,
    seed: int,
    precision: str,
    width: int,
    normalize: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Q_A and K_A, the averaged values (empty without v), the log-sum-exp of each row, and r of X_Q and X_K.

    Tensors are padded (4 axes) or packed (3); w_q and w_k are [H, max_length, R]; ``width`` is m without padding.
    """
    call = Call(q, starts, lengths, max_length, scale, dropout_p, seed, precision)
    a_q, a_k, average, lse, rms = outputs = _empty_outputs(q, v, w_q, normalize)
    values = q if v is None else v
    call.launch(
        kernels.first_pass_kernel,
        "first_pass",
        (q, k, values, w_q, w_k, factor, a_q, a_k, average, lse, rms),
        (q, k, values),
        max_length,
        1 / width,
        **_widths(q, values, w_q),
        VALUES=v is not None,
        NORMALIZE=normalize,
    )
    return outputs


@_first_pass.register_fake
def _(q: Tensor, k: Tensor, v: Tensor | None, w_q: Tensor, *others: Any) -> tuple[Tensor, ...]:
    return _empty_outputs(q, v, w_q, normalize=others[-1])


@torch.library.custom_op("attnrec::refinement_first_pass_backward", mutates_args=())
def _first_pass_backward(
    d_a_q: Tensor,
    d_a_k: Tensor,
    d_average: Tensor,
    a_q: Tensor,
    a_k: Tensor,
    average: Tensor,
    lse: Tensor,
    rms: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor | None,
    w_q: Tensor,
    w_k: Tensor,
    factor: Tensor,
    starts: Tensor,
    lengths: Tensor,
    max_length: int,
    scale: float,
    dropout_p: float,
    seed: int,
    precision: str,
    width: int,
    normalize: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    call = Call(q, starts, lengths, max_length, scale, dropout_p, seed, precision)
    values = q if v is None else v
    widths = _widths(q, values, w_q)
    dq, dk, dv = _empty_gradients(q, k, v)
    d_a_q, d_a_k, d_average = d_a_q.contiguous(), d_a_k.contiguous(), d_average.contiguous()
    dx_q, dx_k, delta, along = (torch.empty_like(x) for x in (a_q, a_k, lse, lse))
    call.launch(
        kernels.first_pass_dq_kernel,
        "first_pass_dq",
        (q, k, values, w_q, w_k, factor, a_q, a_k, average, lse, rms, d_a_q, d_a_k, d_average, dx_q, dx_k, delta, along,
         dq),
        (q, k, values),
        max_length,
        1 / width,
        **widths,
        VALUES=v is not None,
        NORMALIZE=normalize,
    )  # fmt: skip
    call.launch(
        kernels.first_pass_dk_dv_kernel,
        "first_pass_dk_dv",
        (q, k, values, w_q, w_k, lse, d_average, dx_q, dx_k, delta, dk, dv),
        (q, k, values),
        max_length,
        **widths,
        VALUES=v is not None,
    )
    dw_q, dw_k = _weight_gradients(call, k, lse, dx_q, dx_k, w_q)
    over_rows = (0, 2) if q.ndim == 4 else 0
    return dq, dk, dv, dw_q, dw_k, along.sum(over_rows) / factor


@_first_pass_backward.register_fake
def _(
    d_a_q: Tensor, d_a_k: Tensor, d_average: Tensor, a_q: Tensor, a_k: Tensor, average: Tensor, lse: Tensor,
    rms: Tensor, q: Tensor, k: Tensor, v: Tensor | None, w_q: Tensor, w_k: Tensor, factor: Tensor, *_: Any,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    return *_empty_gradients(q, k, v), torch.empty_like(w_q), torch.empty_like(w_k), torch.empty_like(factor)


def _weight_gradients(
    call: Call, k: Tensor, lse: Tensor, dx_q: Tensor, dx_k: Tensor, w_q: Tensor
) -> tuple[Tensor, Tensor]:
    """dW_q and dW_k [H, S, R], summed over shares of the batch in a fixed order."""
    heads, slots, rank = w_q.shape
    sequences = len(call.lengths)
    if not (sequences and slots):
        return torch.zeros_like(w_q), torch.zeros_like(w_q)
    widths = {"D": call.q.shape[-1], "R": rank}
    tiles = triton.cdiv(slots, call.tiles("dw", **widths).block_n)
    shares = max(1, min(sequences, _PROGRAMS // (heads * tiles)))
    partial = w_q.new_empty(shares, 2, heads, slots, rank, dtype=torch.float32)
    call.launch(
        kernels.dw_kernel,
        "dw",
        (call.q, k, lse, dx_q, dx_k, partial),
        (call.q, k),
        slots,
        sequences,
        shares,
        columns=heads * shares,
        **widths,
    )
    dw_q, dw_k = partial.sum(0).to(w_q.dtype)
    return dw_q.contiguous(), dw_k.clone()


def _widths(q: Tensor, values: Tensor, w_q: Tensor) -> dict[str, int]:
    return {"D": q.shape[-1], "E": values.shape[-1], "R": w_q.shape[-1]}


def _empty_outputs(
    q: Tensor, v: Tensor | None, w_q: Tensor, normalize: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    rows, rank = q.shape[:-1], w_q.shape[-1]
    return (
        q.new_empty(*rows, rank),
        q.new_empty(*rows, rank),
        q.new_empty(0 if v is None else v.shape),
        q.new_empty(rows, dtype=torch.float32),
        q.new_empty(*rows, 2 if normalize else 0, dtype=torch.float32),
    )


def _empty_gradients(q: Tensor, k: Tensor, v: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    return q.new_empty(q.shape), k.new_empty(k.shape), q.new_empty(0 if v is None else v.shape)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    q, k, v, w_q, w_k, factor, starts, lengths, *ctx.scalars = inputs
    ctx.save_for_backward(*output, q, k, v, w_q, w_k, factor, starts, lengths)
    ctx.mark_non_differentiable(*output[3:])


def _differentiate(ctx: Any, d_a_q: Tensor, d_a_k: Tensor, d_average: Tensor, *_: Tensor) -> tuple[Any, ...]:
    saved = ctx.saved_tensors
    dq, dk, dv, *others = torch.ops.attnrec.refinement_first_pass_backward(
        d_a_q, d_a_k, d_average, *saved, *ctx.scalars
    )
    has_values = saved[7] is not None
    return (dq, dk, dv if has_values else None, *others, *[None] * 9)


_first_pass.register_autograd(_differentiate, setup_context=_save)
