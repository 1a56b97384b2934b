"""Average attention by slot and between categories, against plain loops."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from attnrec.analysis.attention_figures import attention_figures, category_figure, slot_figure
from attnrec.analysis.attention_maps import AttentionMaps, category_maps, slot_maps
from attnrec.analysis.style import save_figure
from attnrec.core.errors import InputError
from attnrec.data.batches import batch_from_histories
from attnrec.data.interactions import DataError
from attnrec.data.reading.items import read_categories
from attnrec.data.splits import leave_one_out
from attnrec.recommender import Recommender, load
from attnrec.training.config import TrainConfig
from attnrec.training.run import train


@pytest.fixture
def run(small_file: Path, tmp_path: Path) -> Path:
    config = TrainConfig.of(
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
        config = TrainConfig.of(dataset=str(small_file), attention=attention, dim=8, max_len=12, epochs=1, batch_size=8)
        train(config, tmp_path / attention)
        if blocks is None:
            with pytest.raises(InputError, match="attention linear has no attention weights"):
                slot_maps(load(tmp_path / attention), slots=5)
        else:
            assert [block.block for block in slot_maps(load(tmp_path / attention), slots=5)] == blocks


def test_negative_weights_are_told_from_positive_ones() -> None:
    positive, mixed = np.tril(np.full((1, 4, 4), 0.5)), np.tril(np.linspace(-0.3, 0.1, 16).reshape(1, 4, 4))
    for matrix, limits in ((positive, (0.0, 0.5)), (mixed, (-0.3, 0.3))):
        figure = slot_figure([AttentionMaps(1, {"weights": matrix})], "")
        assert figure.axes[0].images[0].get_clim() == pytest.approx(limits)


def a_map(block: int, heads: int, *names: str) -> AttentionMaps:
    """Every matrix has values of its own."""
    return AttentionMaps(block, {name: np.tril(np.full((heads, 3, 3), block + n / 8)) for n, name in enumerate(names)})


@pytest.mark.parametrize("draw", [lambda maps: slot_figure(maps, "x"), lambda maps: category_figure(maps, "abc", "x")])
def test_rows_are_blocks_and_columns_heads(draw: Callable[[list[AttentionMaps]], Figure]) -> None:
    figure = draw([a_map(block, 8, "weights") for block in (1, 2, 3)])
    panels = [axes for axes in figure.axes if axes.images]
    spots = [axes.get_subplotspec() for axes in panels]
    assert [(spot.rowspan.start, spot.colspan.start) for spot in spots if spot] == [
        (block, head) for block in range(3) for head in range(8)
    ]
    assert [axes.get_ylabel() for axes in panels[::8]] == [f"block {block}\nweights" for block in (1, 2, 3)]
    assert [axes.get_title() for axes in panels[:8]] == [f"head {head}" for head in range(1, 9)]
    assert figure.get_figwidth() < 16
    shown = [float(np.ma.max(np.ma.asarray(axes.images[0].get_array()))) for axes in panels]
    assert shown == [block for block in (1, 2, 3) for _ in range(8)]


def test_several_matrices_stand_side_by_side_or_below_each_other() -> None:
    names = ("first-order", "higher-order", "refined")
    side = [axes for axes in slot_figure([a_map(b, 1, *names) for b in (1, 2)], "x").axes if axes.images]
    assert [axes.get_title() for axes in side] == [f"{name}, head 1" for name in names] * 2
    assert [axes.get_ylabel() for axes in side] == ["block 1", "", "", "block 2", "", ""]
    below = [axes for axes in slot_figure([a_map(b, 2, *names) for b in (1, 2)], "x").axes if axes.images]
    assert [axes.get_ylabel() for axes in below[::2]] == [f"block {b}\n{name}" for b in (1, 2) for name in names]
    for panels in (side, below):  # one scale a block
        half = len(panels) // 2
        assert {axes.images[0].get_clim() for axes in panels[:half]} == {(0.0, 1.25)}
        assert {axes.images[0].get_clim() for axes in panels[half:]} == {(0.0, 2.25)}


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
    panels = [axes for axes in figures["attention-by-slot"].axes if axes.images]
    assert [axes.get_title() for axes in panels] == ["head 1", "head 2"] + [""] * 6
    assert [axes.get_ylabel() for axes in panels] == [
        label
        for row in ("block 1\nfirst-order", "block 1\nhigher-order", "block 1\nrefined", "block 2\nweights")
        for label in (row, "")
    ]
    png, svg = save_figure(figures["attention-by-category"], tmp_path / "figures", "x")
    assert png.read_bytes().startswith(b"\x89PNG")
    assert "<svg" in svg.read_text()


def test_the_embedded_data_brings_its_categories(tmp_path: Path) -> None:
    train(TrainConfig.of(dim=4, epochs=1, eval_every=1), tmp_path / "run")
    figures = attention_figures(load(tmp_path / "run"), users=1500, slots=30)
    assert list(figures) == ["attention-by-slot", "attention-by-category"]
    shown = figures["attention-by-slot"].axes[0].images[0].get_array()
    assert shown is not None
    assert shown.shape == (19, 19)  # no test history is longer
    ticks = [label.get_text() for label in figures["attention-by-category"].axes[1].get_xticklabels()]
    assert ticks == [f"{kind} {place}" for kind in ("books", "films") for place in range(1, 7)]


def test_a_model_without_blocks_has_no_map(small_file: Path, tmp_path: Path) -> None:
    train(TrainConfig.of(dataset=str(small_file), dim=4, blocks=0, epochs=1), tmp_path / "run")
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
    with pytest.raises(DataError, match="has none of the data's items"):
        read_categories(table, "genres", ["9"])
    (tmp_path / "empty.tsv").write_text("")
    with pytest.raises(DataError, match="is empty"):
        read_categories(tmp_path / "empty.tsv", "genres", ["1"])
    (tmp_path / "bytes.tsv").write_bytes(b"\xff\xfea\x00")
    with pytest.raises(DataError, match="in UTF-16; save it in UTF-8"):
        read_categories(tmp_path / "bytes.tsv", "genres", ["1"])
