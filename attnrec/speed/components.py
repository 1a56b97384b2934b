"""The operators and mixers of a benchmark: built by name, and how large they are."""

from __future__ import annotations

import torch

from attnrec.attention import ATTENTION, AttentionOperator, build_attention
from attnrec.core.errors import InputError
from attnrec.core.spec import Spec
from attnrec.mixers import Mixer, MixerShape, build_mixer
from attnrec.speed.competitors import is_competitor
from attnrec.speed.plan import BenchmarkPlan

FEATURES = {"feature": 10}
"""What variants are given that ask for features: their names and numbers of values."""


def check_names(plan: BenchmarkPlan) -> dict[str, int]:
    """InputError for an unknown operator, competitor or option; whether it can run is found out by running it.

    Returns the bytes of each one's parameters at the largest size.
    """
    n, d = max(plan.seq_lens), max(plan.dims)
    return {name: 0 if is_competitor(name) else _parameter_bytes(plan, name, n, d) for name in plan.attention}


def _parameter_bytes(plan: BenchmarkPlan, name: str, n: int, d: int) -> int:
    try:
        with torch.device("meta"):  # where nothing is allocated
            part = component(plan, name, n, d)
    except InputError:  # of its own, or because it looks at values, which are not there
        part = component(plan, name, n, d)
    return sum(parameter.nbytes for parameter in part.parameters())


def component(plan: BenchmarkPlan, name: str, n: int, d: int) -> AttentionOperator | Mixer:
    """A new operator or mixer for histories of ``n`` and heads of width ``d``; InputError where it cannot be built."""
    spec = Spec.parse(name)
    if issubclass(ATTENTION.find(spec.name), Mixer):
        return build_mixer(spec, MixerShape(plan.heads * d, plan.heads, n, features=FEATURES))
    return build_attention(spec, plan.heads, d, n, 0.0, FEATURES)
