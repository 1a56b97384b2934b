"""What operators, mixers and models have in common: what they need of the data and of the device."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn


class Component(nn.Module):
    """A part of a model that a researcher writes, and what it says of itself.

    A class, or an object in its constructor, declares what it needs; what nobody declares is not moved.
    """

    needs_timestamps: bool = False
    """Whether the data must have timestamps."""
    needs_features: bool = False
    """Whether the data must have item features; an operator's constructor then gets ``features`` by keyword, a dict of
    the number of values of each."""
    paper: ClassVar[str] = ""
    """Where the idea was published, as it would be cited in a line; shown by ``attnrec variants``."""

    def check_device(self, device: torch.device) -> None:
        """Raise InputError, saying what to use instead, where the component cannot run on ``device``."""

    def own_loss(self) -> Tensor | None:
        """A scalar to be added to the training loss, of the last forward pass in training mode; None for nothing."""
        return None


class Sublayer(Component):
    """A component that can be given as ``attention``: an operator or a mixer."""

    has_weights: bool = True
    """False for one that never forms a [T, T] matrix of weights, such as linear attention."""
    needs_items: bool = False
    """Whether item numbers are wanted: ``packing.items``, and for an operator ``ctx.items``."""
    needs_inputs: bool = False
    """Whether an operator wants the input of its sub-layer: ``packing.inputs`` and ``ctx.inputs``."""
    replaces_position: bool = False
    """Whether the trunk is to leave out its learned position embedding."""
