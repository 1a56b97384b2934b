"""The interface of attention operators, and the registry of their names.

Shape legend: B sequences, H heads, T slots (columns) of the batch, D width of a head's queries and keys,
Dv width of its values, N real items in the batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor

from attnrec.attention.component import Sublayer
from attnrec.attention.packing import Packing, SequenceContext, pack, pad
from attnrec.core.errors import InputError
from attnrec.core.registry import Registry
from attnrec.core.spec import Spec


class AttentionOperator(Sublayer, ABC):
    """Mixes values along a sequence; projections, residuals and norms belong to the block around it.

    A variant defines `forward`, and `weights` if it has a weights matrix. Its options are keyword-only
    arguments of ``__init__`` with a type and a default; ``attention='name:option=value'`` sets them.

    Args:
        num_heads: H.
        head_dim: D.
        max_len: the number of slots; slot ``max_len - 1`` holds the last item of a history.
        dropout: probability of dropping an attention weight in training.
    """

    weights_sum_to_one: bool = True
    """Whether each row of ``weights`` that belongs to an item sums to one."""
    weights_give_output: bool = True
    """Whether ``weights(q, k, ctx) @ v`` is the output, without dropout."""
    takes_any_value_width: bool = False
    """Whether the width Dv of values may differ from the width D of queries and keys; the trunk gives Dv = D."""

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
            v: [B, H, T, Dv]; Dv is D unless ``takes_any_value_width``.
            ctx: which slots are real, and what is known about them.

        Returns:
            [B, H, T, Dv]; zero in the slots that hold no item.
        """

    def weights(self, q: Tensor, k: Tensor, ctx: SequenceContext) -> Tensor:
        """The attention weights [B, H, T, T] without dropout, zero at padding, for plots and tests.

        Raises NotImplementedError if the variant has none (``has_weights`` is False).
        """
        raise NotImplementedError(f"{type(self).__name__} has no attention weights")

    def named_weights(self, q: Tensor, k: Tensor, ctx: SequenceContext) -> dict[str, Tensor]:
        """All weight matrices worth a look, by name, each [B, H, T, T]; only ``weights`` unless a variant has more.

        Raises NotImplementedError if the variant has none.
        """
        return {"weights": self.weights(q, k, ctx)}

    def forward_packed(self, q: Tensor, k: Tensor, v: Tensor, packing: Packing) -> Tensor:
        """Mix values given without padding; this is what the trunk calls.

        The default pads each group of similar lengths and calls `forward`. Override it if the
        operator can work on packed rows directly; the result must be the same.

        Args:
            q, k: [N, H, D].
            v: [N, H, Dv].
            packing: where each row belongs.

        Returns:
            [N, H, Dv].

        Raises:
            InputError: `forward` returned something with another shape.
        """
        mixed = []
        for group in packing.groups:
            padded = [pad(x[group.rows], group) for x in (q, k, v)]
            out = self(*padded, group.ctx)
            if not isinstance(out, Tensor) or out.shape != padded[2].shape:
                found = list(out.shape) if isinstance(out, Tensor) else type(out).__name__
                raise InputError(
                    f"{type(self).__name__}.forward returned {found}, not {list(padded[2].shape)}; see `attnrec check`"
                )
            mixed.append(pack(out, group))
        return mixed[0] if len(mixed) == 1 else torch.cat(mixed)

    def extra_repr(self) -> str:
        return f"num_heads={self.num_heads}, head_dim={self.head_dim}, dropout={self.dropout}"


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the last axis where ``mask`` is True and 0 elsewhere; a row without any True is all 0."""
    # a finite sentinel, because with -inf a row without any True would be NaN
    lowest = torch.finfo(scores.dtype).min
    return scores.masked_fill(~mask, lowest).softmax(dim=-1).masked_fill(~mask, 0.0)


ATTENTION: Registry[Sublayer] = Registry(
    "attention",
    "attention variant",
    Sublayer,
    "AttentionOperator (attnrec.attention) or Mixer (attnrec.mixers)",
)
"""The names that ``attention`` accepts."""
register_attention = ATTENTION.register


def build_attention(
    spec: Spec | str,
    num_heads: int,
    head_dim: int,
    max_len: int,
    dropout: float,
    features: Mapping[str, int] | None = None,
) -> AttentionOperator:
    """Build the operator that ``spec`` names; ``features`` maps each item feature to its number of values.

    Raises InputError for an unknown operator or option, or a value of the wrong type or that the operator rejects.
    """
    if isinstance(spec, str):
        spec = Spec.parse(spec)
    cls = ATTENTION.find(spec.name)
    if not issubclass(cls, AttentionOperator):
        raise InputError(f"{spec} is a mixer; this needs an attention operator")
    shared = num_heads, head_dim, max_len, dropout
    further = {"features": dict(features or {})} if cls.needs_features else {}
    built = ATTENTION.build(spec, *shared, called_with="(num_heads, head_dim, max_len, dropout)", **further)
    assert isinstance(built, AttentionOperator)
    return built
