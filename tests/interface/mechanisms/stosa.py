r"""STOSA: Fan et al., "Sequential Recommendation via Stochastic Self-Attention" (WWW 2022), sections 3.2 to 3.5.

Items and positions are normal distributions with a mean and a diagonal covariance. With the squared 2-Wasserstein
distance W(a, b) = |mu_a - mu_b|^2 + |sqrt(sigma_a) - sqrt(sigma_b)|^2, attention is p = softmax(causal(-W / sqrt(d))),
means are mixed by p and covariances by p^2, and an item's score is -W between its distribution and the last one. Its
loss is `--loss ssm --negatives 1` (BPR) and the hinge below.
"""

import torch
import torch.nn.functional as F
from torch import nn

from attnrec.attention import masked_softmax
from attnrec.attention.packing import make_packing, pack, pad
from attnrec.models.base import SequentialModel, item_table


def positive(x):
    return F.elu(x) + 1


class Stream(nn.Module):
    """Projections, norms and feed-forward network of the means or of the covariances; ``last`` keeps the range."""

    def __init__(self, d, dropout, last):
        super().__init__()
        self.last, self.dropout = last, nn.Dropout(dropout)
        self.qkv, self.dense = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.first, self.second = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)
        self.after_attention, self.after_network = nn.LayerNorm(d), nn.LayerNorm(d)

    def project(self, x, group, heads):
        parts = self.last(self.qkv(x)).chunk(3, -1)
        return [pad(part.unflatten(-1, (heads, -1)), group) for part in parts]

    def finish(self, x, mixed):
        x = self.after_attention(x + self.dropout(self.dense(mixed)))
        return self.last(self.after_network(x + self.dropout(self.second(F.elu(self.first(x))))))


class Block(nn.Module):
    def __init__(self, d, heads, dropout, attention_dropout):
        super().__init__()
        self.heads, self.attention_dropout = heads, attention_dropout
        self.mean, self.covariance = Stream(d, dropout, lambda x: x), Stream(d, dropout, positive)

    def forward(self, mean, covariance, group):
        q, k, v = self.mean.project(mean, group, self.heads)
        of_q, of_k, of_v = self.covariance.project(covariance, group, self.heads)
        root_q, root_k = torch.cat([q, of_q.clamp(min=0).sqrt()], -1), torch.cat([k, of_k.clamp(min=0).sqrt()], -1)
        distance = root_q.square().sum(-1)[..., None] + root_k.square().sum(-1)[..., None, :]
        distance = distance - 2 * root_q @ root_k.transpose(-1, -2)
        p = masked_softmax(-distance * q.shape[-1] ** -0.5, group.ctx.mask())
        p = F.dropout(p, self.attention_dropout, self.training)
        mixed, of_mixed = (pack(x, group).flatten(1) for x in (p @ v, p.square() @ of_v))
        return self.mean.finish(mean, mixed), self.covariance.finish(covariance, of_mixed)


class Stosa(SequentialModel):
    """Two streams of distributions; a state is [mu, sqrt(sigma)], an item vector twice that, so scores are -W + const.

    Args:
        hinge: weight of the loss max(0, W(state, target) - W(target, negative)).
    """

    uses = SequentialModel.uses | {"blocks", "heads", "attention_dropout"}
    paper = "Fan et al., Sequential Recommendation via Stochastic Self-Attention, WWW 2022"

    def __init__(self, catalogue, config, *, hinge: float = 0.005):
        super().__init__(catalogue, config)
        d = config.dim
        self.hinge = hinge
        self.items, self.covariances = item_table(catalogue, d), item_table(catalogue, d)
        self.positions, self.position_covariances = nn.Embedding(config.max_len, d), nn.Embedding(config.max_len, d)
        self.norm, self.covariance_norm = nn.LayerNorm(d), nn.LayerNorm(d)
        self.blocks = nn.ModuleList(
            Block(d, config.heads, config.dropout, config.attention_dropout) for _ in range(config.blocks)
        )
        for table in (self.items, self.covariances, self.positions, self.position_covariances):
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, batch):
        packing = make_packing(batch.lengths, self.config.max_len, timestamps=None, device=batch.items.device)
        mean = self._start(self.items(batch.items) + self.positions(packing.slots), self.norm)
        spread = self.covariances(batch.items) + self.position_covariances(packing.slots)
        covariance = self._start(spread, self.covariance_norm) + 1
        for block in self.blocks:
            mean, covariance = block(mean, covariance, packing.groups[0])
        return torch.cat([mean, covariance.clamp(min=1e-12).sqrt()], -1)

    def _start(self, x, norm):
        return F.elu(F.dropout(norm(x), self.config.dropout, self.training))

    @property
    def item_vectors(self):
        return 2 * self._points()

    @property
    def item_bias(self):
        return -self._points().square().sum(-1)

    def _points(self):
        """Means and roots of covariances, [I + 1, 2 d]: W is the squared distance between such points."""
        return torch.cat([self.items.weight, positive(self.covariances.weight).clamp(min=1e-12).sqrt()], -1)

    def auxiliary_loss(self, states, batch):
        points = self._points()
        target = points[batch.targets]
        other = points[torch.randint_like(batch.targets, 1, len(points))]
        near, far = ((a - b).square().sum(-1) for a, b in ((states, target), (target, other)))
        return self.hinge * F.relu(near - far).mean()
