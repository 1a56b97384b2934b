"""What happens before a kernel runs: checks of arguments, padding of widths, strides and compile-time constants."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
import triton
from torch import Tensor

from attnrec.kernels.shared.tiles import WIDTHS, Tiles, choose_tiles, padded_width
from attnrec.kernels.shared.triton import INTERPRETED, dropout_threshold

_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
_PRECISIONS = {"highest": "ieee", "high": "tf32", "medium": "tf32"}


def require_device(device: torch.device) -> None:
    """RuntimeError that says what to use instead, unless the kernels can run on ``device``."""
    if device.type != "cuda" and not INTERPRETED:
        raise RuntimeError(
            f"the Triton kernels need an NVIDIA GPU, but the tensors are on {device.type}; "
            "use scaled_dot_product_attention (the variant sdpa) there, or TRITON_INTERPRET=1 to study the kernels"
        )


# -- checks ------------------------------------------------------------------------------------------------


def under_autocast(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors in the type that autocast asks for on their device, if it is on."""
    kind = tensors[0].device.type
    if torch.is_autocast_enabled(kind):
        return tuple(x.to(torch.get_autocast_dtype(kind)) for x in tensors)
    return tensors


def check_inputs(q: Tensor, k: Tensor, v: Tensor, axes: int) -> None:
    """ValueError or TypeError unless q, k [..., D] and v [..., E] with ``axes`` axes suit the kernels."""
    shapes = f"q {list(q.shape)}, k {list(k.shape)}, v {list(v.shape)}"
    if not q.ndim == k.ndim == v.ndim == axes:
        raise ValueError(f"q, k and v must have {axes} axes: {shapes}")
    if q.shape != k.shape or q.shape[:-1] != v.shape[:-1]:
        raise ValueError(f"q and k must have the same shape, and v the same except for its last axis: {shapes}")
    if not (q.dtype == k.dtype == v.dtype and q.dtype in _DTYPES):
        raise TypeError(f"q, k and v must all be float32, float16 or bfloat16: {q.dtype}, {k.dtype}, {v.dtype}")
    if not q.device == k.device == v.device:
        raise ValueError(f"q, k and v must be on the same device: {q.device}, {k.device}, {v.device}")
    for name, tensor in (("q", q), ("k", k), ("v", v)):
        check_width(name, tensor)
    require_device(q.device)


def check_width(name: str, tensor: Tensor) -> None:
    """ValueError unless the kernels support the width of the last axis."""
    if not 1 <= tensor.shape[-1] <= WIDTHS[-1]:
        raise ValueError(f"the width of {name} must be 1 to {WIDTHS[-1]}, not {tensor.shape[-1]}")


def padded_rows(q: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor, int]:
    """First slot and length of each sequence of q [B, H, T, D], both int32 [B], and T; ValueError for bad lengths."""
    batch, _, width, _ = q.shape
    if lengths is None:
        lengths = torch.full((batch,), width, dtype=torch.int32, device=q.device)
    elif lengths.shape != (batch,) or lengths.is_floating_point() or lengths.device != q.device:
        raise ValueError(f"lengths must be whole numbers of shape [{batch}] on {q.device}")
    lengths = lengths.to(torch.int32)
    return width - lengths, lengths, width


def packed_rows(q: Tensor, starts: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """First row and length of each sequence of q [N, H, D], both int32 [B]; ValueError for bad starts or lengths."""
    for name, tensor in (("starts", starts), ("lengths", lengths)):
        if tensor.ndim != 1 or tensor.is_floating_point() or tensor.device != q.device:
            raise ValueError(f"{name} must be whole numbers of shape [B] on {q.device}")
    return starts.to(torch.int32), lengths.to(torch.int32)


def check_scalars(
    dim: int, scale: float | None, dropout_p: float, seed: int | None, precision: str | None
) -> tuple[float, float, int, str]:
    """Scale, dropout, seed and precision with their defaults filled in; ValueError for one out of range."""
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
        seed = int(torch.randint(2**31 - 2, ())) if dropout_p > 0 else 0
    return scale, dropout_p, seed, precision


def widened(x: Tensor) -> Tensor:
    """Pad with columns of zeros to a width that the kernels support; this changes no product."""
    missing = padded_width(x.shape[-1]) - x.shape[-1]
    if missing:
        return F.pad(x, (0, missing))
    return x if x.stride(-1) == 1 else x.contiguous()


# -- launching ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Call:
    """What all kernels of one call have in common; q is padded [B, H, T, D] or packed [N, H, D]."""

    q: Tensor
    starts: Tensor
    lengths: Tensor
    max_length: int
    scale: float
    dropout_p: float
    seed: int
    precision: str

    def launch(
        self,
        kernel: Any,
        name: str,
        tensors: tuple[Tensor, ...],
        inputs: tuple[Tensor, ...],
        *scalars: float,
        columns: int | None = None,
        **constants: Any,
    ) -> None:
        """Run ``kernel`` with a program for each sequence, head and tile of rows.

        Args:
            kernel: takes ``tensors``, starts and lengths, strides of ``inputs`` and of rows, heads, scale, seed,
                dropout, and ``scalars``.
            name: for `choose_tiles`.
            tensors: in the order of the kernel's pointers.
            inputs: those of them that have their own strides.
            columns: columns of the grid, by default one for each sequence and head.
            constants: compile-time arguments other than tiles, dropout and precision; including the widths.
        """
        heads = self.q.shape[1]
        if not (self.max_length and heads and len(self.lengths)):
            return
        tiles = self.tiles(name, **constants)
        dropped, rescale = dropout_threshold(self.dropout_p)
        grid = (columns or len(self.lengths) * heads, triton.cdiv(self.max_length, tiles.rows(name)))
        with torch.cuda.device_of(self.q):
            kernel[grid](
                *tensors, self.starts, self.lengths,
                *(stride for x in inputs for stride in input_strides(x)), *row_strides(self.q),
                heads, self.scale, self.seed, dropped, rescale, *scalars,
                **constants, **tiles.constants(),
                PADDED=self.q.ndim == 4, DROPOUT=dropped > 0, PRECISION=self.precision,
                # the interpreter computes on the raw bits of bfloat16
                UPCAST=INTERPRETED and self.q.dtype == torch.bfloat16,
            )  # fmt: skip

    def tiles(self, name: str, **constants: Any) -> Tiles:
        """Tile sizes of a kernel whose tensors have the widths among ``constants``."""
        widest = max(value for value in constants.values() if not isinstance(value, bool))
        return choose_tiles(name, self.max_length, widest, self.q.dtype, self.precision)


def input_strides(x: Tensor) -> tuple[int, int, int]:
    """Strides of batch, head and row; packed rows [N, H, width] have batch stride 0."""
    if x.ndim == 4:
        return x.stride(0), x.stride(1), x.stride(2)
    return 0, x.stride(1), x.stride(0)


def row_strides(x: Tensor) -> tuple[int, int, int]:
    """Strides of batch, head and row in a contiguous tensor with the rows of x, counted in rows."""
    if x.ndim == 4:
        return x.shape[1] * x.shape[2], x.shape[2], 1
    return 0, 1, x.shape[1]
