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
from attnrec.attention.discovery import (
    Variant,
    attention_names,
    find_attention,
    is_of_this_program,
    operator_of_source,
    variant_file,
    variants,
)
from attnrec.attention.operator import AttentionOperator, masked_softmax, register_attention
from attnrec.attention.packing import Packing, SequenceContext
from attnrec.attention.spec import (
    OperatorSpec,
    build_attention,
    operator_options,
    option_type,
    parse_attention,
    parse_blocks,
    resolved_options,
)

__all__ = [
    "AttentionOperator",
    "OperatorSpec",
    "Packing",
    "SequenceContext",
    "Variant",
    "attention_names",
    "build_attention",
    "find_attention",
    "is_of_this_program",
    "masked_softmax",
    "operator_of_source",
    "operator_options",
    "option_type",
    "parse_attention",
    "parse_blocks",
    "register_attention",
    "resolved_options",
    "variant_file",
    "variants",
]
