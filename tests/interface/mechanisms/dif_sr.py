"""DIF-SR: Xie, Zhou & Kim, "Decoupled Side Information Fusion" (SIGIR 2022), equation 8."""

import torch
from einops import rearrange
from torch import nn

from attnrec.attention import build_attention
from attnrec.mixers import AttentionMixer, StackedLinear


class DecoupledSideInformation(AttentionMixer):
    """Scores add up over items and features, each with its own projections; values come only from items."""

    needs_features = True
    paper = "Xie, Zhou & Kim, Decoupled Side Information Fusion for Sequential Recommendation, SIGIR 2022"

    def __init__(self, shape):
        super().__init__(shape)
        d, parts = shape.dim, 1 + len(shape.features)
        self.tables = nn.ModuleDict({name: nn.Embedding(n + 1, d, padding_idx=0) for name, n in shape.features.items()})
        self.maps = nn.ModuleDict({name: StackedLinear(d, d, 2) for name in shape.features})
        self.scale = parts**0.5  # the operator divides by the root of the total width, not of one part's
        self.operator = build_attention("sdpa", shape.heads, parts * d // shape.heads, shape.max_len, shape.dropout)

    def forward(self, x, source, packing):
        q, k, v = self.project(x, source)
        queries, keys = [q], [k]
        for name, table in self.tables.items():
            both = self.maps[name](table(packing.features[name]).sum(-2))
            of_q, of_k = rearrange(both, "n (two h d) -> two n h d", two=2, h=self.shape.heads)
            queries.append(of_q)
            keys.append(of_k)
        mixed = self.operator.forward_packed(torch.cat(queries, -1) * self.scale, torch.cat(keys, -1), v, packing)
        return self.output(mixed.flatten(1), x)
