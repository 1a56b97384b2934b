"""Tile sizes: a small table for the shapes of this field.

Chosen so that no configuration for widths up to 64 spills registers on sm_80 and sm_90 and all fit into shared
memory, which `tests/kernels/test_compile.py` checks.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

WIDTHS = (16, 32, 64, 128)
"""Padded widths of queries, keys and values that the kernels are compiled for."""


@dataclass(frozen=True)
class Tiles:
    """Rows of a tile of queries and of keys, and how a program is launched."""

    block_m: int
    block_n: int
    num_warps: int
    num_stages: int


def padded_width(width: int) -> int:
    """The next of `WIDTHS`; ValueError beyond the last."""
    for padded in WIDTHS:
        if width <= padded:
            return padded
    raise ValueError(f"width {width} is above {WIDTHS[-1]}")


def choose_tiles(kernel: str, length: int, width: int, dtype: torch.dtype) -> Tiles:
    """Tiles of ``kernel`` (forward, dq or dk_dv) for sequences of up to ``length`` and padded width ``width``."""
    if dtype == torch.float32:
        if width > 64:
            return Tiles(16, 16, 4, 1)
        if kernel == "forward":
            return Tiles(32, 32, 4, 2)
        return Tiles(16, 32, 4, 2 if kernel == "dq" else 1)
    if width > 64:
        return Tiles(64, 32, 4, 2) if kernel == "forward" else Tiles(32, 32, 4, 2)
    if length <= 32:
        return Tiles(32, 32, 4, 2)
    if kernel == "forward" and length > 64:
        return Tiles(128, 64, 8, 3)
    return Tiles(64, 32, 4, 2)
