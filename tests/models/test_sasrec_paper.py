"""The preset `sasrec-paper` against a plain loop over single padded sequences, in float64.

The loop follows the order of the authors' released code step by step: zero-padded to n slots, masks from item
numbers, every dropout where that code has it. Kang & McAuley, "Self-Attentive Sequential Recommendation" (ICDM 2018).
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from attnrec.data.batches import batch_from_histories
from attnrec.data.catalogue import Catalogue
from attnrec.models import sasrec
from attnrec.models.build import build_model
from attnrec.models.sasrec import SASRec
from attnrec.training.config import TrainConfig
from attnrec.training.losses import sampled_loss

HISTORIES = [[3], [5, 7, 1], [2, 4, 6, 8, 10], [1, 2, 3, 4, 5, 6, 7, 8, 9]]  # shortest first, as in a batch
TARGETS = [[4], [2, 3, 9], [1, 3, 5, 7, 9], [2, 3, 4, 5, 6, 7, 8, 9, 10]]
NEGATIVES = [[8], [6, 11, 12], [3, 9, 11, 12, 5], [10, 11, 12, 10, 11, 12, 10, 11, 12]]
SLOTS, ITEMS, P = 10, 12, 0.5


def paper_model(heads: int) -> SASRec:
    config = TrainConfig.from_mapping({"preset": "sasrec-paper", "dim": 8, "heads": heads, "max_len": SLOTS})
    model = build_model(config.model, Catalogue(ITEMS, 4), torch.device("cpu"), "the data").double()
    with torch.no_grad():  # biases start at 0 and LayerNorm as the identity, which would hide a mistake
        for name, parameter in model.named_parameters():
            if "norm" in name or "bias" in name:
                parameter.add_(torch.randn_like(parameter) * 0.3)
    assert isinstance(model, SASRec)
    return model


def normalize(x: Tensor, layer: Any) -> Tensor:
    variance = x.var(-1, unbiased=False, keepdim=True)
    return layer.weight * (x - x.mean(-1, keepdim=True)) / (variance + 1e-8) ** 0.5 + layer.bias


def one_sequence(model: SASRec, history: list[int], dropout: dict[str, Tensor]) -> Tensor:
    """Outputs [L, d] at the real slots of one history, padded on the left with zeros to n slots."""
    pad = SLOTS - len(history)
    ids = torch.tensor([0] * pad + history)
    real = (ids != 0).double()[:, None]
    d = model.config.dim
    assert model.position_embedding is not None
    seq = model.item_embedding.weight[ids] * math.sqrt(d) + model.position_embedding.weight
    seq = seq * dropout["embedding"] * real
    for number, block in enumerate(model.trunk):
        queries = normalize(seq, block.attention_norm)
        seq = queries + attention(block, queries, seq, real, dropout[f"weights {number}"])
        inputs = normalize(seq, block.feed_forward_norm)
        first, _, second = block.feed_forward  # type: ignore[misc]
        hidden = torch.relu(inputs @ first.weight.T + first.bias) * dropout[f"hidden {number}"]
        seq = inputs + (hidden @ second.weight.T + second.bias) * dropout[f"output {number}"]
        seq = seq * real
    return normalize(seq, model.final_norm)[pad:]


def attention(block: Any, queries: Tensor, keys: Tensor, real: Tensor, dropout: Tensor) -> Tensor:
    """Heads side by side, [n, d]; ``dropout`` [heads, n, n] is applied to the weights."""
    parts = zip((queries, keys, keys), block.mixer.qkv.weight.chunk(3), block.mixer.qkv.bias.chunk(3), strict=True)
    q, k, v = (x @ w.T + b for x, w, b in parts)
    outputs = []
    for head, (qh, kh, vh) in enumerate(zip(*(x.chunk(block.mixer.shape.heads, -1) for x in (q, k, v)), strict=True)):
        scores = qh @ kh.T / math.sqrt(kh.shape[1])
        scores = torch.where(real[:, 0] > 0, scores, -(2.0**32) + 1)
        scores = torch.where(torch.ones_like(scores).tril() > 0, scores, -(2.0**32) + 1)
        outputs.append((scores.softmax(-1) * real * dropout[head]) @ vh)
    return torch.cat(outputs, -1)


class Dropouts:
    """Draws every mask once, gives them to the model in the order in which it asks, and to the loop by sequence."""

    def __init__(self, model: SASRec, monkeypatch: pytest.MonkeyPatch) -> None:
        self.blocks, self.heads = len(model.trunk), model.config.heads
        self.drawn: list[list[Tensor]] = []
        self.weights = iter([self._mask(4, self.heads, SLOTS, SLOTS) for _ in range(self.blocks)])
        self.by_block: list[Tensor] = []
        model.attention_groups = 1
        monkeypatch.setattr(sasrec, "dropout_masks", self.masks)
        monkeypatch.setattr(F, "scaled_dot_product_attention", self.attend)

    @staticmethod
    def _mask(*shape: int) -> Tensor:
        return (torch.rand(shape) >= P).double() / (1 - P)

    def masks(self, like: Tensor, p: float, count: int) -> list[Tensor]:
        assert p == P
        found = [self._mask(*like.shape) for _ in range(count)]
        self.drawn.append(found)
        return found

    def attend(self, q: Tensor, k: Tensor, v: Tensor, *, dropout_p: float, is_causal: bool) -> Tensor:
        """What torch's function computes, with a known mask; histories stand at the left end here."""
        assert (dropout_p, is_causal) == (P, True)
        mask = next(self.weights)[..., : q.shape[2], : q.shape[2]]
        self.by_block.append(mask)
        scores = (q @ k.transpose(-1, -2)) / math.sqrt(q.shape[-1])
        scores = scores.masked_fill(torch.ones_like(scores).triu(1).bool(), -torch.inf)
        return (scores.softmax(-1) * mask) @ v

    def of(self, number: int) -> dict[str, Tensor]:
        """The masks of one sequence over all n slots; what padding gets is of no account."""
        low = sum(map(len, HISTORIES[:number]))
        length = len(HISTORIES[number])
        (embedding, *outputs), hidden = self.drawn

        def at_slots(rows: Tensor) -> Tensor:
            return F.pad(rows[low : low + length], (0, 0, SLOTS - length, 0))

        found = {"embedding": at_slots(embedding)}
        for block in range(self.blocks):
            found |= {f"hidden {block}": at_slots(hidden[block]), f"output {block}": at_slots(outputs[block])}
            weights = self.by_block[block][number, :, :length, :length]
            found[f"weights {block}"] = F.pad(weights, (SLOTS - length, 0, SLOTS - length, 0))
        return found


class NoDropout(dict[str, Tensor]):
    def __missing__(self, key: str) -> Tensor:
        return torch.ones(2, 1, 1) if key.startswith("weights") else torch.ones(1)


def flat(rows: list[list[int]]) -> Tensor:
    return torch.tensor([item for row in rows for item in row])


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
def test_the_preset_is_the_authors_model(heads: int, training: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model = paper_model(heads).train(training)
    dropouts = Dropouts(model, monkeypatch) if training else None
    outputs = model(batch_from_histories(HISTORIES, SLOTS))
    masks = [dropouts.of(number) if dropouts else NoDropout() for number in range(len(HISTORIES))]
    by_loop = torch.cat([one_sequence(model, *pair) for pair in zip(HISTORIES, masks, strict=True)])
    torch.testing.assert_close(outputs, by_loop, rtol=1e-10, atol=1e-11)

    targets, negatives = flat(TARGETS), flat(NEGATIVES)
    loss = sampled_loss(outputs, model.item_vectors, targets, negatives[:, None])
    positive = torch.sigmoid((by_loop * model.item_vectors[targets]).sum(1))
    negative = torch.sigmoid((by_loop * model.item_vectors[negatives]).sum(1))
    expected = -(positive.log() + (1 - negative).log()).sum() / len(targets)
    torch.testing.assert_close(loss, expected, rtol=1e-11, atol=0)
    parameters = dict(model.named_parameters())
    found, wanted = (torch.autograd.grad(value, list(parameters.values())) for value in (loss, expected))
    for name, one, other in zip(parameters, found, wanted, strict=True):
        if "embedding" in name:  # the plain loop reads the padding row; the model never does
            one, other = one[1:], other[1:]
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12, msg=name)


def test_the_presets_initial_values_are_the_authors() -> None:
    """Glorot's uniform law for every matrix and table, a table of I + 1 rows counted as such; zeros for biases."""
    config = TrainConfig.from_mapping({"preset": "sasrec-paper"})
    model = build_model(config.model, Catalogue(3000, 4), torch.device("cpu"), "the data")
    for name, parameter in model.named_parameters():
        values = parameter.detach()
        if values.ndim == 1:
            assert (values == ("norm.weight" in name)).all(), name
            continue
        rows = values.chunk(3) if "qkv" in name else (values[1:] if "item" in name else values,)
        for part in rows:
            limit = math.sqrt(6 / sum(values.shape if "item" in name else part.shape))
            assert 0.98 * limit < float(part.abs().max()) <= limit, name
            assert float(part.std()) == pytest.approx(limit / math.sqrt(3), rel=0.05), name
