r"""SASRec: embedding, a trunk of self-attention blocks, prediction by inner product with item vectors.

Kang & McAuley, "Self-Attentive Sequential Recommendation" (ICDM 2018, arXiv 1808.09781):

    x_s = sqrt(d) E[item at slot s] + P_s                     (section III.A)
    x <- x + Drop(g(LN(x))),  g = attention, then W2 ReLU(W1 x + b1) + b2    (III.B-III.D)
    r(i, s) = <LN(x)_s, E[i]>                                 (III.E)

The trunk works on packed rows (`attnrec.attention.packing`): nothing is computed for padding.

Shape legend: N real items in the batch, B histories, d model width, H heads, D = d / H.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor, nn

from attnrec.attention import AttentionOperator, Packing, Sublayer
from attnrec.attention.packing import make_packing
from attnrec.core.errors import InputError
from attnrec.core.options import named
from attnrec.core.spec import Spec
from attnrec.data.batches import SequenceBatch
from attnrec.data.catalogue import Catalogue
from attnrec.mixers import MixerShape, StackedLinear, build_mixer
from attnrec.models.base import SequentialModel, item_table, register_model
from attnrec.models.dropout import dropout_masks
from attnrec.models.options import ModelOptions


@dataclass(frozen=True, eq=False)
class BlockMasks:
    """Dropout masks [N, d] of one block: for the attention output, after the ReLU, and for the feed-forward output."""

    attention: Tensor | None = None
    hidden: Tensor | None = None
    feed_forward: Tensor | None = None


class Block(nn.Module):
    """Self-attention and a point-wise feed-forward network, each with a residual connection and dropout.

    ``norm`` decides where LayerNorm goes: ``pre`` (the paper's equation), ``post``, or ``original`` (the
    authors' code: queries from LN(x), keys and values from x, the residual adds LN(x), no output projection,
    and no dropout of the attention output).
    """

    def __init__(self, config: ModelOptions, attention: Spec, features: Mapping[str, int]) -> None:
        super().__init__()
        d = config.dim
        self.norm = config.norm
        self.residual = config.residual
        original = config.norm == "original"
        dropout = config.attention_dropout or 0.0
        shape = MixerShape(d, config.heads, config.max_len, dropout, config.bias, not original, features)
        self.mixer = build_mixer(attention, shape)
        self.attention_norm = nn.LayerNorm(d, eps=1e-8)
        self.feed_forward_norm = nn.LayerNorm(d, eps=1e-8)
        self.feed_forward = nn.Sequential(nn.Linear(d, d), nn.ReLU(), nn.Linear(d, d))

    def forward(self, x: Tensor, packing: Packing, masks: BlockMasks | None = None) -> Tensor:
        """Map x [N, d] to [N, d], with dropout if ``masks`` are given."""
        masks = masks or BlockMasks()
        normalised, source = self._sources(x)
        update = self.mixer(normalised, source, packing)
        if update.shape != x.shape:
            raise InputError(
                f"{type(self.mixer).__name__}.forward returned {list(update.shape)}, not {list(x.shape)};"
                " see `attnrec check`"
            )
        if self.norm == "post":
            x = self.attention_norm(self._add(x, update, masks.attention))
            return self.feed_forward_norm(self._add_feed_forward(x, x, masks))
        if self.norm == "original":
            h = self.feed_forward_norm(self._add(normalised, update, None))
            return self._add_feed_forward(h, h, masks)
        x = self._add(x, update, masks.attention)
        return self._add_feed_forward(x, self.feed_forward_norm(x), masks)

    def attention_weights(self, x: Tensor, packing: Packing) -> dict[str, Tensor]:
        """The mixer's weights on rows [N, d] of one group, by name, each [B, H, T, T]; empty if it has no weights."""
        return self.mixer.named_weights(*self._sources(x), packing) if self.mixer.has_weights else {}

    def last_matrices(self) -> list[Tensor]:
        """The last matrix of each branch, which ``zero_init`` sets to zero at the start."""
        last = self.feed_forward[2]
        assert isinstance(last, nn.Linear)
        return [last.weight.detach(), *self.mixer.last_matrices()]

    def _sources(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The mixer's input, and the source of its keys and values, [N, d] each."""
        if self.norm == "post":
            return x, x
        h = self.attention_norm(x)
        return h, x if self.norm == "original" else h

    def _add_feed_forward(self, x: Tensor, source: Tensor, masks: BlockMasks) -> Tensor:
        first, relu, second = self.feed_forward
        hidden = relu(first(source))
        if masks.hidden is not None:
            hidden = hidden * masks.hidden
        return self._add(x, second(hidden), masks.feed_forward)

    def _add(self, x: Tensor, update: Tensor, mask: Tensor | None) -> Tensor:
        if mask is not None:
            update = update * mask
        return x + update if self.residual else update


@contextmanager
def seeded(seed: int, name: str) -> Iterator[None]:
    """Seed the CPU's random numbers from ``seed`` and ``name`` only; restores the generator afterwards.

    So two models that differ in their attention get the same values for the parameters that they share.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed ^ zlib.crc32(name.encode()))
        yield


@register_model("sasrec")
class SASRec(SequentialModel):
    """Self-attention blocks over items and their positions; scores are inner products with item vectors.

    The item table has ``num_items + 1`` rows; row 0 (padding) is zero and stays zero.
    """

    paper = "Kang & McAuley, Self-Attentive Sequential Recommendation, ICDM 2018"
    uses = frozenset(field.name for field in fields(ModelOptions)) - {"model"}
    knows_users = True  # with `user_vector`

    def __init__(self, catalogue: Catalogue, config: ModelOptions) -> None:
        super().__init__(catalogue, config)
        _check(config)
        d = config.dim
        self.item_embedding = item_table(catalogue, d)
        self.output_embedding = None if config.shared_embedding else item_table(catalogue, d)
        self.position_embedding: nn.Embedding | None = nn.Embedding(config.max_len, d) if config.position else None
        self.knows_users = config.user_vector
        self.user_embedding = nn.Embedding(catalogue.num_users, d) if config.user_vector else None
        features = {} if catalogue.features is None else catalogue.features.sizes
        seed = int(torch.randint(2**62, ()))
        blocks = []
        for number in range(config.blocks):
            with seeded(seed, f"block {number}"):
                blocks.append(Block(config, config.attention.of_block(number), features))
        self.trunk = nn.ModuleList(blocks)
        self.final_norm = nn.LayerNorm(d, eps=1e-8)
        self.attention_groups = 4
        parts = [part for part in self.components() if isinstance(part, Sublayer)]
        if any(part.replaces_position for part in parts):
            self.position_embedding = None
        if any(part.needs_features for part in parts):
            self.keep_features()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Glorot initialisation of the trunk, and of the tables unless ``init_std`` sets their standard deviation.

        Parts of a mixer are seeded by their name without ``.mixer``. Operators initialise themselves. With
        ``zero_init``, each residual branch starts at zero, as in Zhang, Dauphin & Ma, "Fixup Initialization: Residual
        Learning Without Normalization" (ICLR 2019), section 3.
        """
        operators = [module for module in self.modules() if isinstance(module, AttentionOperator)]
        inside = {part for operator in operators for part in operator.modules()}
        seed = int(torch.randint(2**62, ()))
        for name, module in self.named_modules():
            if module not in inside:
                with seeded(seed, name.replace(".mixer.", ".")):
                    self._initialise(module)
        if self.config.zero_init:
            for block in self.trunk:
                for matrix in block.last_matrices():  # type: ignore[operator]
                    nn.init.zeros_(matrix)

    def _initialise(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            for matrix in module.weight.detach().chunk(module.count if isinstance(module, StackedLinear) else 1):
                nn.init.xavier_uniform_(matrix)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            if self.config.init_std > 0:
                nn.init.normal_(module.weight, std=self.config.init_std)
            else:
                nn.init.xavier_uniform_(module.weight)
            if module.padding_idx is not None:
                with torch.no_grad():
                    module.weight[module.padding_idx].zero_()

    @property
    def item_vectors(self) -> Tensor:
        """The vectors that outputs are compared with, [num_items + 1, d]; row 0 is padding."""
        table = self.item_embedding if self.output_embedding is None else self.output_embedding
        return table.weight

    def forward(self, batch: SequenceBatch) -> Tensor:
        """Outputs F_t at every real position of the batch, [N, d]."""
        x, packing = self._embedded(batch, self.attention_groups)
        first, masks = self._dropout_masks(x)
        if first is not None:
            x = x * first
        for block, its_masks in zip(self.trunk, masks, strict=True):
            x = block(x, packing, its_masks)
        x = self.final_norm(x)
        if self.user_embedding is not None:
            x = x + self.user_embedding.weight.index_select(0, batch.users)
        return x

    def _dropout_masks(self, x: Tensor) -> tuple[Tensor | None, list[BlockMasks]]:
        """Masks for the embedding and for every block, for rows [N, d]; no masks outside training."""
        config = self.config
        if not self.training:
            return None, [BlockMasks()] * config.blocks
        of_attention = 0 if config.norm == "original" else config.blocks
        first, *outer = dropout_masks(x, config.dropout, 1 + of_attention + config.blocks)
        attention = outer[:of_attention] or [None] * config.blocks
        hidden = dropout_masks(x, config.feed_forward_dropout or 0.0, config.blocks)
        return first, [BlockMasks(*masks) for masks in zip(attention, hidden, outer[of_attention:], strict=True)]

    def attention_weights(self, batch: SequenceBatch) -> list[dict[str, Tensor]]:
        """The weights of every block by name (`AttentionOperator.named_weights`), each [B, H, T, T], without dropout.

        Histories are at the right end; T is the length of the longest one. The dict of a block without weights is
        empty. Raises NotImplementedError if no block has weights.
        """
        x, packing = self._embedded(batch, groups=1)
        found = []
        for block in self.trunk:
            assert isinstance(block, Block)
            found.append(block.attention_weights(x, packing))
            x = block(x, packing)
        if found and not any(found):
            raise NotImplementedError(f"attention {self.config.attention} has no attention weights")
        return found

    def _embedded(self, batch: SequenceBatch, groups: int) -> tuple[Tensor, Packing]:
        """Items and positions as rows [N, d], and their layout."""
        config = self.config
        items = self.item_embedding.weight.index_select(0, batch.items)
        packing = make_packing(batch.lengths, config.max_len, groups, batch.timestamps, device=items.device)
        features = self.features_of(batch.items) if self.keeps_features else None
        packing = replace(packing, items=batch.items, features=features)
        x = items * config.dim**0.5
        if self.position_embedding is not None:
            x = x + self.position_embedding.weight.index_select(0, packing.slots)
        return x, packing


def _check(config: ModelOptions) -> None:
    if config.zero_init and config.blocks and not config.residual:
        raise InputError(
            f"{named('zero_init')} needs the residual connections: without them the output of a block would be 0"
        )
    if len(config.attention.parts) not in (1, config.blocks):
        raise InputError(
            f"{named('attention')} has {len(config.attention.parts)} operators joined by +, but {named('blocks')} is "
            f"{config.blocks}: give one for all blocks, or one for each"
        )
