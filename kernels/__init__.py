"""GPU kernels, which need only torch and triton. Import this package as ``attnrec.kernels``."""

if __name__ != "attnrec.kernels":
    raise ImportError("import this package as attnrec.kernels")

from attnrec.kernels.awr_attention import awr_attention, packed_awr_attention
from attnrec.kernels.causal_attention import causal_attention, packed_causal_attention

__all__ = ["awr_attention", "causal_attention", "packed_awr_attention", "packed_causal_attention"]
