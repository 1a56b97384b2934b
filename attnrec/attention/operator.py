"""The interface of attention operators and the registry that finds them by name.

Shape legend: B sequences, H heads, T slots (columns) of the batch, D width of a head's queries and keys,
Dv width of its values, N real items of the batch.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar, get_args, get_origin

import torch
from torch import Tensor, nn

from attnrec.attention.packing import Packing, SequenceContext, pack, pad
from attnrec.errors import InputError, nearest

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


class AttentionOperator(nn.Module, ABC):
    """Mixes values along a sequence; projections, residuals and norms belong to the block around it.

    A variant defines `forward`, and `weights` if it has a weights matrix. Its options are keyword-only
    arguments of ``__init__`` with a type and a default; ``--attention name:option=value`` fills them.

    Args:
        num_heads: H.
        head_dim: D.
        max_len: the number of slots; slot ``max_len - 1`` holds the last item of a history.
        dropout: probability of dropping an attention weight in training.
    """

    has_weights: ClassVar[bool] = True
    """False for an operator that never forms a [T, T] matrix of weights, such as linear attention."""
    weights_sum_to_one: bool = True
    """Whether each row of ``weights`` that belongs to an item sums to one."""
    weights_give_output: bool = True
    """Whether ``weights(q, k, ctx) @ v`` is the output, without dropout."""
    needs_timestamps: ClassVar[bool] = False
    """Whether ``ctx.timestamps`` must be given."""

    def __init__(self, num_heads: int, head_dim: int, max_len: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = head_dim
        self.max_len = max_len
        self.dropout = dropout

    @abstractmethod
    def forward(self, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
        """Mix the values.

        Args:
            q, k: [B, H, T, D].
            v: [B, H, T, Dv].
            ctx: which slots are real, and what is known of them.

        Returns:
            [B, H, T, Dv]; zero in the slots that hold no item.
        """

    def weights(self, q: Tensor, k: Tensor, ctx: SequenceContext) -> Tensor:
        """The attention weights [B, H, T, T] without dropout, zero at padding, for plots and tests.

        Raises NotImplementedError where the variant has none (``has_weights`` is False).
        """
        raise NotImplementedError(f"{type(self).__name__} has no attention weights")

    def named_weights(self, q: Tensor, k: Tensor, ctx: SequenceContext) -> dict[str, Tensor]:
        """Every weights matrix worth a look, by name, each [B, H, T, T]; ``weights`` alone unless a variant has more.

        Raises NotImplementedError where the variant has none.
        """
        return {"weights": self.weights(q, k, ctx)}

    def check_device(self, device: torch.device) -> None:
        """Raise InputError, saying what to use instead, where the operator cannot run on ``device``."""

    def forward_packed(self, q: Tensor, k: Tensor, v: Tensor, packing: Packing) -> Tensor:
        """Mix values given without padding; this is what the trunk calls.

        The default pads each group of similar lengths and calls `forward`. Override it where an
        operator can work on packed rows directly; the result must be the same.

        Args:
            q, k: [N, H, D].
            v: [N, H, Dv].
            packing: where each row belongs.

        Returns:
            [N, H, Dv].
        """
        mixed = []
        for group in packing.groups:
            padded = [pad(x[group.rows], group) for x in (q, k, v)]
            mixed.append(pack(self(*padded, group.ctx), group))
        return mixed[0] if len(mixed) == 1 else torch.cat(mixed)

    def extra_repr(self) -> str:
        return f"num_heads={self.num_heads}, head_dim={self.head_dim}, dropout={self.dropout}"


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the last axis where ``mask`` is True and 0 elsewhere; a row without any True is all 0."""
    # a finite sentinel: such a row would be NaN with -inf
    lowest = torch.finfo(scores.dtype).min
    return scores.masked_fill(~mask, lowest).softmax(dim=-1).masked_fill(~mask, 0.0)


@dataclass(frozen=True)
class OperatorSpec:
    """A variant's name and the options given for it, as written ``name:option=value,option=value``."""

    name: str
    options: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return self.name + "".join(
            f"{':' if place == 0 else ','}{key}={value}" for place, (key, value) in enumerate(self.options)
        )


_registry: dict[str, type[AttentionOperator]] = {}
_Operator = TypeVar("_Operator", bound=AttentionOperator)


def register_attention(name: str) -> Callable[[type[_Operator]], type[_Operator]]:
    """Class decorator that makes an operator available under ``name``; a name taken is a ValueError."""

    def register(cls: type[_Operator]) -> type[_Operator]:
        if name in _registry:
            raise ValueError(f"the attention operator {name!r} is already registered by {_registry[name]}")
        _registry[name] = cls
        return cls

    return register


def attention_names() -> list[str]:
    """Names of the registered operators, sorted."""
    return sorted(_registry)


def find_attention(name: str) -> type[AttentionOperator]:
    """The operator class registered under ``name``; InputError with the nearest names otherwise."""
    if name not in _registry:
        raise InputError(f"unknown attention variant {name!r}{nearest(name, attention_names())}")
    return _registry[name]


def operator_options(cls: type[AttentionOperator]) -> dict[str, inspect.Parameter]:
    """An operator's own options: the keyword-only arguments of its constructor."""
    parameters = inspect.signature(cls, eval_str=True).parameters
    return {key: p for key, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}


def parse_attention(text: str) -> OperatorSpec:
    """Read ``name[:option=value,...]``; InputError where it is not of that form."""
    name, colon, rest = text.partition(":")
    if not name or (colon and not rest):
        raise InputError(f"--attention {text!r} is not of the form NAME[:option=value,...]")
    options = []
    for item in rest.split(",") if rest else []:
        key, equals, value = item.partition("=")
        if not (key and equals and value):
            raise InputError(f"--attention {text!r}: {item!r} is not of the form option=value")
        options.append((key, value))
    if len(dict(options)) < len(options):
        raise InputError(f"--attention {text!r} gives an option twice")
    return OperatorSpec(name, tuple(options))


def parse_blocks(text: str) -> tuple[OperatorSpec, ...]:
    """Read one operator for all blocks, or one for each joined by ``+``; InputError as `parse_attention`."""
    return tuple(parse_attention(part) for part in text.split("+"))


def build_attention(
    spec: OperatorSpec, num_heads: int, head_dim: int, max_len: int, dropout: float
) -> AttentionOperator:
    """Construct the operator that ``spec`` names; InputError for an unknown option or a value of the wrong type."""
    options = resolved_options(spec, defaults=False)
    try:
        return find_attention(spec.name)(num_heads, head_dim, max_len, dropout, **options)
    except ValueError as error:
        raise InputError(f"--attention {spec}: {error}") from error


def resolved_options(spec: OperatorSpec, *, defaults: bool = True) -> dict[str, Any]:
    """The options of ``spec`` as values, filled up with ``defaults`` or not; InputError as `build_attention`."""
    cls = find_attention(spec.name)
    known = operator_options(cls)
    options: dict[str, Any] = {key: parameter.default for key, parameter in known.items()} if defaults else {}
    for key, value in spec.options:
        if key not in known:
            hint = nearest(key, list(known)) if known else "; it has no options"
            raise InputError(f"attention variant {spec.name!r} has no option {key!r}{hint}")
        options[key] = _convert(spec.name, key, value, known[key].annotation)
    return options


def _convert(name: str, key: str, value: str, annotation: Any) -> Any:
    if annotation is bool:
        if value.lower() not in ("true", "false"):
            raise InputError(f"attention variant {name!r}: option {key}={value!r} is not true or false")
        return value.lower() == "true"
    if get_origin(annotation) is Literal:
        if value not in get_args(annotation):
            choices = ", ".join(get_args(annotation))
            raise InputError(f"attention variant {name!r}: {key}={value} is not one of {choices}")
        return value
    if annotation in (int, float):
        try:
            return annotation(value)
        except ValueError:
            kind = "a whole number" if annotation is int else "a number"
            raise InputError(f"attention variant {name!r}: option {key}={value!r} is not {kind}") from None
    return value
