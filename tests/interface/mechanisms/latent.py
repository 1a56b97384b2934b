"""Multi-head latent attention: DeepSeek-AI, "DeepSeek-V2" (2024), equations 9 to 11, without the rotary part."""

from einops import rearrange
from torch import nn

from attnrec.mixers import AttentionMixer, StackedLinear


class Latent(AttentionMixer):
    """Keys and values are projections of one narrow vector per item."""

    paper = "DeepSeek-AI, DeepSeek-V2, arXiv 2405.04434"

    def __init__(self, shape, *, rank: int = 16):
        super().__init__(shape)
        self.qkv = nn.Linear(shape.dim, shape.dim, bias=shape.bias)
        self.down = nn.Linear(shape.dim, rank, bias=False)
        self.up = StackedLinear(rank, shape.dim, 2, bias=False)

    def project(self, x, source):
        q = rearrange(self.qkv(x), "n (h d) -> n h d", h=self.shape.heads)
        k, v = rearrange(self.up(self.down(source)), "n (two h d) -> two n h d", two=2, h=self.shape.heads)
        return q, k, v
