"""Ten published mechanisms, each in one short file as a researcher would write it: can the interface hold them?"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch

import attnrec
from attnrec.attention import ATTENTION
from attnrec.core.errors import InputError
from attnrec.core.spec import Spec
from attnrec.data.batches import batch_from_histories
from attnrec.data.catalogue import Catalogue, ItemFeatures
from attnrec.mixers import MixerShape, build_mixer
from attnrec.models.build import MODELS, build_model

FOLDER = Path(__file__).parent / "mechanisms"
SUBLAYERS = sorted(path for path in FOLDER.glob("*.py") if path.stem != "stosa")
STOSA = FOLDER / "stosa.py"
QUICK: dict[str, Any] = {"epochs": 1, "dim": 8, "heads": 2, "max_len": 10, "batch_size": 512, "device": "cpu"}
FEATURES = ItemFeatures.of({"genre": [("a",), ("b", "c"), (), ("a", "c")] * 3})
CATALOGUE = Catalogue(12, 4, features=FEATURES)
HISTORIES = [[3], [5, 5, 1], [2, 4, 6, 8, 10], [1, 2, 3, 4, 5, 6, 7, 8, 9]]


def model_of(attention: Path | None = None, model: Path | None = None, **options: Any) -> Any:
    """A model in float64 with parameters away from their start."""
    torch.manual_seed(0)
    named: dict[str, Any] = {"model": str(model)} if model else {"attention": str(attention or "sdpa")}
    config = attnrec.TrainConfig.of(max_len=10, dim=8, heads=2, dropout=0.0, **named, **options).model
    built = build_model(config, CATALOGUE, torch.device("cpu"), "the data").double().eval()
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return built


def test_there_are_ten() -> None:
    assert len(SUBLAYERS) == 9
    for path in SUBLAYERS:
        assert len(path.read_text().splitlines()) <= 40, path
    assert len(STOSA.read_text().splitlines()) <= 120


@pytest.mark.parametrize("path", SUBLAYERS, ids=lambda path: path.stem)
def test_a_mechanism_is_trained_and_used(path: Path, tmp_path: Path) -> None:
    summary = attnrec.train(attention=str(path), out=tmp_path / "run", **QUICK)
    assert 0 < summary["test"]["full"]["NDCG@10"] < 1
    model = attnrec.load(tmp_path / "run")
    assert len(model.recommend(model.vocabulary.items[:3], top=3)) == 3


def test_stosa_is_trained_and_used(tmp_path: Path) -> None:
    summary = attnrec.train(model=str(STOSA), loss="ssm", out=tmp_path / "run", **QUICK)
    assert summary["model"] == str(STOSA)
    assert 0 < summary["test"]["full"]["NDCG@10"] < 1
    again = attnrec.load(tmp_path / "run").evaluate()
    assert again["full"]["NDCG@10"] == pytest.approx(summary["test"]["full"]["NDCG@10"])


@pytest.mark.parametrize("path", [*SUBLAYERS, STOSA], ids=lambda path: path.stem)
def test_later_items_and_other_histories_have_no_effect(path: Path) -> None:
    model = model_of(**({"model": path} if path == STOSA else {"attention": path}))
    together = model(batch_from_histories(HISTORIES, 10))
    start = 0
    for history in HISTORIES:
        for length in range(1, len(history) + 1):
            alone = model(batch_from_histories([history[:length]], 10))
            # the slot of an item is counted from the last one, so a position embedding sees where the history ends
            if length == len(history):
                torch.testing.assert_close(together[start : start + length], alone, rtol=1e-9, atol=1e-9)
        start += len(history)
    other = batch_from_histories([[*HISTORIES[3][:5], 12, 12, 11, 10]], 10)
    torch.testing.assert_close(model(other)[:5], together[-9:-4], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("path", SUBLAYERS, ids=lambda path: path.stem)
def test_every_parameter_of_a_mechanism_learns(path: Path) -> None:
    model = model_of(attention=path).train()
    batch = batch_from_histories(HISTORIES, 10)
    (model(batch) @ model.item_vectors.T).square().sum().backward()
    idle = [name for name, own in model.named_parameters() if own.grad is None or not own.grad.abs().sum() > 0]
    # nobody is told the first slot of a full window by these histories
    assert [name for name in idle if not name.startswith("position_embedding")] == []


# -- what is special about some ----------------------------------------------------------------------------


def test_without_forgetting_it_is_plain_attention() -> None:
    model = model_of(attention=FOLDER / "forgetting.py")
    for block in model.trunk:
        block.mixer.operator.gate.weight.data.zero_()
        block.mixer.operator.gate.bias.data.fill_(50.0)  # f = 1
    plain = model_of()
    plain.load_state_dict(model.state_dict(), strict=False)
    batch = batch_from_histories(HISTORIES, 10)
    torch.testing.assert_close(model(batch), plain(batch))


def test_position_is_left_out_where_a_variant_replaces_it() -> None:
    assert model_of(attention=FOLDER / "cope.py").position_embedding is None
    assert model_of().position_embedding is not None


def test_features_count_in_dif_sr() -> None:
    model = model_of(attention=FOLDER / "dif_sr.py")
    batch = batch_from_histories(HISTORIES, 10)
    before = model(batch)
    model.get_buffer("feature_0")[9] = 0
    changed = (model(batch) - before).abs().amax(1) > 1e-9
    assert not changed[:-1].any()
    assert changed[-1]


def test_grouped_queries_with_a_group_each_are_plain_attention() -> None:
    shape = MixerShape(8, 2, 10)
    spec = Spec.parse(f"{FOLDER / 'grouped_queries.py'}:groups=2")
    mixer, plain = build_mixer(spec, shape), build_mixer(Spec("sdpa"), shape)
    own: Any = mixer
    q, kv = own.qkv, own.kv
    with torch.no_grad():
        plain.get_parameter("qkv.weight").copy_(torch.cat([q.weight, kv.weight]))
        plain.get_parameter("qkv.bias").copy_(torch.cat([q.bias, kv.bias]))
        plain.get_parameter("out.weight").copy_(own.out.weight)
        plain.get_parameter("out.bias").copy_(own.out.bias)
    from attnrec.attention.packing import make_packing

    batch = batch_from_histories(HISTORIES, 10)
    x = torch.randn(len(batch.items), 8)
    packing = make_packing(batch.lengths, 10)
    torch.testing.assert_close(mixer(x, x, packing), plain(x, x, packing))


def test_stosas_score_is_a_distance_up_to_a_constant_of_the_row() -> None:
    model = model_of(model=STOSA)
    state = model.last_output(batch_from_histories(HISTORIES, 10))
    scores = state @ model.item_vectors.T + model.item_bias
    points = model.item_vectors / 2
    distance = (state[:, None] - points).square().sum(-1)
    rest = scores + distance
    torch.testing.assert_close(rest, rest[:, :1].expand_as(rest))


def test_mechanisms_say_what_they_are() -> None:
    for path in [*SUBLAYERS, STOSA]:
        cls = (MODELS if path == STOSA else ATTENTION).find(str(path))
        assert cls.paper
        assert inspect.getdoc(cls)


@pytest.mark.slow
@pytest.mark.parametrize("path", [*SUBLAYERS, STOSA], ids=lambda path: path.stem)
def test_mechanisms_keep_the_contract(path: Path) -> None:
    report = attnrec.check(str(path))
    assert report.holds, str(report)


def test_an_operator_adds_a_loss_of_its_own(tmp_path: Path) -> None:
    source = (FOLDER / "sinks.py").read_text() + "\n    def own_loss(self):\n        return -10 * self.sink.sum()\n"
    (tmp_path / "pushed.py").write_text(source)
    sinks = []
    for path in (FOLDER / "sinks.py", tmp_path / "pushed.py"):
        run = tmp_path / f"run-{path.stem}"
        attnrec.train(attention=str(path), out=run, **QUICK)
        operator: Any = next(part for part in attnrec.load(run).model.modules() if type(part).__name__ == "Sinks")
        sinks.append(float(operator.sink.detach().mean()))
    assert sinks[1] > 0 > sinks[0] or sinks[1] > sinks[0] + 1e-3


@pytest.mark.parametrize("inner", ["op.py", "op.py:Op", "package.module:Op"])
def test_what_stands_inside_a_mixer_has_a_name(inner: str, tmp_path: Path) -> None:
    """A run keeps the source of the mixer, and would not of a file that one of its options names."""
    with pytest.raises(InputError, match="must be a name, not a file or module"):
        attnrec.train(attention=f"{FOLDER / 'gated_output.py'}:operator={inner}", out=tmp_path / "run", **QUICK)


@pytest.mark.parametrize("kind", ["SystemExit", "GeneratorExit", "BaseException"])
@pytest.mark.parametrize("where", ["", "    def __init__(self, *given):\n        "])
def test_a_file_that_ends_the_program_is_an_error(where: str, kind: str, tmp_path: Path) -> None:
    mine = "from attnrec.attention.rotary import RotaryAttention\nclass Mine(RotaryAttention):\n    paper = ''\n"
    (tmp_path / "mine.py").write_text(mine + where + f"raise {kind}(0)\n")
    with pytest.raises(InputError, match=kind):
        attnrec.train(attention=str(tmp_path / "mine.py"), out=tmp_path / "run", **QUICK)
