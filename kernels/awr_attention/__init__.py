"""Fused attention weight refinement for histories of different lengths: validation, dispatch, autograd.

    from attnrec.kernels import awr_attention
    out = awr_attention(q, k, v, w_q, w_k, lengths)

The kernels are in `triton.py`, the same in plain torch in `reference.py`; `attnrec.attention.awr` explains the
mathematics.
"""

from __future__ import annotations

from attnrec.kernels.awr_attention.ops import awr_attention, packed_awr_attention
from attnrec.kernels.awr_attention.reference import awr_attention_reference

__all__ = ["awr_attention", "awr_attention_reference", "packed_awr_attention"]
