"""What a training needs at least: never more than it really takes, and a refusal that names the option."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from attnrec.core import memory
from attnrec.core.errors import InputError
from attnrec.core.memory import memory_of, refuse_more
from attnrec.data.catalogue import Catalogue
from attnrec.models.build import build_model
from attnrec.training.config import TrainConfig
from attnrec.training.memory import TrainingSize, check_memory, least_bytes, least_parameters

CPU = torch.device("cpu")
SIZE = TrainingSize(items=3000, users=2000, trained=1900, history=12.0)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"norm": "pre", "heads": 4, "blocks": 3},
        {"norm": "post", "bias": False, "position": False},
        {"shared_embedding": False, "user_vector": True, "blocks": 0},
    ],
    ids=str,
)
def test_the_parameters_are_those_of_the_model(options: dict[str, Any]) -> None:
    config = TrainConfig.of(**options)
    model = build_model(config.model, Catalogue(SIZE.items, SIZE.users), CPU, "the data")
    assert least_parameters(config, SIZE) == sum(parameter.numel() for parameter in model.parameters())
    with_own = config.changed(attention="awr")  # an operator's own parameters are not counted
    own = build_model(with_own.model, Catalogue(SIZE.items, SIZE.users), CPU, "the data")
    assert least_parameters(with_own, SIZE) <= sum(parameter.numel() for parameter in own.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 10**6}, "`dim=1000000` needs at least"),
        ({"dim": 10**9}, "`dim=1000000000` needs at least"),
        ({"max_len": 10**9}, "`max_len=1000000000` needs at least"),
        ({"blocks": 1000, "dim": 4096}, "`dim=4096` needs at least"),
        ({"negatives": 10**6, "loss": "bce"}, "`negatives=1000000` needs at least"),
        ({"negatives": 10**9, "loss": "ssm"}, "`negatives=1000000000` needs at least"),
    ],
    ids=str,
)
def test_what_cannot_fit_is_refused(monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], message: str) -> None:
    monkeypatch.setattr(memory, "memory_of", lambda device: 8 << 30)
    with pytest.raises(InputError) as caught:
        check_memory(TrainConfig.of(**options), SIZE, CPU)
    assert str(caught.value).startswith(message)
    assert str(caught.value).endswith("B of memory, and this machine has 8.0 GiB")


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({}, SIZE),
        ({"preset": "strong"}, TrainingSize(60_000, 140_000, 140_000, 50.0)),
        ({"batch_size": 10**9, "loss": "gbce", "negatives": 256}, SIZE),
        ({"max_len": 10**9, "position": False}, SIZE),  # nothing is kept for slots that no history has
        ({"epochs": 10**9, "negatives": 10**9}, SIZE),  # which `ce` does not draw
        ({"dim": 1024, "blocks": 24, "heads": 16, "max_len": 200}, TrainingSize(60_000, 6_040, 6_040, 150.0)),
    ],
    ids=str,
)
def test_what_fits_is_not_refused(monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], size: TrainingSize) -> None:
    monkeypatch.setattr(memory, "memory_of", lambda device: 24 << 30)
    check_memory(TrainConfig.from_mapping(options), size, CPU)


def test_the_data_themselves_may_be_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "memory_of", lambda device: 8 << 30)
    with pytest.raises(InputError, match=r"^a model of 1,000,000,000 items needs at least"):
        check_memory(TrainConfig(), TrainingSize(10**9, 1, 1, 1.0), CPU)


def test_a_step_takes_no_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """The estimate of what is kept for the backward pass, against what autograd really keeps."""
    from attnrec.data.batches import batch_from_histories

    config = TrainConfig.of(dim=32, blocks=3, batch_size=40, norm="pre")
    size = TrainingSize(50, 40, 40, 20.0)
    model = build_model(config.model, Catalogue(50, 40), CPU, "the data")
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(batch_from_histories([[1 + place % 50 for place in range(20)]] * 40, 50))
    without = least_bytes(config, dataclasses.replace(size, history=0.0))
    assert 0 < least_bytes(config, size) - without <= sum(kept.values())


def test_the_memory_of_this_machine() -> None:
    assert 1 << 28 < memory_of(CPU) < 1 << 50
    refuse_more(1, CPU, "a byte")
    with pytest.raises(InputError, match=r"^all of it needs at least 1.0 EiB"):
        refuse_more(1 << 60, CPU, "all of it")


@pytest.mark.parametrize("limit", ["12345678\n", "max\n"])
def test_the_limit_of_a_container(monkeypatch: pytest.MonkeyPatch, tmp_path: Any, limit: str) -> None:
    (tmp_path / "memory.max").write_text(limit)
    monkeypatch.setattr(memory, "_LIMITS_OF_CONTAINERS", (str(tmp_path / "memory.max"),))
    monkeypatch.setattr(memory, "_swap", lambda: 0)
    assert (memory_of(CPU) == 12345678) == (limit != "max\n")
