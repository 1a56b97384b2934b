"""SASRec against a plain padded implementation in float64, and what must hold of every model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from attnrec.core.errors import InputError
from attnrec.core.spec import Specs
from attnrec.data.batches import SequenceBatch, batch_from_histories
from attnrec.data.catalogue import Catalogue
from attnrec.mixers import AttentionMixer
from attnrec.models.dropout import dropout_masks
from attnrec.models.options import ModelOptions
from attnrec.models.sasrec import Block, SASRec
from attnrec.training.gradients import global_gradient_norm

HISTORIES = [[3], [5, 5, 1], [2, 4, 6, 8, 10], [1, 2, 3, 4, 5, 6, 7, 8, 9]]
CATALOGUE = Catalogue(12, 4)
BASE = ModelOptions(
    max_len=10,
    dim=8,
    blocks=2,
    heads=2,
    dropout=0.0,
    feed_forward_dropout=0.0,
    norm="pre",
    bias=False,
    zero_init=False,
)
ABLATIONS: list[dict[str, Any]] = [
    {},
    {"norm": "post"},
    {"norm": "original"},
    {"position": False},
    {"shared_embedding": False},
    {"residual": False},
    {"residual": False, "norm": "original"},
    {"user_vector": True},
    {"bias": True},
    {"bias": True, "norm": "original"},
    {"blocks": 0},
    {"blocks": 1},
    {"blocks": 3},
    {"heads": 1},
    {"heads": 4},
]


def build(**changes: Any) -> SASRec:
    model = SASRec(CATALOGUE, replace(BASE, **changes)).double()
    with torch.no_grad():  # LayerNorm starts as the identity map, which would hide a mistake
        for name, parameter in model.named_parameters():
            if "norm" in name or "bias" in name:
                parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


def norm(x: Tensor, layer: Any) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.pow(2).mean(-1, keepdim=True) + 1e-8).sqrt() * layer.weight + layer.bias


def projections(block: Any) -> AttentionMixer:
    assert isinstance(block.mixer, AttentionMixer)
    return block.mixer


def attend(block: Block, for_queries: Tensor, for_keys: Tensor) -> Tensor:
    """Causal attention of one unpadded history [L, d]."""
    mixer = projections(block)
    sources = (for_queries, for_keys, for_keys), mixer.qkv.weight.chunk(3)
    biases = (0.0, 0.0, 0.0) if mixer.qkv.bias is None else mixer.qkv.bias.chunk(3)
    heads = []
    for q, k, v in zip(
        *((x @ w.T + b).chunk(mixer.shape.heads, -1) for x, w, b in zip(*sources, biases, strict=True)),
        strict=True,
    ):
        scores = (q @ k.T) / q.shape[-1] ** 0.5
        scores = scores.masked_fill(torch.ones_like(scores).triu(1).bool(), -torch.inf)
        heads.append(scores.softmax(-1) @ v)
    return mixer.out(torch.cat(heads, -1))


def oracle(model: SASRec, history: list[int], user: int) -> Tensor:
    """Outputs at every item of one history, straight from the equations, [L, d]."""
    config = model.config
    x = model.item_embedding.weight[history] * config.dim**0.5
    if model.position_embedding is not None:
        x = x + model.position_embedding.weight[config.max_len - len(history) :]
    keep = 1.0 if config.residual else 0.0
    for block in model.trunk:
        assert isinstance(block, Block)
        ffn = block.feed_forward
        if config.norm == "post":
            x = norm(keep * x + attend(block, x, x), block.attention_norm)
            x = norm(keep * x + ffn(x), block.feed_forward_norm)
        elif config.norm == "pre":
            h = norm(x, block.attention_norm)
            x = keep * x + attend(block, h, h)
            x = keep * x + ffn(norm(x, block.feed_forward_norm))
        else:
            h = norm(x, block.attention_norm)
            x = keep * h + attend(block, h, x)
            h = norm(x, block.feed_forward_norm)
            x = keep * h + ffn(h)
    x = norm(x, model.final_norm)
    return x if model.user_embedding is None else x + model.user_embedding.weight[user]


@pytest.mark.parametrize("changes", ABLATIONS, ids=str)
def test_the_model_is_its_equations(changes: dict[str, Any]) -> None:
    model = build(**changes)
    batch = batch_from_histories(HISTORIES, 10)
    outputs = model(batch).split(batch.lengths.tolist())
    for user, history in enumerate(HISTORIES):
        torch.testing.assert_close(outputs[user], oracle(model, history, user), rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(model.last_output(batch), torch.stack([rows[-1] for rows in outputs]))


@pytest.mark.parametrize("changes", ABLATIONS, ids=str)
def test_every_parameter_gets_a_gradient(changes: dict[str, Any]) -> None:
    model = build(**changes)
    outputs = model(batch_from_histories(HISTORIES, 10))
    (outputs @ model.item_vectors.T * torch.randn(18, 13).double()).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
        assert parameter.grad.isfinite().all(), name


def test_the_company_in_a_batch_changes_nothing() -> None:
    model = build()
    together = model.last_output(batch_from_histories(HISTORIES, 10))
    alone = torch.cat([model.last_output(batch_from_histories([history], 10)) for history in HISTORIES])
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=1e-12)
    for groups in (1, 2, 3):
        model.attention_groups = groups
        torch.testing.assert_close(model.last_output(batch_from_histories(HISTORIES, 10)), together)


def test_only_the_last_max_len_items_count() -> None:
    model = build()
    long = [1, 2, 3, *range(1, 11)]
    assert model.last_output(batch_from_histories([long], 10)).equal(
        model.last_output(batch_from_histories([long[3:]], 10))
    )


def test_the_future_is_not_seen_and_the_past_is() -> None:
    model = build()
    history = [1, 2, 3, 4, 5]
    before = model(batch_from_histories([history], 10))
    after = model(batch_from_histories([[1, 2, 9, 4, 5]], 10))
    assert before[:2].equal(after[:2])
    assert (before[2:] - after[2:]).abs().amax(1).min() > 1e-3


def test_tables_have_a_row_an_item_and_a_padding_row_of_zeros() -> None:
    for shared in (True, False):
        model = SASRec(CATALOGUE, replace(BASE, shared_embedding=shared, init_std=1.0))
        for table in (model.item_embedding.weight, model.item_vectors):
            assert table.shape == (13, 8)
            assert (table[0] == 0).all()
            assert (table[1:].abs().sum(1) > 0).all()


def test_initialisation_of_the_embedding() -> None:
    model = SASRec(Catalogue(4000), ModelOptions(dim=50, init_std=0.5))
    assert 0.48 < float(model.item_embedding.weight.detach()[1:].std()) < 0.52


@pytest.mark.parametrize("norm", ["pre", "post", "original"])
def test_zero_init_makes_every_branch_add_nothing_and_lets_it_learn(norm: str) -> None:
    model = SASRec(CATALOGUE, replace(BASE, norm=norm, zero_init=True))
    batch = batch_from_histories(HISTORIES, 10)
    alone = SASRec(CATALOGUE, replace(BASE, norm=norm, blocks=0))
    alone.load_state_dict(model.state_dict(), strict=False)
    # LayerNorm of LayerNorm is the same as one, while its weights are the initial ones
    torch.testing.assert_close(model(batch), alone(batch), rtol=1e-5, atol=1e-5)
    (model(batch) @ torch.randn(8)).sum().backward()
    for block in model.trunk:
        assert isinstance(block, Block)
        mixer = projections(block)
        of_attention = mixer.out if isinstance(mixer.out, torch.nn.Linear) else mixer.qkv
        assert (of_attention is mixer.qkv) == (norm == "original")
        for layer in (of_attention, block.feed_forward[2]):
            assert isinstance(layer, torch.nn.Linear)
            assert (layer.weight[-8:] == 0).all()
            assert layer.weight.grad is not None
            assert layer.weight.grad[-8:].abs().sum() > 0
        assert mixer.qkv.weight[:16].abs().min() > 0


def test_an_operator_that_normalises_its_output_does_not_start_from_zero_values() -> None:
    specs = {name: Specs.parse(name) for name in ("sdpa", "differential")}
    norms = {}
    for name, attention in specs.items():
        torch.manual_seed(0)
        model = SASRec(CATALOGUE, replace(BASE, norm="original", zero_init=True, attention=attention))
        (model(batch_from_histories(HISTORIES, 10)) @ torch.randn(8)).sum().backward()
        norms[name] = float(global_gradient_norm(model.parameters()))
    assert norms["differential"] < 3 * norms["sdpa"]


def test_zero_init_needs_residuals() -> None:
    SASRec(CATALOGUE, replace(BASE, zero_init=True, residual=False, blocks=0))
    with pytest.raises(InputError, match="`zero_init` needs the residual connections"):
        SASRec(CATALOGUE, replace(BASE, zero_init=True, residual=False))


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(InputError, match="`heads=3` does not divide `dim=8`"):
        SASRec(CATALOGUE, replace(BASE, heads=3))


def test_dropout_acts_in_training_alone() -> None:
    model = SASRec(CATALOGUE, replace(BASE, dropout=0.5))
    batch = batch_from_histories(HISTORIES, 10)
    assert not model(batch).equal(model(batch))
    model.eval()
    assert model(batch).equal(model(batch))


@pytest.mark.parametrize("p", [0.0, 0.2, 0.5, 0.9])
def test_dropout_masks_have_the_stated_law(p: float) -> None:
    like = torch.empty(700, 101)
    masks = dropout_masks(like, p, 3)
    if p == 0:
        assert masks == [None, None, None]
        return
    stacked = torch.stack([mask for mask in masks if mask is not None])
    assert stacked.shape == (3, 700, 101)
    kept = (stacked > 0).double()
    deviation = (p * (1 - p) / stacked.numel()) ** 0.5
    assert abs(float(kept.mean()) - (1 - p)) < 5 * deviation + 2**-17
    torch.testing.assert_close(
        stacked[stacked > 0], torch.full_like(stacked[stacked > 0], 1 / (1 - p)), rtol=1e-4, atol=0
    )
    # neighbours, and masks of the same forward pass, are independent
    for one, other in ((kept[..., 1:], kept[..., :-1]), (kept[:, 1:], kept[:, :-1]), (kept[1:], kept[:-1])):
        correlation = ((one - one.mean()) * (other - other.mean())).mean() / (p * (1 - p))
        assert abs(float(correlation)) < 5 / one.numel() ** 0.5


def test_an_oracle_batch_keeps_its_own_user_vector() -> None:
    model = build(user_vector=True)
    batch = batch_from_histories([[1, 2]], 10)
    one = model.last_output(batch.of_user(1))
    other = model.last_output(batch.of_user(2))
    table = model.user_embedding
    assert table is not None
    torch.testing.assert_close(one - other, (table.weight[1] - table.weight[2])[None])


def test_a_plain_softmax_layer_agrees_with_torchs_own_block() -> None:
    """The attention of a block is torch.nn.MultiheadAttention's."""
    model = build(heads=2)
    block = model.trunk[0]
    assert isinstance(block, Block)
    reference = torch.nn.MultiheadAttention(8, 2, bias=False, batch_first=True).double()
    with torch.no_grad():
        reference.in_proj_weight.copy_(projections(block).qkv.weight)
        reference.out_proj.weight.copy_(projections(block).get_parameter("out.weight"))
    x = torch.randn(1, 6, 8, dtype=torch.float64)
    causal = torch.ones(6, 6).triu(1).bool()
    expected = reference(x, x, x, attn_mask=causal)[0][0]
    batch = SequenceBatch(torch.ones(6, dtype=torch.int64), np.array([6]), torch.zeros(6, dtype=torch.int64))
    from attnrec.attention.packing import make_packing

    found = block.mixer(x[0], x[0], make_packing(batch.lengths, 10))
    torch.testing.assert_close(found, expected)
    assert F.mse_loss(found, expected) < 1e-20
