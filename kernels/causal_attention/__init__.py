"""Fused causal attention for histories of different lengths: validation, dispatch, autograd.

    from attnrec.kernels import causal_attention
    out = causal_attention(q, k, v, lengths)

The kernels are in `triton.py`, the same in plain torch in `reference.py`.
"""

from __future__ import annotations

from attnrec.kernels.causal_attention.ops import causal_attention, packed_causal_attention
from attnrec.kernels.causal_attention.reference import causal_attention_reference

__all__ = ["causal_attention", "causal_attention_reference", "packed_causal_attention"]
