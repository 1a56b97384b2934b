"""How a measured quantity grows: bytes kept for the backward pass, and exponents fitted to measurements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor


def kept_for_backward(compute: Callable[[], Any]) -> int:
    """Bytes that autograd keeps after ``compute``, each storage counted once."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        alive = compute()  # freed storages would be counted over
    del alive
    return sum(kept.values())


def fit_exponents(values: Sequence[float], *sizes: Sequence[float]) -> tuple[float, ...]:
    """Exponents a, b, ... of value = c * size_1^a * size_2^b * ..., by least squares on logarithms.

    Args:
        values: measured, above 0.
        sizes: one sequence for each size, as long as ``values``; each must take at least two values.

    Raises:
        ValueError: a size does not vary, so that its exponent is undefined.
    """
    if any(len(set(size)) < 2 for size in sizes):
        raise ValueError("an exponent needs at least two different sizes")
    design = np.log(np.array([*sizes], dtype=float)).T
    design = np.column_stack([design, np.ones(len(values))])
    found = np.linalg.lstsq(design, np.log(np.array(values, dtype=float)), rcond=None)[0]
    return tuple(float(exponent) for exponent in found[:-1])
