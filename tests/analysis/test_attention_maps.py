"""Average attention by slot and between categories, against plain loops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from attnrec.analysis.attention_maps import AttentionMaps, attention_figures, category_maps, slot_figure, slot_maps
from attnrec.analysis.style import save_figure
from attnrec.data.batches import batch_from_histories
from attnrec.data.interactions import DataError
from attnrec.data.reading.items import read_categories
from attnrec.data.splits import leave_one_out
from attnrec.errors import InputError
from attnrec.recommender import Recommender, load
from attnrec.training.config import TrainConfig
from attnrec.training.run import train


@pytest.fixture
def run(small_file: Path, tmp_path: Path) -> Path:
    config = TrainConfig(
        dataset=str(small_file), attention="awr+sdpa", heads=2, dim=8, max_len=12, epochs=1, batch_size=8
    )
    train(config, tmp_path / "run")
    return tmp_path / "run"


def histories(model: Recommender) -> list[list[int]]:
    data = model.interactions()
    split = leave_one_out(data)
    return [data.history(user)[:-1][-12:].tolist() for user in split.users("test")]


def test_by_slot(run: Path) -> None:
    model = load(run)
    maps = slot_maps(model, users=10**6, slots=5)
    assert [list(block.matrices) for block in maps] == [["first-order", "higher-order", "refined"], ["weights"]]
    for block in maps:
        for name, found in block.matrices.items():
            total, reached = np.zeros((2, 5, 5)), np.zeros(5)
            for history in histories(model):
                with torch.inference_mode():
                    weights = model.model.attention_weights(batch_from_histories([history], 12))[block.block - 1][name]
                n = min(5, len(history))
                total[:, 5 - n :, 5 - n :] += weights[0, :, -n:, -n:].numpy()
                reached[5 - n :] += 1
            assert found == pytest.approx(total / reached[:, None], abs=1e-6)


def test_blocks_without_weights_are_left_out(small_file: Path, tmp_path: Path) -> None:
    for attention, blocks in (("linear+sdpa", [2]), ("sdpa+linear", [1]), ("linear", None)):
        config = TrainConfig(dataset=str(small_file), attention=attention, dim=8, max_len=12, epochs=1, batch_size=8)
        train(config, tmp_path / attention)
        if blocks is None:
            with pytest.raises(InputError, match="LinearAttention has no attention weights"):
                slot_maps(load(tmp_path / attention), slots=5)
        else:
            assert [block.block for block in slot_maps(load(tmp_path / attention), slots=5)] == blocks


def test_negative_weights_are_told_from_positive_ones() -> None:
    positive, mixed = np.tril(np.full((1, 4, 4), 0.5)), np.tril(np.linspace(-0.3, 0.1, 16).reshape(1, 4, 4))
    for matrix, limits in ((positive, (0.0, 0.5)), (mixed, (-0.3, 0.3))):
        figure = slot_figure([AttentionMaps(1, {"weights": matrix})], "")
        assert figure.axes[0].images[0].get_clim() == pytest.approx(limits)


def test_by_category(run: Path) -> None:
    model = load(run)
    kinds = {item: ("odd" if int(item[1:]) % 2 else "even", *(("low",) if int(item[1:]) < 10 else ()))
             for item in model.vocabulary.items}  # fmt: skip
    maps, names = category_maps(model, list(kinds.values()), users=10**6)
    assert set(names) == {"odd", "even", "low"}
    place = {name: number for number, name in enumerate(names)}
    total, even = np.zeros((2, 3, 3)), np.zeros((3, 3))
    for history in histories(model):
        with torch.inference_mode():
            weights = model.model.attention_weights(batch_from_histories([history], 12))[1]["weights"][0].numpy()
        for i, one in enumerate(history):
            for j, other in enumerate(history[: i + 1]):
                for a in kinds[model.vocabulary.items[one - 1]]:
                    for b in kinds[model.vocabulary.items[other - 1]]:
                        total[:, place[a], place[b]] += weights[:, i, j]
                        even[place[a], place[b]] += 1 / (i + 1)
    assert maps[1].matrices["weights"] == pytest.approx(total / even, rel=1e-4)


def test_figures(run: Path, tmp_path: Path) -> None:
    table = tmp_path / "items.csv"
    table.write_text("item,kind\n" + "".join(f"i{number},{'ab'[number % 2]}\n" for number in range(1, 31)))
    figures = attention_figures(load(run), items=table, category="kind", users=20)
    assert list(figures) == ["attention-by-slot", "attention-by-category"]
    titles = [axes.get_title() for axes in figures["attention-by-slot"].axes if axes.get_visible() and axes.get_title()]
    assert titles == [
        *(f"block 1, head {head}: {name}" for head in (1, 2) for name in ("first-order", "higher-order", "refined")),
        *(f"block 2, head {head}: weights" for head in (1, 2)),
    ]
    png, svg = save_figure(figures["attention-by-category"], tmp_path / "figures", "x")
    assert png.read_bytes().startswith(b"\x89PNG")
    assert "<svg" in svg.read_text()


def test_the_embedded_data_brings_its_categories(tmp_path: Path) -> None:
    train(TrainConfig(dim=4, epochs=1, eval_every=1), tmp_path / "run")
    figures = attention_figures(load(tmp_path / "run"), users=1500, slots=30)
    assert list(figures) == ["attention-by-slot", "attention-by-category"]
    shown = figures["attention-by-slot"].axes[0].images[0].get_array()
    assert shown is not None
    assert shown.shape == (19, 19)  # no test history is longer
    ticks = [label.get_text() for label in figures["attention-by-category"].axes[0].get_xticklabels()]
    assert ticks == [f"{kind} {place}" for kind in ("books", "films") for place in range(1, 7)]


def test_a_model_without_blocks_has_no_map(small_file: Path, tmp_path: Path) -> None:
    train(TrainConfig(dataset=str(small_file), dim=4, blocks=0, epochs=1), tmp_path / "run")
    with pytest.raises(InputError, match="has no attention block"):
        attention_figures(load(tmp_path / "run"))


def test_items_files(tmp_path: Path) -> None:
    table = tmp_path / "items.tsv"
    table.write_text('id\ttitle\tgenres\n1\t"A" film\tX|Y\n3\tB\t\n')
    assert read_categories(table, "genres", ["1", "2", "3"]) == [("X", "Y"), (), ()]
    for path, column, message in (
        (table, "genre", "has no column 'genre'; did you mean genres?"),
        (table, "id", "has no column 'id'"),
        (tmp_path / "none.tsv", "genres", "cannot read"),
        (tmp_path, "genres", "is a folder"),
    ):
        with pytest.raises(DataError, match=message):
            read_categories(path, column, ["1"])
    with pytest.raises(DataError, match="knows none of the items"):
        read_categories(table, "genres", ["9"])
    (tmp_path / "empty.tsv").write_text("")
    with pytest.raises(DataError, match="is empty"):
        read_categories(tmp_path / "empty.tsv", "genres", ["1"])
    (tmp_path / "bytes.tsv").write_bytes(b"\xff\xfea\x00")
    with pytest.raises(DataError, match="in UTF-16; save it in UTF-8"):
        read_categories(tmp_path / "bytes.tsv", "genres", ["1"])
