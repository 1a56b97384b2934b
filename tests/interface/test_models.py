"""What a model of one's own may be: a bias, counts and nothing to learn, a loss of its own, features, kept copies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import attnrec
from attnrec.core.errors import InputError, RunError
from attnrec.data.batches import batch_from_histories
from attnrec.data.catalogue import Catalogue
from attnrec.models.base import with_bias
from attnrec.models.options import ModelOptions
from attnrec.training.run_directory import RunDirectory

QUICK: dict[str, Any] = {"epochs": 1, "dim": 8, "max_len": 10, "batch_size": 512, "device": "cpu"}
POPULARITY = """
import torch
from attnrec.models.base import SequentialModel

class Popularity(SequentialModel):
    uses = frozenset({"max_len"})

    def __init__(self, catalogue, config):
        super().__init__(catalogue, config)
        self.register_buffer("counts", torch.zeros(catalogue.num_items + 1))

    def fit_counts(self, split):
        from attnrec.evaluation.targets import training_popularity
        self.counts.copy_(torch.from_numpy(training_popularity(split)))

    def forward(self, batch):
        return self.counts.new_ones(len(batch.items), 1)

    @property
    def item_vectors(self):
        return self.counts[:, None]
"""
BIASED = """
import torch
from torch import nn
from attnrec.models.base import SequentialModel, item_table

class Biased(SequentialModel):
    def __init__(self, catalogue, config, *, push: float = 0.0):
        super().__init__(catalogue, config)
        self.items = item_table(catalogue, config.dim)
        self.bias = nn.Parameter(torch.zeros(catalogue.num_items + 1))
        self.push = push

    def forward(self, batch):
        return self.items(batch.items)

    @property
    def item_vectors(self):
        return self.items.weight

    @property
    def item_bias(self):
        return self.bias

    def auxiliary_loss(self, states, batch):
        return -self.push * self.bias[1] if self.push else None
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "popularity.py").write_text(POPULARITY)
    (tmp_path / "biased.py").write_text(BIASED)
    return tmp_path


def test_a_model_that_only_counts(folder: Path) -> None:
    summary = attnrec.train(model="popularity.py", out="run", max_len=10, device="cpu")
    assert (summary["epochs"], summary["parameters"]) == (0, 0)
    model = attnrec.load("run")
    data = model.interactions()
    split = model.split()
    counts = np.zeros(data.num_items + 1)
    for user in range(data.num_users):
        np.add.at(counts, data.history(user)[: split.train_lengths[user]], 1)
    best = [item for item, _ in model.recommend([data.item_ids[0]], top=3, include_seen=True)]
    assert sorted(counts[[data.item_ids.index(item) + 1 for item in best]]) == sorted(np.sort(counts)[-3:])
    assert model.evaluate()["full"] == pytest.approx(summary["test"]["full"])


@pytest.mark.parametrize("loss", ["ce", "bce", "ssm"])
def test_a_bias_takes_part_in_every_loss_and_score(folder: Path, loss: str) -> None:
    attnrec.train(model="biased.py", loss=loss, out="run", **QUICK)
    model = attnrec.load("run")
    bias = model.model.item_bias
    assert bias is not None
    assert bias[1:].abs().min() > 0
    assert bias[0] == 0
    with torch.no_grad():
        bias[7] = 1e6
    assert model.recommend([model.vocabulary.items[0]], top=1)[0][0] == model.vocabulary.items[6]
    assert model.evaluate()["full"]["Hit@1"] < 0.1


def test_a_loss_of_ones_own_is_added(folder: Path) -> None:
    for push in (0, 5):
        attnrec.train(model=f"biased.py:push={push}", out=f"run-{push}", **QUICK)
    plain, pushed = (attnrec.load(f"run-{push}").model.item_bias for push in (0, 5))
    assert plain is not None
    assert pushed is not None
    assert pushed[1] > plain[1]


def test_a_run_keeps_a_copy_of_its_model(folder: Path) -> None:
    attnrec.train(model="biased.py:push=2", out="run", **QUICK)
    assert (folder / "run/variants/biased.py").read_text() == BIASED
    before = attnrec.load("run").recommend([attnrec.load("run").vocabulary.items[0]])
    (folder / "biased.py").write_text("raise SystemExit('this is not the model of the run')")
    assert attnrec.load("run").recommend([attnrec.load("run").vocabulary.items[0]]) == before
    assert attnrec.train(out="run", resume=True, epochs=2)["epochs"] == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "gru"}, "unknown model 'gru'; known: sasrec"),
        ({"model": "sasrec:layers=2"}, "model 'sasrec' has no option 'layers'; it has no options"),
        ({"model": "biased.py", "heads": 2}, "`model='biased.py'` does not use `heads`"),
        ({"model": "biased.py", "attention": "awr"}, "`model='biased.py'` does not use `attention`"),
        ({"model": "biased.py:push=much"}, "option push='much' is not a number"),
        ({"model": "broken.py"}, r"broken.py:Broken does not define item_vectors"),
        ({"model": "biased.py:"}, "is not of the form NAME"),
    ],
)
def test_what_cannot_be_a_model(folder: Path, options: dict[str, Any], message: str) -> None:
    of_base = "from attnrec.models.base import SequentialModel\n"
    (folder / "broken.py").write_text(of_base + "class Broken(SequentialModel):\n    def forward(self, batch): 0\n")
    with pytest.raises(InputError, match=message):
        attnrec.train(out="run", **(QUICK | options))
    assert not (folder / "run").exists()


def test_states_of_another_shape_are_one_line(folder: Path) -> None:
    (folder / "biased.py").write_text(
        BIASED.replace("return self.items(batch.items)", "return self.items(batch.items)[1:]")
    )
    with pytest.raises(InputError, match=r"Biased.forward returned \[\d+, 8\], not \[\d+, 8\]; see `attnrec check`"):
        attnrec.train(model="biased.py", out="run", **QUICK)


@pytest.mark.parametrize("wrong", ["self.items.weight[1:]", "self.items.weight[:, 0]", "None"])
def test_item_vectors_of_another_shape_are_one_line(folder: Path, wrong: str) -> None:
    (folder / "biased.py").write_text(BIASED.replace("return self.items.weight", f"return {wrong}"))
    with pytest.raises((InputError, RunError), match="item_vectors") as found:
        attnrec.train(model="biased.py", out="run", **QUICK)
    assert "\n" not in str(found.value)


def test_with_bias_is_the_sum() -> None:
    states, vectors, bias = torch.randn(5, 3), torch.randn(7, 3), torch.randn(7)
    one, other = with_bias(states, vectors, bias)
    torch.testing.assert_close(one @ other.T, states @ vectors.T + bias)
    assert with_bias(states, vectors, None) == (states, vectors)


# -- users -------------------------------------------------------------------------------------------------

WITH_USERS = """
from torch import nn
from attnrec.models.base import SequentialModel, item_table

class LastItemAndUser(SequentialModel):
    knows_users = True

    def __init__(self, catalogue, config):
        super().__init__(catalogue, config)
        self.items = item_table(catalogue, config.dim)
        self.users = nn.Embedding(catalogue.num_users, config.dim)

    def forward(self, batch):
        return self.items(batch.items) + self.users(batch.users)

    @property
    def item_vectors(self):
        return self.items.weight
"""


def test_a_model_that_knows_users(folder: Path) -> None:
    (folder / "users.py").write_text(WITH_USERS)
    pairs = ((user, (3 * user + place) % 12) for user in range(40) for place in range(6))
    (folder / "data.txt").write_text("".join(f"u{user} i{item}\n" for user, item in pairs))
    given = QUICK | {"model": "users.py", "dataset": "data.txt", "cutoffs": [5]}
    summary = attnrec.train(out="run", **given)
    model = attnrec.load("run")
    assert model.evaluate(cutoffs=(5,))["full"]["NDCG@5"] == pytest.approx(summary["test"]["full"]["NDCG@5"])
    assert model.recommend(["i1"], user="u3") != model.recommend(["i1"], user="u4")
    with pytest.raises(InputError, match="give a user id as `user`"):
        model.recommend(["i1"])
    content = (folder / "data.txt").read_text()
    (folder / "data.txt").write_text(content.replace("u1 ", "x ").replace("u2 ", "u1 ").replace("x ", "u2 "))
    with pytest.raises(InputError, match=r"data\.txt"):  # two users have changed places
        model.evaluate(cutoffs=(5,))
    (folder / "users.py").write_text(WITH_USERS.replace("knows_users = True", "pass"))
    with pytest.raises(RunError, match=r"users\.py, line 14, in forward"):  # for it has no users then
        attnrec.train(out="other", **given)


# -- features ----------------------------------------------------------------------------------------------

WITH_FEATURES = """
from torch import nn
from attnrec.models.base import SequentialModel, item_table

class Genres(SequentialModel):
    needs_features = True

    def __init__(self, catalogue, config):
        super().__init__(catalogue, config)
        self.items = item_table(catalogue, config.dim)
        self.tables = nn.ModuleDict(
            {name: nn.Embedding(n + 1, config.dim, padding_idx=0) for name, n in catalogue.features.sizes.items()}
        )

    def forward(self, batch):
        own = self.features_of(batch.items)
        return self.items(batch.items) + sum(table(own[name]).sum(-2) for name, table in self.tables.items())

    @property
    def item_vectors(self):
        return self.items.weight
"""


@pytest.fixture
def tabled(folder: Path) -> dict[str, Any]:
    """Options of a training with a table of features."""
    (folder / "genres.py").write_text(WITH_FEATURES)
    pairs = ((user, (3 * user + place) % 12) for user in range(40) for place in range(6))
    (folder / "data.txt").write_text("".join(f"u{user} i{item}\n" for user, item in pairs))
    rows = "".join(f"i{item},{'abc'[item % 3]}|d,{item % 2}\n" for item in range(12))
    (folder / "items.csv").write_text("item,genre,parity\n" + rows)
    return QUICK | {"model": "genres.py", "dataset": "data.txt", "features": "items.csv", "cutoffs": [5]}


def test_features_from_a_table(folder: Path, tabled: dict[str, Any]) -> None:
    attnrec.train(out="run", feature_columns=["genre", "parity"], **tabled)
    content = json.loads((folder / "run/vocabulary.json").read_text())
    assert content["features"]["genre"][0] == ["abc"[int(content["items"][0][1:]) % 3], "d"]
    (folder / "items.csv").unlink()
    model = attnrec.load("run")  # which needs the table no more
    assert list(model.model.features_of(torch.tensor([1]))) == ["genre", "parity"]
    assert len(model.recommend(["i1", "i2"])) == 10
    attnrec.train(out="category", **(tabled | {"features": str(_again(folder))}))
    assert list(RunDirectory.open("category").vocabulary().features) == ["genre"]


def _again(folder: Path) -> Path:
    rows = "".join(f"i{item},{'abc'[item % 3]}\n" for item in range(12))
    (folder / "again.csv").write_text("item,genre\n" + rows)
    return folder / "again.csv"


def test_the_categories_of_the_data_are_a_feature(folder: Path, tabled: dict[str, Any]) -> None:
    attnrec.train(out="run", **(QUICK | {"model": "genres.py"}))
    assert list(RunDirectory.open("run").vocabulary().features) == ["category"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": "nothing.csv"}, "nothing.csv"),
        ({"features": ""}, "needs item features, and data.txt has none: give `features=FILE`"),
        ({"feature_columns": ["colour"]}, "has no column 'colour'"),
        ({"features": "", "feature_columns": ["genre"]}, "`feature_columns` needs `features`"),
        ({"features": "few.csv"}, "few.csv has no row for 11 of the 12 items of data, such as 'i1'"),
        ({"feature_columns": "genre"}, "feature_columns must be a list of strings"),
        ({"features": "twice.csv", "feature_columns": ["genre"]}, "twice.csv has 2 columns 'genre'"),
        ({"features": "none.csv"}, "none.csv has no value of 'genre' for any item of data"),
        ({"features": "ids.csv"}, "the columns id and itemid may each hold the ids of the items"),
        ({"features": "two.csv"}, "two.csv has two rows of item 'i0', whose genre differs: 'a' and 'b|c'"),
    ],
)
def test_features_that_cannot_be_used(
    folder: Path, tabled: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    (folder / "few.csv").write_text("item,genre\ni0,a\n")
    (folder / "twice.csv").write_text("item,genre,genre\ni0,a,b\n")
    (folder / "ids.csv").write_text("id,item_id,genre\n" + "".join(f"i{item},i{11 - item},a\n" for item in range(12)))
    (folder / "none.csv").write_text("item,genre\n" + "".join(f"i{item},\n" for item in range(12)))
    (folder / "two.csv").write_text("item,genre\ni0,a\ni0, a |a\ni0,b|c\n")
    with pytest.raises(InputError, match=message):
        attnrec.train(out="run", **(tabled | change))


def test_features_that_changed_are_noticed(folder: Path, tabled: dict[str, Any]) -> None:
    attnrec.train(out="run", feature_columns=["parity"], **tabled)
    path = folder / "items.csv"
    path.write_text(path.read_text().replace(",1\n", ",one\n"))
    with pytest.raises(InputError, match="the features of the items have changed since run was started"):
        attnrec.train(out="run", resume=True, epochs=2)


def test_a_buffer_for_every_feature_whatever_it_is_called() -> None:
    from attnrec.data.catalogue import ItemFeatures
    from attnrec.models.sasrec import SASRec

    features = ItemFeatures.of({"a.b": [("x",)], "a_b": [("y", "z")]})
    model = SASRec(Catalogue(1, 0, features=features), ModelOptions(dim=8))
    model.keep_features()
    found = model.features_of(batch_from_histories([[1, 1]], 50).items)
    assert {name: own.tolist() for name, own in found.items()} == {"a.b": [[1], [1]], "a_b": [[1, 2], [1, 2]]}
