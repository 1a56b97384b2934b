"""Fifty steps of training lead to the same figures as in earlier versions, in float64 to 1e-6."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from attnrec.data.synthetic import synthetic
from attnrec.training.config import TrainConfig
from attnrec.training.gradients import global_gradient_norm
from attnrec.training.loop import Trainer
from attnrec.training.observer import Observer
from attnrec.training.run_directory import RunDirectory

FIGURES: list[tuple[dict[str, Any], tuple[float, float, float]]] = [
    ({}, (4.768549469, 0.080272311, 14.841253675)),
    ({"norm": "pre", "attention": "awr", "heads": 2}, (4.773763357, 0.066642155, 19.051031427)),
    ({"norm": "post", "loss": "bce", "zero_init": False, "bias": False}, (1.383448044, 0.095544914, 15.536770624)),
    (
        {"attention": "rotary+alibi", "loss": "ssm", "negatives": 4, "clip_norm": 1.0},
        (1.597254563, 0.082918652, 14.845736696),
    ),
]


def after_fifty_steps(**options: Any) -> tuple[float, float, float]:
    """The loss of the last step, its gradient norm, and the norm of all parameters then."""
    config = TrainConfig.of(dim=16, max_len=10, batch_size=32, dropout=0.0, device="cpu", seed=3, **options)
    trainer = Trainer(config, RunDirectory(Path("unused")), synthetic(), Observer())
    # values that no generator draws, so that only arithmetic counts
    place = 0
    with torch.no_grad():
        for parameter in trainer.model.parameters():
            numbers = torch.arange(place, place + parameter.numel(), dtype=torch.float64)
            parameter.data = (0.3 * torch.sin(1.7 * numbers)).view(parameter.shape)
            place += parameter.numel()
        for table in trainer.model.modules():
            if isinstance(table, torch.nn.Embedding) and table.padding_idx is not None:
                table.weight[table.padding_idx] = 0
    trainer.model.train()
    loss = norm = torch.zeros(())
    for batch in islice(trainer.batches.epoch(1), 50):
        trainer.optimizer.zero_grad()
        loss = trainer.objective(trainer.model(batch), trainer.model.item_vectors, batch, trainer.generator)
        loss.backward()
        norm = global_gradient_norm(trainer.model.parameters(), config.training.clip_norm)
        trainer.optimizer.step()
    size = torch.cat([parameter.detach().flatten() for parameter in trainer.model.parameters()]).norm()
    return float(loss.detach()), float(norm), float(size)


@pytest.mark.parametrize(("options", "figures"), FIGURES, ids=lambda value: str(value))
def test_the_figures_are_those_of_before(options: dict[str, Any], figures: tuple[float, float, float]) -> None:
    assert after_fifty_steps(**options) == pytest.approx(figures, rel=1e-6)
