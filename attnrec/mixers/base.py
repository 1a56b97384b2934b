"""The interface of mixers: what replaces a whole sub-layer, from its input to what the residual adds.

Shape legend: N real items in the batch, d model width, H heads, T slots.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from attnrec.attention.component import Sublayer
from attnrec.attention.packing import Packing


@dataclass(frozen=True)
class MixerShape:
    """What a mixer is built for.

    Attributes:
        dim: d, width of its input and output.
        heads: H, for mixers that have heads; divides ``dim``.
        max_len: the number of slots; slot ``max_len - 1`` holds the last item of a history.
        dropout: probability of dropping an attention weight in training.
        bias: whether projections have biases.
        project_output: whether there is an output projection; False with the layer order of SASRec's authors.
        features: number of values of each item feature, by name; empty if there are no features.
    """

    dim: int
    heads: int = 1
    max_len: int = 50
    dropout: float = 0.0
    bias: bool = True
    project_output: bool = True
    features: Mapping[str, int] = field(default_factory=dict)


class Mixer(Sublayer, ABC):
    """Mixes a sequence's rows; norms, residual and dropout of its output belong to the block around it.

    A mixer defines `forward`. Its own options are keyword-only arguments of ``__init__``, with a type and a default.
    The trunk initialises its linear maps and embeddings (Glorot, biases zero); other parameters keep the values that
    the mixer gives them.
    """

    has_weights = False

    def __init__(self, shape: MixerShape) -> None:
        super().__init__()
        self.shape = shape

    @abstractmethod
    def forward(self, x: Tensor, source: Tensor, packing: Packing) -> Tensor:
        """What the residual adds.

        Args:
            x: [N, d], the rows of all histories one after another. Queries are made from it.
            source: [N, d], what keys and values are made from: ``x`` itself, or with the layer order of SASRec's
                authors (``norm='original'``) ``x`` before LayerNorm.
            packing: which rows belong to a history, and their slots; `pad` and `pack` go to [B, H, T, D] and back.

        Returns:
            [N, d]; row t may only depend on rows of its own history up to t.
        """

    def named_weights(self, x: Tensor, source: Tensor, packing: Packing) -> dict[str, Tensor]:
        """Weight matrices worth a look, by name, each [B, H, T, T], for a packing of one group.

        Raises NotImplementedError if the mixer has none (``has_weights`` is False).
        """
        raise NotImplementedError(f"{type(self).__name__} has no attention weights")

    def last_matrices(self) -> list[Tensor]:
        """The matrices that the trunk sets to zero at the start with ``zero_init``, so that a block adds nothing."""
        return []
