"""What a configuration stands for: the device, the split, and the untrained model; and what a training took."""

from __future__ import annotations

import ctypes
import re
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from attnrec.attention import AttentionOperator, parse_blocks
from attnrec.data.interactions import Interactions
from attnrec.data.known import known_only
from attnrec.data.splits import Split, make_split
from attnrec.errors import InputError
from attnrec.models.sasrec import SASRec, SASRecConfig
from attnrec.options import flag
from attnrec.training.config import TrainConfig
from attnrec.training.kept_variants import Variants
from attnrec.training.presets import with_preset
from attnrec.training.run_directory import RunDirectory, Vocabulary

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_MAY_CHANGE = {"dataset", "epochs", "patience", "eval_every", "device", "skip_nonfinite"}  # on resuming
_MAY_CHANGE_AFTER_DIVERGING = _MAY_CHANGE | {"lr", "clip_norm", "warmup"}


def choose_device(name: str) -> torch.device:
    """The device for ``auto``, ``cpu`` or ``cuda``; InputError for another, and where there is no GPU for ``cuda``."""
    if name not in ("auto", "cpu", "cuda"):
        raise InputError(f"--device {name!r} is not one of auto, cpu, cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: no CUDA GPU is available to torch here; use --device cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def keep_freed_memory() -> None:
    """Let the allocator keep what is freed for the next step, where it is glibc's.

    By default it gives buffers as large as an item table's gradient back to the system, which hands them out
    again page by page: a tenth of the time of a step with a small batch and a large catalogue.
    """
    if sys.platform != "linux":
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_M_MMAP_THRESHOLD, 32 << 20)  # the most it takes
        library.mallopt(_M_TRIM_THRESHOLD, 1 << 30)


def peak_memory(device: torch.device) -> int:
    """Most memory that this process has held so far, in bytes: resident, or on a GPU what torch allocated there."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.exists():
        # unlike getrusage's figure, this one does not include what the parent held when it started us
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) << 10  # type: ignore[index]
    import resource  # not on every system

    unit = 1 if sys.platform == "darwin" else 1 << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def build_model(
    config: TrainConfig,
    num_items: int,
    num_users: int,
    device: torch.device,
    *,
    timestamps: bool = True,
    variants: Variants | None = None,
) -> SASRec:
    """The untrained model that ``config`` describes, on ``device``.

    Args:
        config: all options.
        num_items, num_users: of the data.
        device: where the model will run.
        timestamps: whether the data has them.
        variants: what the operators are built from, where that is not what ``config.attention`` names now.

    Raises InputError for an unknown variant or option of it, or one that cannot run there or on such data.
    """
    shared = {option.name for option in fields(SASRecConfig)} & {option.name for option in fields(TrainConfig)}
    specs = variants.specs if variants else parse_blocks(config.attention)
    options = {name: getattr(config, name) for name in shared} | {"attention": specs}
    model = SASRec(SASRecConfig(num_items=num_items, num_users=num_users, **options)).to(device)
    for module in model.modules():
        if isinstance(module, AttentionOperator):
            module.check_device(device)
    if not timestamps and needs_timestamps(model):
        raise InputError(f"--attention {config.attention} needs timestamps, and {config.dataset} has none")
    return model


def resumed_config(run: str | Path, options: dict[str, Any]) -> TrainConfig:
    """The options of a run that is to be resumed with some of them anew; InputError for one that may not change."""
    if "preset" in options:
        raise InputError("--resume takes its options from the run, so --preset cannot be given")
    directory = RunDirectory.open(run)
    before = directory.config()
    may_change = _MAY_CHANGE_AFTER_DIVERGING if directory.manifest.diverged else _MAY_CHANGE
    asked = TrainConfig.from_mapping(before.to_mapping() | options, "options")
    for name in options:
        if name not in may_change and getattr(asked, name) != getattr(before, name):
            raise InputError(
                f"--resume: the run was started with {flag(name)} {getattr(before, name)}, not {getattr(asked, name)}; "
                f"only {', '.join(flag(other) for other in sorted(may_change))} may change"
            )
    if before.schedule == "cosine" and asked.epochs != before.epochs:
        raise InputError("--resume: --epochs cannot change under a cosine schedule, which depends on it")
    return asked


def started_options(options: dict[str, Any]) -> dict[str, Any]:
    """``options``, and where they name a run to start from, those of its model that they leave open.

    Raises InputError where there is no such run.
    """
    if not options.get("start_from"):
        return options
    before = RunDirectory.open(str(options["start_from"])).config()
    return with_preset(options) | {name: getattr(before, name) for name in _of_model()} | _given(options)


def check_start(config: TrainConfig, before: TrainConfig) -> None:
    """Raise InputError where an option of the model is not that of the run that it starts from."""
    for name in _of_model():
        if getattr(config, name) != getattr(before, name):
            raise InputError(
                f"--start-from: the run's model has {flag(name)} {getattr(before, name)}, not {getattr(config, name)}"
            )


def _of_model() -> list[str]:
    return [option.name for option in fields(TrainConfig) if option.metadata["group"] == "Model"] + ["attention"]


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name != "preset"}


def split_of(
    config: TrainConfig, data: Interactions, vocabulary: Vocabulary | None = None, *, part: str | None = None
) -> Split:
    """What the options hold out of ``data``; with ``vocabulary`` cut to what a model knows.

    ``part`` is the only part that will be evaluated, where nothing is trained. Raises InputError for data or options
    that cannot be used.
    """
    split = make_split(data, config.split, config.valid_from, config.test_from, part=part)
    return split if vocabulary is None else known_only(split, vocabulary.items, vocabulary.users, part=part)


def needs_timestamps(model: nn.Module) -> bool:
    """Whether an operator of the model can only run on data with timestamps."""
    return any(isinstance(module, AttentionOperator) and module.needs_timestamps for module in model.modules())
