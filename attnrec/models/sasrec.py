r"""SASRec: embedding, a trunk of self-attention blocks, prediction by inner product with item vectors.

Kang & McAuley, "Self-Attentive Sequential Recommendation" (ICDM 2018, arXiv 1808.09781):

    x_s = sqrt(d) E[item at slot s] + P_s                     (section III.A)
    x <- x + Drop(g(LN(x))),  g = attention, then W2 ReLU(W1 x + b1) + b2    (III.B-III.D)
    r(i, s) = <LN(x)_s, E[i]>                                 (III.E)

The trunk works on packed rows (`attnrec.attention.packing`): nothing is computed for padding.

Shape legend: N real items of the batch, B histories, d model width, H heads, D = d / H.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from attnrec.attention import AttentionOperator, OperatorSpec, Packing, build_attention
from attnrec.attention.packing import make_packing, pad
from attnrec.data.batches import SequenceBatch
from attnrec.errors import InputError
from attnrec.models.dropout import dropout_masks


@dataclass(frozen=True)
class SASRecConfig:
    """Everything that fixes the shape of a model; ``attention`` chooses the operator, for all blocks or for each.

    The switches are the ablations of the paper's Table IV.
    """

    num_items: int
    num_users: int = 0
    max_len: int = 50
    dim: int = 64
    blocks: int = 2
    heads: int = 1
    dropout: float = 0.2
    attention_dropout: float = 0.0
    feed_forward_dropout: float = 0.2
    norm: str = "original"
    bias: bool = True
    position: bool = True
    shared_embedding: bool = True
    residual: bool = True
    user_vector: bool = False
    zero_init: bool = True
    init_std: float = 0.0
    attention: tuple[OperatorSpec, ...] = (OperatorSpec("sdpa"),)

    def __post_init__(self) -> None:
        if self.dim % self.heads:
            raise InputError(f"--heads {self.heads} does not divide --dim {self.dim}")
        if self.zero_init and self.blocks and not self.residual:
            raise InputError(
                "--zero-init needs the residual connections: without them a block would give nothing but 0"
            )
        if len(self.attention) not in (1, self.blocks):
            raise InputError(
                f"--attention gives {len(self.attention)} operators joined by +, and --blocks is {self.blocks}: "
                "give one for all blocks, or one for each"
            )

    def attention_of(self, block: int) -> OperatorSpec:
        """The operator of a block, counted from 0."""
        return self.attention[block if len(self.attention) > 1 else 0]


@dataclass(frozen=True, eq=False)
class BlockMasks:
    """Dropout masks [N, d] of one block: on attention's output, after the ReLU, and on the feed-forward output."""

    attention: Tensor | None = None
    hidden: Tensor | None = None
    feed_forward: Tensor | None = None


class Block(nn.Module):
    """Self-attention and a point-wise feed-forward network, each with residual, and with dropout where ``norm`` has it.

    ``norm`` decides where LayerNorm stands: ``pre`` (the paper's equation), ``post``, or ``original`` (the
    authors' code: queries from LN(x), keys and values from x, the residual adds LN(x), no output projection,
    and no dropout of what attention gives).
    """

    def __init__(self, config: SASRecConfig, attention: OperatorSpec) -> None:
        super().__init__()
        d = config.dim
        self.norm = config.norm
        self.residual = config.residual
        self.heads = config.heads
        self.qkv = nn.Linear(d, 3 * d, bias=config.bias)
        self.attention = build_attention(
            attention, config.heads, d // config.heads, config.max_len, config.attention_dropout
        )
        self.out = nn.Identity() if config.norm == "original" else nn.Linear(d, d, bias=config.bias)
        self.attention_norm = nn.LayerNorm(d, eps=1e-8)
        self.feed_forward_norm = nn.LayerNorm(d, eps=1e-8)
        self.feed_forward = nn.Sequential(nn.Linear(d, d), nn.ReLU(), nn.Linear(d, d))

    def forward(self, x: Tensor, packing: Packing, masks: BlockMasks | None = None) -> Tensor:
        """x [N, d] to [N, d], with dropout where ``masks`` are given."""
        masks = masks or BlockMasks()
        for_queries, for_keys = self._sources(x)
        update = self._attend(for_queries, for_keys, packing)
        if self.norm == "post":
            x = self.attention_norm(self._add(x, update, masks.attention))
            return self.feed_forward_norm(self._add_feed_forward(x, x, masks))
        if self.norm == "original":
            h = self.feed_forward_norm(self._add(for_queries, update, None))
            return self._add_feed_forward(h, h, masks)
        x = self._add(x, update, masks.attention)
        return self._add_feed_forward(x, self.feed_forward_norm(x), masks)

    def attention_weights(self, x: Tensor, packing: Packing) -> dict[str, Tensor]:
        """The operator's weights on rows [N, d] of one group, by name, each [B, H, T, T]."""
        (group,) = packing.groups
        q, k, _ = (pad(rows, group) for rows in self.queries_keys_values(*self._sources(x)))
        return self.attention.named_weights(q, k, group.ctx)

    def last_matrices(self) -> list[Tensor]:
        """The last matrix [d, d] of each branch.

        Where attention's output is not projected, that is the one of the values, unless the operator may divide by the
        size of what it gives: at zero its gradient would be huge.
        """
        last = self.feed_forward[2]
        assert isinstance(last, nn.Linear)
        found = [last.weight.detach()]
        if isinstance(self.out, nn.Linear):
            found.append(self.out.weight.detach())
        elif self.attention.weights_give_output:
            found.append(self.qkv.weight.detach().chunk(3)[2])
        return found

    def _sources(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What queries, and what keys and values, are projected from, [N, d] each."""
        if self.norm == "post":
            return x, x
        h = self.attention_norm(x)
        return h, x if self.norm == "original" else h

    def queries_keys_values(self, for_queries: Tensor, for_keys: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Project rows [N, d] to queries, keys and values [N, H, D] each."""
        if for_queries is for_keys:
            together = rearrange(self.qkv(for_keys), "n (three h d) -> n three h d", three=3, h=self.heads)
            q, k, v = together.unbind(1)
            return q, k, v
        w_q, w_k, w_v = self.qkv.weight.chunk(3)
        biases = (None, None, None) if self.qkv.bias is None else self.qkv.bias.chunk(3)
        sources = zip((for_queries, for_keys, for_keys), (w_q, w_k, w_v), biases, strict=True)
        q, k, v = (rearrange(F.linear(x, w, b), "n (h d) -> n h d", h=self.heads) for x, w, b in sources)
        return q, k, v

    def _attend(self, for_queries: Tensor, for_keys: Tensor, packing: Packing) -> Tensor:
        q, k, v = self.queries_keys_values(for_queries, for_keys)
        mixed = self.attention.forward_packed(q, k, v, packing)
        projected: Tensor = self.out(rearrange(mixed, "n h d -> n (h d)"))
        return projected

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
    """Random numbers of the CPU that depend on ``seed`` and ``name`` alone, and leave the generator as it was.

    So two models that differ in their attention get the same values for the parameters that they share.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed ^ zlib.crc32(name.encode()))
        yield


class SASRec(nn.Module):
    """The model; see the head of this file.

    The item table has ``num_items + 1`` rows, and row 0 (padding) is zero and stays zero.
    """

    def __init__(self, config: SASRecConfig) -> None:
        super().__init__()
        self.config = config
        d = config.dim
        self.item_embedding = nn.Embedding(config.num_items + 1, d, padding_idx=0)
        self.output_embedding = (
            None if config.shared_embedding else nn.Embedding(config.num_items + 1, d, padding_idx=0)
        )
        self.position_embedding = nn.Embedding(config.max_len, d) if config.position else None
        self.user_embedding = nn.Embedding(config.num_users, d) if config.user_vector else None
        seed = int(torch.randint(2**62, ()))
        blocks = []
        for number in range(config.blocks):
            with seeded(seed, f"block {number}"):
                blocks.append(Block(config, config.attention_of(number)))
        self.trunk = nn.ModuleList(blocks)
        self.final_norm = nn.LayerNorm(d, eps=1e-8)
        self.attention_groups = 4
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Glorot initialisation of the trunk, and of the tables unless ``init_std`` gives their deviation.

        Operators initialise themselves. With ``zero_init`` each residual branch begins at zero, as in Zhang, Dauphin
        & Ma, "Fixup Initialization: Residual Learning Without Normalization" (ICLR 2019), section 3.
        """
        operators = [module for module in self.modules() if isinstance(module, AttentionOperator)]
        inside = {part for operator in operators for part in operator.modules()}
        seed = int(torch.randint(2**62, ()))
        for name, module in self.named_modules():
            if module not in inside:
                with seeded(seed, name):
                    self._initialise(module, matrices=3 if name.endswith(".qkv") else 1)
        if self.config.zero_init:
            for block in self.trunk:
                for matrix in block.last_matrices():  # type: ignore[operator]
                    nn.init.zeros_(matrix)

    def _initialise(self, module: nn.Module, matrices: int) -> None:
        """``matrices``: how many stand one above the other in the weight of a linear map."""
        if isinstance(module, nn.Linear):
            for matrix in module.weight.detach().chunk(matrices):
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
        """Masks of the embedding and of every block for rows [N, d]; none of them outside training."""
        config = self.config
        if not self.training:
            return None, [BlockMasks()] * config.blocks
        of_attention = 0 if config.norm == "original" else config.blocks
        first, *outer = dropout_masks(x, config.dropout, 1 + of_attention + config.blocks)
        attention = outer[:of_attention] or [None] * config.blocks
        hidden = dropout_masks(x, config.feed_forward_dropout, config.blocks)
        return first, [BlockMasks(*masks) for masks in zip(attention, hidden, outer[of_attention:], strict=True)]

    def attention_weights(self, batch: SequenceBatch) -> list[dict[str, Tensor]]:
        """The weights of every block by name (`AttentionOperator.named_weights`), each [B, H, T, T], without dropout.

        Histories stand at the right end of the T slots of the longest one. A block whose operator has no weights gives
        none; NotImplementedError if no block has any.
        """
        x, packing = self._embedded(batch, groups=1)
        found = []
        for block in self.trunk:
            assert isinstance(block, Block)
            found.append(block.attention_weights(x, packing) if block.attention.has_weights else {})
            x = block(x, packing)
        if found and not any(found):
            raise NotImplementedError(f"{type(block.attention).__name__} has no attention weights")
        return found

    def _embedded(self, batch: SequenceBatch, groups: int) -> tuple[Tensor, Packing]:
        """Items and positions as rows [N, d], and their layout."""
        config = self.config
        items = self.item_embedding.weight.index_select(0, batch.items)
        packing = make_packing(batch.lengths, config.max_len, groups, batch.timestamps, device=items.device)
        x = items * config.dim**0.5
        if self.position_embedding is not None:
            x = x + self.position_embedding.weight.index_select(0, packing.slots)
        return x, packing

    def last_output(self, batch: SequenceBatch) -> Tensor:
        """Output at the last item of each history, [B, d]."""
        return self(batch)[batch.last_rows]
