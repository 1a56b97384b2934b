"""Right mixers: the contract finds no fault in them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attnrec.attention import Packing
from attnrec.attention.operator import masked_softmax
from attnrec.attention.packing import Group, pack, pad
from attnrec.mixers import Mixer, MixerShape


class RightMixer(Mixer):
    """Attention with one head, in parts that the wrong ones replace."""

    has_weights = True

    def __init__(self, shape: MixerShape) -> None:
        super().__init__(shape)
        self.query, self.key, self.value = (nn.Linear(shape.dim, shape.dim) for _ in range(3))

    def scores(self, q: Tensor, k: Tensor, group: Group) -> Tensor:
        return q @ k.transpose(-1, -2) * self.shape.dim**-0.5

    def weights(self, q: Tensor, k: Tensor, group: Group) -> Tensor:
        return masked_softmax(self.scores(q, k, group), group.ctx.mask())

    def dropped(self, weights: Tensor) -> Tensor:
        return F.dropout(weights, self.shape.dropout, self.training)

    def mix(self, q: Tensor, k: Tensor, v: Tensor, group: Group) -> Tensor:
        return self.dropped(self.weights(q, k, group)).to(v.dtype) @ v

    def forward(self, x: Tensor, source: Tensor, packing: Packing) -> Tensor:
        mixed = []
        for group in packing.groups:
            q, k, v = self.padded(x, source, group)
            mixed.append(pack(self.mix(q, k, v, group), group)[:, 0])
        return torch.cat(mixed)

    def padded(self, x: Tensor, source: Tensor, group: Group) -> tuple[Tensor, Tensor, Tensor]:
        parts = (self.query, x), (self.key, source), (self.value, source)
        q, k, v = (pad(part(rows[group.rows])[:, None], group) for part, rows in parts)
        return q, k, v

    def named_weights(self, x: Tensor, source: Tensor, packing: Packing) -> dict[str, Tensor]:
        (group,) = packing.groups
        q, k, _ = self.padded(x, source, group)
        return {"attention": self.weights(q, k, group)}


class Filter(Mixer):
    """A causal filter of each column, by FFT, as BSARec has one that is not causal."""

    def __init__(self, shape: MixerShape) -> None:
        super().__init__(shape)
        self.kernel = nn.Parameter(torch.randn(shape.max_len, shape.dim) / shape.max_len)

    def forward(self, x: Tensor, source: Tensor, packing: Packing) -> Tensor:
        mixed = []
        for group in packing.groups:
            padded = pad(source[group.rows][:, None], group, start=True)
            with torch.autocast(x.device.type, enabled=False):
                out = self.filtered(padded.to(torch.promote_types(padded.dtype, torch.float32)))
            mixed.append(pack(out.to(padded.dtype), group, start=True)[:, 0])
        return torch.cat(mixed) + x

    def filtered(self, x: Tensor) -> Tensor:
        """[B, 1, T, d], histories at the left end."""
        width = x.shape[2]
        kernel = torch.fft.rfft(self.kernel[:width].to(x.dtype), 2 * width, dim=0)
        return torch.fft.irfft(torch.fft.rfft(x, 2 * width, dim=2) * kernel, 2 * width, dim=2)[:, :, :width]


class Told(RightMixer):
    """Needs everything that can be asked for: scores have a bias by item, value and time."""

    needs_timestamps = needs_items = needs_features = True

    def __init__(self, shape: MixerShape) -> None:
        super().__init__(shape)
        self.of_value = nn.ParameterDict({name: torch.randn(size + 1) for name, size in shape.features.items()})

    def bias(self, packing: Packing) -> Tensor:
        assert packing.items is not None
        assert packing.features is not None
        found = (packing.items % 3).to(self.query.weight.dtype)
        for name, numbers in packing.features.items():
            found = found + self.of_value[name][numbers].sum(-1)
        return found

    def forward(self, x: Tensor, source: Tensor, packing: Packing) -> Tensor:
        assert packing.groups[0].ctx.timestamps is not None
        return super().forward(x, source, packing) * self.bias(packing)[:, None].to(x.dtype)


class ParameterOfItsOwnLoss(RightMixer):
    """A parameter that is used in what is added to the loss alone."""

    def __init__(self, shape: MixerShape) -> None:
        super().__init__(shape)
        self.gain = nn.Parameter(torch.ones(()))

    def own_loss(self) -> Tensor | None:
        return self.gain**2


RIGHT = (RightMixer, Filter, Told, ParameterOfItsOwnLoss)
