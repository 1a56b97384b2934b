r"""A mixer of one's own: the projections around an attention operator, with a learned gate on what comes out.

    y = (sigmoid(X W_g) * attention(X W_q, X W_k, X W_v)) W_o

A mixer replaces the whole sub-layer and sees its input. Change the mathematics, then:

    NEXT_STEPS
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from attnrec.core.spec import Spec
from attnrec.mixers import AttentionMixer, MixerShape


class StarterMixer(AttentionMixer):
    """Attention whose output passes a gate made of the sub-layer's input.

    Args:
        operator: the attention operator inside.
        start: where the gate begins, between 0 (shut) and 1.
    """

    paper = ""  # whose idea it is, in a line; `attnrec variants` shows it

    # The trunk gives the shape. What stands after * are the mixer's options on the command line: each needs a type and
    # a default.
    def __init__(self, shape: MixerShape, *, operator: Spec = Spec("sdpa"), start: float = 0.5) -> None:
        super().__init__(shape, operator=operator)
        if not 0 < start < 1:
            raise ValueError(f"start={start:g} must be between 0 and 1")
        self.gate = nn.Linear(shape.dim, shape.dim)
        nn.init.constant_(self.gate.bias, torch.logit(torch.tensor(start)).item())

    # Queries, keys and values are made by project(x, source), the heads are put together by output(mixed, x); override
    # either. A mixer without projections and operator is a `Mixer` (attnrec.mixers) with a forward of its own.
    def output(self, mixed: Tensor, x: Tensor) -> Tensor:
        """What the residual adds, [N, dim], of the heads side by side [N, dim] and the sub-layer's input x [N, dim]."""
        return super().output(mixed * self.gate(x).sigmoid(), x)
