"""Attention operators: the interface, the registry and the built-in variants, one file each."""

from attnrec.attention import awr, sdpa, triton  # noqa: F401  (they register themselves)
from attnrec.attention.operator import (
    AttentionOperator,
    OperatorSpec,
    attention_names,
    build_attention,
    find_attention,
    operator_options,
    parse_attention,
    parse_blocks,
    register_attention,
    resolved_options,
)
from attnrec.attention.packing import Packing, SequenceContext

__all__ = [
    "AttentionOperator",
    "OperatorSpec",
    "Packing",
    "SequenceContext",
    "attention_names",
    "build_attention",
    "find_attention",
    "operator_options",
    "parse_attention",
    "parse_blocks",
    "register_attention",
    "resolved_options",
]
