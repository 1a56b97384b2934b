"""The kernels as torch operators: what is checked, how they are launched, and their gradients."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
import triton
from torch import Tensor

from attnrec.kernels.causal_attention import triton as kernels
from attnrec.kernels.causal_attention.tiles import WIDTHS, choose_tiles, padded_width

_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
_PRECISIONS = {"highest": "ieee", "high": "tf32", "medium": "tf32"}


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
        scale: of the scores, D**-0.5 by default.
        dropout_p: probability of dropping a weight.
        seed: of the dropout; None draws one from torch's generator.
        precision: of products of float32: ``ieee``, ``tf32x3`` or ``tf32``; by default as torch's
            ``float32_matmul_precision`` says.

    Returns:
        [B, H, T, E], zeros at padding; differentiable once by q, k and v, deterministically.

    Raises:
        ValueError, TypeError: an argument is out of range or of the wrong kind; the message names it.
        RuntimeError: the tensors are not on a GPU (and the kernels are not interpreted).
    """
    q, k, v = _autocast(q, k, v)
    _check_inputs(q, k, v, 4)
    batch, _, width, dim = q.shape
    if lengths is None:
        lengths = torch.full((batch,), width, dtype=torch.int32, device=q.device)
    elif lengths.shape != (batch,) or lengths.is_floating_point() or lengths.device != q.device:
        raise ValueError(f"lengths must be whole numbers of shape [{batch}] on {q.device}")
    lengths = lengths.to(torch.int32)
    arguments = _scalars(dim, scale, dropout_p, seed, precision)
    wide = (_widened(x) for x in (q, k, v))
    out, _ = torch.ops.attnrec.causal_attention(*wide, width - lengths, lengths, width, *arguments)
    return out[..., : v.shape[-1]]


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
        starts, lengths: int [B], the first row of each sequence and how many rows it has; every row belongs to one.
        max_length: of the longest sequence.
        scale, dropout_p, seed, precision: as in `causal_attention`.

    Returns:
        [N, H, E].

    Raises:
        as `causal_attention`.
    """
    q, k, v = _autocast(q, k, v)
    _check_inputs(q, k, v, 3)
    for name, tensor in (("starts", starts), ("lengths", lengths)):
        if tensor.ndim != 1 or tensor.is_floating_point() or tensor.device != q.device:
            raise ValueError(f"{name} must be whole numbers of shape [B] on {q.device}")
    arguments = _scalars(q.shape[-1], scale, dropout_p, seed, precision)
    wide = (_widened(x) for x in (q, k, v))
    out, _ = torch.ops.attnrec.causal_attention(
        *wide, starts.to(torch.int32), lengths.to(torch.int32), max_length, *arguments
    )
    return out[..., : v.shape[-1]]


def require_device(device: torch.device) -> None:
    """RuntimeError that says what to use instead, unless the kernels can run on ``device``."""
    if device.type != "cuda" and not kernels.INTERPRETED:
        raise RuntimeError(
            f"the Triton kernels need an NVIDIA GPU, and the tensors are on {device.type}; "
            "use scaled_dot_product_attention (the variant sdpa) there, or TRITON_INTERPRET=1 to study them"
        )


# -- checks ------------------------------------------------------------------------------------------------


def _autocast(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    if torch.is_autocast_enabled(q.device.type):
        dtype = torch.get_autocast_dtype(q.device.type)
        return q.to(dtype), k.to(dtype), v.to(dtype)
    return q, k, v


def _check_inputs(q: Tensor, k: Tensor, v: Tensor, axes: int) -> None:
    shapes = f"q {list(q.shape)}, k {list(k.shape)}, v {list(v.shape)}"
    if not q.ndim == k.ndim == v.ndim == axes:
        raise ValueError(f"q, k and v must have {axes} axes: {shapes}")
    if q.shape != k.shape or q.shape[:-1] != v.shape[:-1]:
        raise ValueError(f"q and k must have one shape, and v the same but for its last axis: {shapes}")
    if not (q.dtype == k.dtype == v.dtype and q.dtype in _DTYPES):
        raise TypeError(f"q, k and v must all be float32, float16 or bfloat16: {q.dtype}, {k.dtype}, {v.dtype}")
    if not q.device == k.device == v.device:
        raise ValueError(f"q, k and v must be on one device: {q.device}, {k.device}, {v.device}")
    for name, tensor in (("q", q), ("k", k), ("v", v)):
        if not 1 <= tensor.shape[-1] <= WIDTHS[-1]:
            raise ValueError(f"the width of {name} must be 1 to {WIDTHS[-1]}, not {tensor.shape[-1]}")
    require_device(q.device)


def _widened(x: Tensor) -> Tensor:
    """Columns of zeros up to a width that the kernels know, which changes no product."""
    missing = padded_width(x.shape[-1]) - x.shape[-1]
    if missing:
        return F.pad(x, (0, missing))
    return x if x.stride(-1) == 1 else x.contiguous()


def _scalars(
    dim: int, scale: float | None, dropout_p: float, seed: int | None, precision: str | None
) -> tuple[float, float, int, str]:
    if not 0.0 <= dropout_p < 1.0:
        raise ValueError(f"dropout_p must be at least 0 and below 1, not {dropout_p}")
    if scale is None:
        scale = dim**-0.5
    elif not math.isfinite(scale):
        raise ValueError(f"scale must be finite, not {scale}")
    if precision is None:
        precision = _PRECISIONS[torch.get_float32_matmul_precision()]
    elif precision not in ("ieee", "tf32x3", "tf32"):
        raise ValueError(f"precision {precision!r} is not one of ieee, tf32x3, tf32")
    if seed is None:
        seed = int(torch.randint(2**31 - 1, ())) if dropout_p > 0 else 0
    return scale, dropout_p, seed, precision


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
    out, lse = _empty_outputs(q, v)
    launch = _Launch("forward", q, v, max_length, scale, dropout_p, seed, precision)
    if launch.anything:
        launch(
            kernels.forward_kernel,
            launch.block_m,
            (q, k, v, out, lse, starts, lengths),
            (*_strides(q), *_strides(k), *_strides(v), *_strides(out), *_lse_strides(lse)),
        )
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
    dq, dk, dv = _empty_gradients(q, k, v)
    if d_out.stride(-1) != 1:
        d_out = d_out.contiguous()
    delta = torch.empty_like(lse)
    inputs = (*_strides(q), *_strides(k), *_strides(v))
    first = _Launch("dq", q, v, max_length, scale, dropout_p, seed, precision)
    if first.anything:
        first(
            kernels.dq_kernel,
            first.block_m,
            (q, k, v, out, d_out, lse, delta, dq, starts, lengths),
            (*inputs, *_strides(out), *_strides(d_out), *_strides(dq), *_lse_strides(lse)),
        )
        second = _Launch("dk_dv", q, v, max_length, scale, dropout_p, seed, precision)
        second(
            kernels.dk_dv_kernel,
            second.block_n,
            (q, k, v, d_out, lse, delta, dk, dv, starts, lengths),
            (*inputs, *_strides(d_out), *_strides(dk), *_strides(dv), *_lse_strides(lse)),
        )
    return dq, dk, dv


@_backward.register_fake
def _(d_out: Tensor, q: Tensor, k: Tensor, v: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    return _empty_gradients(q, k, v)


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


# -- launching ---------------------------------------------------------------------------------------------


class _Launch:
    """One kernel's tiles and compile-time arguments for given inputs."""

    def __init__(
        self, kernel: str, q: Tensor, v: Tensor, max_length: int, scale: float, dropout_p: float, seed: int,
        precision: str,
    ) -> None:  # fmt: skip
        self.padded = q.ndim == 4
        self.heads = q.shape[1]
        self.max_length = max_length
        self.tiles = choose_tiles(kernel, max_length, max(q.shape[-1], v.shape[-1]), q.dtype)
        self.block_m, self.block_n = self.tiles.block_m, self.tiles.block_n
        dropped, rescale = kernels.dropout_threshold(dropout_p)
        self.scalars = (self.heads, scale, seed, dropped, rescale)
        self.constants = {
            "D": q.shape[-1],
            "E": v.shape[-1],
            "BLOCK_M": self.block_m,
            "BLOCK_N": self.block_n,
            "PADDED": self.padded,
            "DROPOUT": dropped > 0,
            "PRECISION": precision,
            # the interpreter computes on the raw bits of bfloat16
            "UPCAST": kernels.INTERPRETED and q.dtype == torch.bfloat16,
            "num_warps": self.tiles.num_warps,
            "num_stages": self.tiles.num_stages,
        }

    @property
    def anything(self) -> bool:
        return self.max_length > 0 and self.heads > 0

    def __call__(self, kernel: Any, block: int, tensors: tuple[Tensor, ...], strides: tuple[int, ...]) -> None:
        sequences = len(tensors[-1])
        if sequences:
            grid = (sequences * self.heads, triton.cdiv(self.max_length, block))
            kernel[grid](*tensors, *strides, *self.scalars, **self.constants)


def _strides(tensor: Tensor) -> tuple[int, int, int]:
    """Strides of batch, head and row; packed rows are [N, H, width], of batch stride 0."""
    if tensor.ndim == 4:
        return tensor.stride(0), tensor.stride(1), tensor.stride(2)
    return 0, tensor.stride(1), tensor.stride(0)


def _lse_strides(lse: Tensor) -> tuple[int, int]:
    """Strides of batch and head of [B, H, T], or of [H, N] for packed rows."""
    return (lse.stride(0), lse.stride(1)) if lse.ndim == 3 else (0, lse.stride(0))


def _empty_outputs(q: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    rows = q.shape[:-1] if q.ndim == 4 else (q.shape[1], q.shape[0])
    return torch.empty_like(v, memory_format=torch.contiguous_format), q.new_empty(rows, dtype=torch.float32)


def _empty_gradients(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    dq, dk, dv = (torch.empty_like(x, memory_format=torch.contiguous_format) for x in (q, k, v))
    return dq, dk, dv
