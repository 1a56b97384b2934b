"""The kernels as torch operators: checks of arguments, kernel launches, and gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from attnrec.kernels.causal_attention import triton as kernels
from attnrec.kernels.shared.launch import (
    Call,
    check_inputs,
    check_scalars,
    packed_rows,
    padded_rows,
    under_autocast,
    widened,
)


def causal_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    lengths: Tensor | None = None,
    *,
    scale: float | None = None,
    dropout_p: float = 0.0,
    seed: int | None = None,
    precision: str | None = None,
) -> Tensor:
    """softmax(causal(scale q k^T)) v over left-padded sequences, in O(T) memory; padding costs nothing.

    Args:
        q, k: [B, H, T, D], D up to 128; float32, float16 or bfloat16; any strides.
        v: [B, H, T, E], E up to 128.
        lengths: int [B] on the same device, real items of each sequence at the right end, 0..T; None for T everywhere.
        scale: scale of the scores, D**-0.5 by default.
        dropout_p: probability of dropping a weight.
        seed: seed of the dropout; None draws one from torch's generator.
        precision: precision of float32 products: ``ieee``, ``tf32x3`` or ``tf32``; by default that of torch's
            ``float32_matmul_precision``.

    Returns:
        [B, H, T, E], zeros at padding; once differentiable w.r.t. q, k and v, deterministically.

    Raises:
        ValueError, TypeError: an argument is out of range or of the wrong kind; the message names it.
        RuntimeError: the tensors are not on a GPU (and the kernels are not interpreted).
    """
    q, k, v = under_autocast(q, k, v)
    check_inputs(q, k, v, 4)
    return _attend(q, k, v, padded_rows(q, lengths), check_scalars(q.shape[-1], scale, dropout_p, seed, precision))


def packed_causal_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    starts: Tensor,
    lengths: Tensor,
    max_length: int,
    *,
    scale: float | None = None,
    dropout_p: float = 0.0,
    seed: int | None = None,
    precision: str | None = None,
) -> Tensor:
    """`causal_attention` over sequences without padding, one after another.

    Args:
        q, k: [N, H, D].
        v: [N, H, E].
        starts, lengths: int [B], first row and number of rows of each sequence; every row belongs to one sequence.
        max_length: length of the longest sequence.
        scale, dropout_p, seed, precision: as in `causal_attention`.

    Returns:
        [N, H, E].

    Raises:
        like `causal_attention`.
    """
    q, k, v = under_autocast(q, k, v)
    check_inputs(q, k, v, 3)
    rows = (*packed_rows(q, starts, lengths), max_length)
    return _attend(q, k, v, rows, check_scalars(q.shape[-1], scale, dropout_p, seed, precision))


def _attend(
    q: Tensor, k: Tensor, v: Tensor, rows: tuple[Tensor, Tensor, int], scalars: tuple[float, float, int, str]
) -> Tensor:
    out, _ = torch.ops.attnrec.causal_attention(widened(q), widened(k), widened(v), *rows, *scalars)
    return out[..., : v.shape[-1]]


# -- operators ---------------------------------------------------------------------------------------------


@torch.library.custom_op("attnrec::causal_attention", mutates_args=())
def _forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    starts: Tensor,
    lengths: Tensor,
    max_length: int,
    scale: float,
    dropout_p: float,
    seed: int,
    precision: str,
) -> tuple[Tensor, Tensor]:
    """The output, and the log-sum-exp (base 2) of each row; q, k, v are padded (4 axes) or packed (3)."""
    call = Call(q, starts, lengths, max_length, scale, dropout_p, seed, precision)
    out, lse = _empty_outputs(q, v)
    call.launch(kernels.forward_kernel, "forward", (q, k, v, out, lse), (q, k, v), D=q.shape[-1], E=v.shape[-1])
    return out, lse


@_forward.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return _empty_outputs(q, v)


@torch.library.custom_op("attnrec::causal_attention_backward", mutates_args=())
def _backward(
    d_out: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    starts: Tensor,
    lengths: Tensor,
    max_length: int,
    scale: float,
    dropout_p: float,
    seed: int,
    precision: str,
) -> tuple[Tensor, Tensor, Tensor]:
    call = Call(q, starts, lengths, max_length, scale, dropout_p, seed, precision)
    widths = {"D": q.shape[-1], "E": v.shape[-1]}
    dq, dk, dv = _empty_gradients(q, k, v)
    d_out, delta = d_out.contiguous(), torch.empty_like(lse)
    call.launch(kernels.dq_kernel, "dq", (q, k, v, out, d_out, lse, delta, dq), (q, k, v), **widths)
    call.launch(kernels.dk_dv_kernel, "dk_dv", (q, k, v, d_out, lse, delta, dk, dv), (q, k, v), **widths)
    return dq, dk, dv


@_backward.register_fake
def _(d_out: Tensor, q: Tensor, k: Tensor, v: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    return _empty_gradients(q, k, v)


def _empty_outputs(q: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    return v.new_empty(v.shape), q.new_empty(q.shape[:-1], dtype=torch.float32)


def _empty_gradients(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    q, k, v, starts, lengths, *ctx.scalars = inputs
    out, lse = output
    ctx.save_for_backward(q, k, v, out, lse, starts, lengths)
    ctx.mark_non_differentiable(lse)


def _differentiate(ctx: Any, d_out: Tensor, _: Tensor) -> tuple[Any, ...]:
    q, k, v, out, lse, starts, lengths = ctx.saved_tensors
    gradients = torch.ops.attnrec.causal_attention_backward(d_out, q, k, v, out, lse, starts, lengths, *ctx.scalars)
    return (*gradients, *[None] * 7)


_forward.register_autograd(_differentiate, setup_context=_save)
