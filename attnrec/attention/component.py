"""What operators, mixers and models have in common: what they need from the data and the device."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn


class Component(nn.Module):
    """A part of a model that a researcher writes, and its declarations.

    A class, or an object in its constructor, declares what it needs. Only times are passed on undeclared.
    """

    needs_timestamps: bool = False
    """Whether the data must have timestamps."""
    needs_features: bool = False
    """Whether the data must have item features; an operator's constructor then gets the keyword ``features``, a dict
    from each feature to its number of values."""
    paper: ClassVar[str] = ""
    """A one-line citation of the paper; shown by ``attnrec variants``."""

    def check_device(self, device: torch.device) -> None:
        """Raise InputError, saying what to use instead, if the component cannot run on ``device``."""

    def own_loss(self) -> Tensor | None:
        """A scalar from the last forward pass in training mode, to be added to the training loss; None for nothing."""
        return None


class Sublayer(Component):
    """A component that can be given as ``attention``: an operator or a mixer."""

    has_weights: bool = True
    """False if it never forms a [T, T] matrix of weights, like linear attention."""
    needs_items: bool = False
    """Whether it needs item numbers: ``packing.items``, and for an operator ``ctx.items``."""
    needs_inputs: bool = False
    """Whether an operator needs the input of its sub-layer: ``packing.inputs`` and ``ctx.inputs``."""
    replaces_position: bool = False
    """Whether the trunk leaves out its learned position embedding."""
