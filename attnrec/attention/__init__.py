"""Attention operators: the interface, the registry and the built-in variants, one file each."""

from attnrec.attention import (  # noqa: F401  (they register themselves)
    alibi,
    awr,
    differential,
    entmax,
    hstu,
    linear,
    rotary,
    sdpa,
    talking_heads,
    ti,
    triton,
)
from attnrec.attention.component import Component, Sublayer
from attnrec.attention.operator import (
    ATTENTION,
    AttentionOperator,
    build_attention,
    masked_softmax,
    register_attention,
)
from attnrec.attention.packing import Packing, SequenceContext

__all__ = [
    "ATTENTION",
    "AttentionOperator",
    "Component",
    "Packing",
    "SequenceContext",
    "Sublayer",
    "build_attention",
    "masked_softmax",
    "register_attention",
]
