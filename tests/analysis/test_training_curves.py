"""The figure of a training shows what its log says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from attnrec.analysis.attention_figures import attention_figures
from attnrec.analysis.style import save_figure
from attnrec.analysis.training_curves import training_figure
from attnrec.core.errors import InputError, RunError
from attnrec.recommender import load
from attnrec.training.config import TrainConfig
from attnrec.training.run import train
from tests.analysis.conftest import cut_texts


@pytest.fixture
def run(small_file: Path, tmp_path: Path) -> Path:
    config = TrainConfig.of(dataset=str(small_file), epochs=4, eval_every=2, dim=8, cutoffs=(10,))
    train(config, tmp_path / "run")
    return tmp_path / "run"


def test_the_panels_hold_the_logged_values(run: Path) -> None:
    loss, norm, valid = training_figure(run).axes
    for axes in (loss, norm):
        steps, values = axes.lines[0].get_data()
        assert list(np.asarray(steps)) == [1, 2, 3, 4]
        assert np.isfinite(np.asarray(values, dtype=float)).all()
        steps, means = axes.lines[1].get_data()
        assert list(np.asarray(steps)) == [1, 2, 3, 4]
        assert np.asarray(means)[1:3] == pytest.approx(
            [np.mean(np.asarray(values, dtype=float)[part : part + 3]) for part in (0, 1)]
        )
    assert valid.get_ylabel() == "validation NDCG@10"
    assert [list(np.asarray(line.get_xdata())) for line in valid.lines[:1]] == [[2, 4]]


def test_names_are_no_mathematics(small_file: Path, tmp_path: Path) -> None:
    name = r"a$b$c$\q$_^[x]"
    small_file.rename(tmp_path / f"{name}.txt")
    config = TrainConfig.of(dataset=str(tmp_path / f"{name}.txt"), epochs=1, dim=8, cutoffs=(10,))
    train(config, tmp_path / "run")
    figures = {"training": training_figure(tmp_path / "run"), **attention_figures(load(tmp_path / "run"))}
    for kind, figure in figures.items():
        _, svg = save_figure(figure, tmp_path / "figures", kind)
        assert svg.is_file()
    (title,) = [text for text in figures["training"].texts if "sdpa" in text.get_text()]
    assert title._preprocess_math(title.get_text())[0].startswith(name)  # type: ignore[attr-defined]


def test_what_is_written_lies_within_the_figure(run: Path) -> None:
    assert not cut_texts(training_figure(run))


def test_the_files_are_pictures(run: Path) -> None:
    png, svg = save_figure(training_figure(run), run / "figures", "training")
    assert png.read_bytes().startswith(b"\x89PNG")
    assert "<svg" in svg.read_text()
    assert len(list((run / "figures").iterdir())) == 2


def test_what_cannot_be_plotted(run: Path) -> None:
    with pytest.raises(InputError, match="there is no run directory"):
        training_figure(run / "nowhere")
    (run / "metrics.jsonl").write_text("{")
    with pytest.raises(RunError, match=r"metrics\.jsonl is damaged or cut"):
        training_figure(run)
    (run / "metrics.jsonl").unlink()
    with pytest.raises(RunError, match=r"metrics\.jsonl is missing"):
        training_figure(run)
