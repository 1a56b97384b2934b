"""A comparison of many variants with long names stays readable."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pytest

from attnrec.analysis.comparison_figures import comparison_figures
from attnrec.analysis.running_mean import running_mean
from attnrec.experiments.compare import Comparison
from attnrec.training.config import TrainConfig
from tests.analysis.conftest import cut_texts

STEPS = 120


@dataclass(frozen=True)
class MadeUpRun:
    """What the figures read of a run."""

    place: int

    def result(self) -> dict[str, Any]:
        return {"test": {name: {f"NDCG@{n}": n / 100 + self.place / 1000 for n in (1, 5, 10)} for name in PROTOCOLS}}

    def log(self) -> list[dict[str, Any]]:
        lines: list[dict[str, Any]] = []
        for step in range(1, STEPS + 1):
            epoch = (step - 1) // 30 + 1
            lines.append({"step": step, "epoch": epoch, "loss": 1.0, "grad_norm": norm(step) + self.place})
            if step % 30 == 0:
                lines.append({"epoch": epoch, "valid": {name: {"NDCG@10": epoch / 10} for name in PROTOCOLS}})
        return lines


PROTOCOLS = ("full", "sampled")


def norm(step: int) -> float:
    return 1 + np.sin(step)


@dataclass(frozen=True)
class MadeUp:
    """A comparison whose runs are all finished."""

    variants: tuple[str, ...]
    seeds: tuple[int, ...] = (0, 1)
    config: TrainConfig = field(default_factory=lambda: TrainConfig.of(dataset="a-data-set-of-a-rather-long-name.txt"))

    def run(self, variant: str, _: int) -> MadeUpRun:
        return MadeUpRun(self.variants.index(variant))

    def runs(self) -> list[tuple[str, int]]:
        return [(variant, seed) for seed in self.seeds for variant in self.variants]

    def finished(self, *_: Any) -> bool:
        return True

    def finished_seeds(self, _: str) -> tuple[int, ...]:
        return self.seeds


def drawn(count: int) -> dict[str, Any]:
    made_up = MadeUp(tuple(f"awr:refinement=additive,impl=triton,width={place}" for place in range(count)))
    return dict(comparison_figures(cast(Comparison, made_up), {}))


@pytest.mark.parametrize("count", [2, 14])
def test_nothing_is_cut(count: int) -> None:
    for name, figure in drawn(count).items():
        assert not cut_texts(figure), name
        for axes in figure.axes:
            assert axes.get_window_extent().height > 0.4 * 3.9 * figure.dpi, name


def test_fourteen_variants_differ_in_the_legend() -> None:
    for name, figure in drawn(14).items():
        lines = figure.legends[0].get_lines()
        assert len({(line.get_color(), str(line._dash_pattern), line.get_marker()) for line in lines}) == 14, name
        assert len({line.get_color() for line in lines}) >= 10
        assert min(line.get_linewidth() for line in lines) >= 1.5


def test_gradient_norms_go_from_the_first_step_to_the_last() -> None:
    axes = drawn(2)["gradient-norm-by-step"].axes[0]
    means = [line for line in axes.get_lines() if not line.get_label().startswith("_")]
    for place, line in enumerate(means):
        assert list(line.get_xdata()) == list(range(1, STEPS + 1))
        values = np.array([norm(step) for step in range(1, STEPS + 1)]) + place
        assert line.get_ydata() == pytest.approx(running_mean(values, 12))
    assert len(axes.get_lines()) == 4  # and every step, faintly


def test_many_variants_have_no_bands_over_each_other() -> None:
    assert drawn(2)["validation-by-epoch"].axes[0].collections
    assert not drawn(14)["validation-by-epoch"].axes[0].collections
    assert len(drawn(14)["gradient-norm-by-step"].axes[0].get_lines()) == 14
