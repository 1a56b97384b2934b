"""Mixers: sub-layers that see the layer's input, among them the projections around an attention operator."""

from attnrec.mixers.attention import AttentionMixer, StackedLinear, build_mixer
from attnrec.mixers.base import Mixer, MixerShape

__all__ = ["AttentionMixer", "Mixer", "MixerShape", "StackedLinear", "build_mixer"]
