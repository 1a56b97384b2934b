r"""Linear attention: weights that factor, so that sums over the history replace the T x T matrix.

Katharopoulos, Vyas, Pappas & Fleuret, "Transformers are RNNs: Fast Autoregressive Transformers with Linear Attention"
(ICML 2020, arXiv 2006.16236), equations 7 to 12:

    o_t = phi(q_t)^T S_t / (phi(q_t)^T z_t),   S_t = sum_{s <= t} phi(k_s) v_s^T,   z_t = sum_{s <= t} phi(k_s)

with phi(x) = elu(x) + 1, that is x + 1 above 0 and e^x below.

The sums are computed in chunks of C slots: a running sum gives S at the start of each chunk, and C x C products give
the part within the chunk. This is exact and takes T (C + d dv / C) memory per head. Sums are kept in float32 or wider.
e^x is computed directly, because elu(x) + 1 in float32 is exactly 0 below x = -17.

The operator never forms weights, so dropout of attention weights does nothing here.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from attnrec.attention.dense import without_padding
from attnrec.attention.operator import AttentionOperator, register_attention
from attnrec.attention.packing import SequenceContext


@register_attention("linear")
class LinearAttention(AttentionOperator):
    """Causal linear attention with the feature map elu + 1; no T x T matrix, and no dropout of weights.

    Args:
        chunk: C, slots per chunk; changes only time and memory.
    """

    paper = "Katharopoulos et al., Transformers are RNNs, ICML 2020"

    has_weights = False
    takes_any_value_width = True

    def __init__(self, num_heads: int, head_dim: int, max_len: int, dropout: float, *, chunk: int = 64) -> None:
        super().__init__(num_heads, head_dim, max_len, dropout)
        if chunk < 1:
            raise ValueError(f"chunk={chunk} must be 1 or more")
        self.chunk = chunk

    def forward(self, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
        padding = ~ctx.real()[:, None, :, None]
        kind = torch.promote_types(v.dtype, torch.float32)
        with torch.autocast(v.device.type, enabled=False):  # autocast would round the sums
            queries, keys, values = (x.to(kind) for x in without_padding(ctx, q, k, v))
            keys = positive_features(keys).masked_fill(padding, 0.0)
            # a column of ones beside the values gives the denominators
            sums = causal_sums(positive_features(queries), keys, F.pad(values, (0, 1), value=1.0), self.chunk)
            total, denominator = sums.split([v.shape[-1], 1], dim=-1)
            # a denominator is 0 at padding and where every feature has underflowed
            mixed = total / denominator.clamp_min(torch.finfo(kind).tiny)
            return mixed.masked_fill(padding, 0.0).to(v.dtype)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, chunk={self.chunk}"


def positive_features(x: Tensor) -> Tensor:
    """phi(x) = elu(x) + 1, accurate for negative x too."""
    return x.clamp(max=0).exp() + x.relu()


def causal_sums(q: Tensor, k: Tensor, v: Tensor, chunk: int) -> Tensor:
    """sum_{s <= t} (q_t . k_s) v_s for each t: q, k [B, H, T, D] and v [B, H, T, E] to [B, H, T, E]."""
    width = q.shape[2]
    chunk = min(chunk, width)
    q, k, v = (F.pad(x, (0, 0, 0, -width % chunk)).unflatten(2, (-1, chunk)) for x in (q, k, v))
    sums = (q @ k.transpose(-1, -2)).tril() @ v
    if chunk < width:
        states = k[:, :, :-1].transpose(-1, -2) @ v[:, :, :-1]
        sums = sums + q @ F.pad(states.cumsum(2), (0, 0, 0, 0, 1, 0))
    return sums.flatten(2, 3)[:, :, :width]
