"""Grouped queries: Ainslie et al., "GQA" (EMNLP 2023): heads share the keys and values of their group."""

from einops import rearrange
from torch import nn

from attnrec.mixers import AttentionMixer


class GroupedQueries(AttentionMixer):
    """The heads form ``groups`` groups; each group shares one key and one value per item."""

    paper = "Ainslie et al., GQA: Training Generalized Multi-Query Transformer Models, EMNLP 2023"

    def __init__(self, shape, *, groups: int = 1):
        super().__init__(shape)
        if shape.heads % groups:
            raise ValueError(f"groups={groups} does not divide {shape.heads} heads")
        self.groups = groups
        self.qkv = nn.Linear(shape.dim, shape.dim, bias=shape.bias)
        self.kv = nn.Linear(shape.dim, 2 * groups * shape.dim // shape.heads, bias=shape.bias)

    def project(self, x, source):
        q = rearrange(self.qkv(x), "n (h d) -> n h d", h=self.shape.heads)
        k, v = rearrange(self.kv(source), "n (two g d) -> two n g d", two=2, g=self.groups)
        each = self.shape.heads // self.groups
        return q, k.repeat_interleave(each, 1), v.repeat_interleave(each, 1)
