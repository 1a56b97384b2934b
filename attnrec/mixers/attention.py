"""The mixer of self-attention: projections around an operator.

    q = x W_Q,  k = s W_K,  v = s W_V,  output = operator(q, k, v) W_O

Subclasses change a projection in a few lines: `project` makes the operator's inputs, `output` takes its result.
"""

from __future__ import annotations

from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from attnrec.attention.component import Sublayer
from attnrec.attention.operator import ATTENTION, AttentionOperator, build_attention
from attnrec.attention.packing import Packing, pad
from attnrec.core.spec import Spec
from attnrec.mixers.base import Mixer, MixerShape


class StackedLinear(nn.Linear):
    """Several linear maps of one input, computed as one; each is initialised separately.

    Args:
        in_features, out_features: widths of one map.
        count: number of maps.
        bias: whether they have biases.
    """

    def __init__(self, in_features: int, out_features: int, count: int, *, bias: bool = True) -> None:
        super().__init__(in_features, count * out_features, bias=bias)
        self.count = count


class AttentionMixer(Mixer):
    """An operator with its projections.

    Args:
        shape: sizes.
        operator: the operator between the projections.
    """

    has_weights = True

    def __init__(self, shape: MixerShape, *, operator: Spec = Spec("sdpa")) -> None:
        super().__init__(shape)
        d = shape.dim
        self.qkv: nn.Linear = StackedLinear(d, d, 3, bias=shape.bias)
        self.operator = build_attention(
            operator, shape.heads, d // shape.heads, shape.max_len, shape.dropout, shape.features
        )
        self.has_weights = self.operator.has_weights
        self.out = nn.Linear(d, d, bias=shape.bias) if shape.project_output else nn.Identity()

    def forward(self, x: Tensor, source: Tensor, packing: Packing) -> Tensor:
        q, k, v = self.project(x, source)
        mixed = self.operator.forward_packed(q, k, v, packing.seen_by(self.operator, x))
        return self.output(rearrange(mixed, "n h d -> n (h d)"), x)

    def project(self, x: Tensor, source: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values [N, H, D] each, of rows x and source [N, d]."""
        heads = self.shape.heads
        if x is source:
            together = rearrange(self.qkv(source), "n (three h d) -> n three h d", three=3, h=heads)
            q, k, v = together.unbind(1)
            return q, k, v
        w_q, w_k, w_v = self.qkv.weight.chunk(3)
        biases = (None, None, None) if self.qkv.bias is None else self.qkv.bias.chunk(3)
        sources = zip((x, source, source), (w_q, w_k, w_v), biases, strict=True)
        q, k, v = (rearrange(F.linear(rows, w, b), "n (h d) -> n h d", h=heads) for rows, w, b in sources)
        return q, k, v

    def output(self, mixed: Tensor, x: Tensor) -> Tensor:
        """What the residual adds, [N, d], from the concatenated heads [N, d] and the sub-layer's input ``x`` [N, d]."""
        projected: Tensor = self.out(mixed)
        return projected

    def named_weights(self, x: Tensor, source: Tensor, packing: Packing) -> dict[str, Tensor]:
        (group,) = packing.seen_by(self.operator, x).groups
        q, k, _ = (pad(rows, group) for rows in self.project(x, source))
        return self.operator.named_weights(q, k, group.ctx)

    def last_matrices(self) -> list[Tensor]:
        """W_O, or W_V if there is no W_O.

        W_V is left out if the operator may normalise its output: at zero, that has a huge gradient.
        """
        if isinstance(self.out, nn.Linear):
            return [self.out.weight.detach()]
        if isinstance(self.qkv, StackedLinear) and self.operator.weights_give_output:
            return [self.qkv.weight.detach().chunk(3)[2]]
        return []


def build_mixer(spec: Spec, shape: MixerShape) -> Mixer:
    """The mixer that ``spec`` names, or projections around the operator that it names.

    Raises InputError for an unknown name, or an option that it does not have.
    """
    cls: type[Sublayer] = ATTENTION.find(spec.name)
    if issubclass(cls, AttentionOperator):
        return AttentionMixer(shape, operator=spec)
    built = ATTENTION.build(spec, shape, called_with="(shape)")
    assert isinstance(built, Mixer)
    return built
