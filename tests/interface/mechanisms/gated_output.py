"""Gated attention: Qiu et al., "Gated Attention for Large Language Models" (NeurIPS 2025), the gate after attention."""

import torch
from torch import nn

from attnrec.core.spec import Spec
from attnrec.mixers import AttentionMixer


class GatedOutput(AttentionMixer):
    """W_O (sigmoid(W_g x) * heads), around any operator."""

    paper = "Qiu et al., Gated Attention for Large Language Models, NeurIPS 2025"

    def __init__(self, shape, *, operator: Spec = Spec("sdpa")):
        super().__init__(shape, operator=operator)
        self.gate = nn.Linear(shape.dim, shape.dim)

    def output(self, mixed, x):
        return super().output(mixed * torch.sigmoid(self.gate(x)), x)
