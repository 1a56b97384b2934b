"""Times of interactions, for the variants that use them."""

from __future__ import annotations

from torch import Tensor

from attnrec.attention.packing import SequenceContext
from attnrec.core.errors import InputError
from attnrec.core.options import named


def timestamps_for(variant: str, ctx: SequenceContext) -> Tensor:
    """Timestamps float64 [B, T], 0 at padding; InputError naming ``variant`` if the batch has none."""
    if ctx.timestamps is None:
        raise InputError(f"{named('attention', variant)} needs timestamps, and the batch has none")
    return ctx.timestamps.masked_fill(~ctx.real(), 0.0)


def elapsed(times: Tensor) -> Tensor:
    """Time between slot i (row) and slot j (column), float64 [B, T, T] for times [B, T].

    In float64, because float32 cannot tell nearby Unix times apart.
    """
    return (times[:, :, None] - times[:, None, :]).abs()
