"""Tile sizes: a small table for the shapes of sequential recommendation.

Chosen so that no configuration for widths up to 64 spills registers on sm_80 and sm_90, and all fit into shared
memory. `tests/kernels/test_compile.py` checks this.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

WIDTHS = (16, 32, 64, 128)
"""Padded widths of queries, keys and values that the kernels are compiled for."""

BY_KEYS = ("dk_dv", "first_pass_dk_dv", "dw")
"""Kernels in which each program handles a tile of keys; in the others it handles a tile of queries."""


@dataclass(frozen=True)
class Tiles:
    """Rows of a tile of queries and of keys, and how a program is launched."""

    block_m: int
    block_n: int
    num_warps: int
    num_stages: int

    def rows(self, kernel: str) -> int:
        """Rows that one program of ``kernel`` handles."""
        return self.block_n if kernel in BY_KEYS else self.block_m

    def constants(self) -> dict[str, int]:
        """The tiles as compile-time arguments of a kernel."""
        return {
            "BLOCK_M": self.block_m,
            "BLOCK_N": self.block_n,
            "num_warps": self.num_warps,
            "num_stages": self.num_stages,
        }


def padded_width(width: int) -> int:
    """The next of `WIDTHS`; ValueError beyond the last."""
    for padded in WIDTHS:
        if width <= padded:
            return padded
    raise ValueError(f"width {width} is above {WIDTHS[-1]}")


def choose_tiles(kernel: str, length: int, width: int, dtype: torch.dtype, precision: str) -> Tiles:
    """Tiles of ``kernel`` for sequences of up to ``length`` and the widest padded ``width`` of its tensors."""
    if kernel.startswith("first_pass") or kernel == "dw":
        return _refinement_tiles(kernel, length, width, dtype, precision)
    if dtype == torch.float32:
        return _float32_tiles(kernel, width)
    if width > 64:
        return Tiles(64, 32, 4, 2) if kernel == "forward" else Tiles(32, 32, 4, 2)
    if length <= 32:
        return Tiles(32, 32, 4, 2)
    if kernel == "forward" and length > 64:
        return Tiles(128, 64, 8, 3)
    return Tiles(32, 64, 4, 2) if kernel == "dk_dv" and width == 64 else Tiles(64, 32, 4, 2)


def _float32_tiles(kernel: str, width: int) -> Tiles:
    if width > 64:
        return Tiles(16, 16, 4, 1)
    if kernel == "dk_dv":
        return Tiles(32, 32, 8 if width == 64 else 4, 1)
    return Tiles(16 if kernel == "dq" and width == 64 else 32, 32, 4, 2)


def _refinement_tiles(kernel: str, length: int, width: int, dtype: torch.dtype, precision: str) -> Tiles:
    """Smaller tiles than for causal attention, as more tensors are in use at a time; smallest for dk and dv."""
    by_keys = kernel == "first_pass_dk_dv"
    if dtype == torch.float32:
        if by_keys and width == 64:
            return Tiles(16, 32, 8 if precision == "tf32x3" else 4, 1)
        return Tiles(16, 16, 4, 1) if by_keys or width > 32 else Tiles(16, 32, 4, 1)
    if width > 64:
        return Tiles(32, 32, 4, 1)
    if kernel == "dw" and length <= 32:
        return Tiles(16, 32, 4, 2)
    if length <= 32 or (kernel == "first_pass" and width == 64):
        return Tiles(32, 32, 4, 2)
    return Tiles(32, 64, 4, 2) if by_keys and width == 64 else Tiles(64, 32, 4, 2)
