r"""Your own mixer: the projections around an attention operator, with a learned gate on the result.

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
    """Attention with a gate on its output, computed from the sub-layer's input.

    Args:
        operator: the attention operator inside.
        start: initial value of the gate, between 0 (closed) and 1 (open).
    """

    paper = ""  # the paper that the idea comes from, in one line; `attnrec variants` shows it

    # The trunk passes the shape. Arguments after * are the mixer's options on the command line: each needs a type and a
    # default.
    def __init__(self, shape: MixerShape, *, operator: Spec = Spec("sdpa"), start: float = 0.5) -> None:
        super().__init__(shape, operator=operator)
        if not 0 < start < 1:
            raise ValueError(f"start={start:g} must be between 0 and 1")
        self.gate = nn.Linear(shape.dim, shape.dim)
        nn.init.constant_(self.gate.bias, torch.logit(torch.tensor(start)).item())

    # project(x, source) makes queries, keys and values; output(mixed, x) joins the heads. Override either. For a mixer
    # without projections or an operator, derive from `Mixer` (attnrec.mixers) and write your own forward.
    def output(self, mixed: Tensor, x: Tensor) -> Tensor:
        """What the residual adds, [N, dim], from the joined heads [N, dim] and the sub-layer's input x [N, dim]."""
        return super().output(mixed * self.gate(x).sigmoid(), x)
