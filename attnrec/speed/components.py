"""Builds the operators and mixers of a benchmark by name, and computes their size."""

from __future__ import annotations

import torch

from attnrec.attention import ATTENTION, AttentionOperator, build_attention
from attnrec.core.errors import InputError
from attnrec.core.spec import Spec
from attnrec.mixers import Mixer, MixerShape, build_mixer
from attnrec.speed.competitors import is_competitor
from attnrec.speed.plan import BenchmarkPlan

FEATURES = {"feature": 10}
"""The features that variants get if they need any: names and numbers of values."""


def check_names(plan: BenchmarkPlan) -> dict[str, int]:
    """The bytes of each operator's parameters at the largest size.

    Raises InputError for an unknown operator, competitor or option. Whether it can run is only found out by running it.
    """
    n, d = max(plan.seq_lens), max(plan.dims)
    return {name: 0 if is_competitor(name) else _parameter_bytes(plan, name, n, d) for name in plan.attention}


def _parameter_bytes(plan: BenchmarkPlan, name: str, n: int, d: int) -> int:
    try:
        with torch.device("meta"):  # allocates nothing
            part = component(plan, name, n, d)
    except InputError:  # a real error comes again; a constructor that looks at values only fails on the meta device
        part = component(plan, name, n, d)
    return sum(parameter.nbytes for parameter in part.parameters())


def component(plan: BenchmarkPlan, name: str, n: int, d: int) -> AttentionOperator | Mixer:
    """A new operator or mixer for histories of ``n`` and heads of width ``d``; InputError if it cannot be built."""
    spec = Spec.parse(name)
    if issubclass(ATTENTION.find(spec.name), Mixer):
        return build_mixer(spec, MixerShape(plan.heads * d, plan.heads, n, features=FEATURES))
    return build_attention(spec, plan.heads, d, n, 0.0, FEATURES)
