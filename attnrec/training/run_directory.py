"""A run directory: what a training leaves behind, each file written whole or not at all.

| file | content |
|---|---|
| `config.toml` | every option, resolved |
| `vocabulary.json` | original ids (of users for user vectors) in the model's order; untrained items; titles |
| `metrics.jsonl` | a line a step (loss, grad_norm) and a line an evaluation |
| `weights.safetensors` | the model at its best validation score |
| `state` | what `--resume` needs |
| `test_ranks.safetensors` | the rank of every user's test item at the chosen epoch |
| `summary.json` | the result; written last, so a run without it is unfinished |
| `variants/` | copies of the sources of one's own variants, where the run was trained with any |
"""

from __future__ import annotations

import io
import json
import pickle
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from attnrec.errors import InputError, RunError
from attnrec.evaluation.metrics import Ranks
from attnrec.evaluation.ranking import Evaluation
from attnrec.files import write_atomically
from attnrec.training.config import TrainConfig, read_toml, to_toml
from attnrec.training.kept_variants import VARIANTS, variant_contents

CONFIG, VOCABULARY, METRICS = "config.toml", "vocabulary.json", "metrics.jsonl"
WEIGHTS, TEST_RANKS, STATE, SUMMARY = "weights.safetensors", "test_ranks.safetensors", "state", "summary.json"


@dataclass(frozen=True)
class Vocabulary:
    """Original ids: item i of the model is ``items[i - 1]``; ``users`` is empty unless the model knows users.

    ``untrained`` are the items that occur in no training history; ``titles`` are those of the items, "" for one
    without, and empty where the data bring none.
    """

    items: tuple[str, ...]
    users: tuple[str, ...] = ()
    untrained: tuple[str, ...] = ()
    titles: tuple[str, ...] = ()

    def trained(self) -> npt.NDArray[np.bool_]:
        """Which items the model was trained on, [num_items + 1]; number 0 is padding."""
        untrained = set(self.untrained)
        return np.array([False, *(item not in untrained for item in self.items)])


class RunDirectory:
    """Reads and writes the files of a run; see the head of this file."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def __str__(self) -> str:
        return str(self.path)

    @classmethod
    def create(cls, path: str | Path, config: TrainConfig, vocabulary: Vocabulary) -> RunDirectory:
        """Start a run; InputError if the directory already holds something."""
        run = cls(path)
        if run.path.exists() and not run.path.is_dir():
            raise InputError(f"{run} is not a directory")
        if run.path.is_dir() and any(run.path.iterdir()):
            what = "a run; continue it with --resume" if run.is_run() else "files"
            raise InputError(f"{run} already holds {what}, or choose another --out")
        try:
            run.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot create {run}: {error.strerror or error}") from error
        run._keep_variants(config.attention)
        run.write_config(config)
        write_atomically(run.path / VOCABULARY, json.dumps(asdict(vocabulary), ensure_ascii=False).encode())
        return run

    @classmethod
    def open(cls, path: str | Path) -> RunDirectory:
        """An existing run; InputError if there is none."""
        run = cls(path)
        if not run.path.is_dir():
            raise InputError(f"there is no run directory {run}")
        if not run.is_run():
            raise InputError(f"{run} is not a run directory (it has no {CONFIG} and {VOCABULARY})")
        return run

    def is_run(self) -> bool:
        return (self.path / CONFIG).is_file() and (self.path / VOCABULARY).is_file()

    def has_state(self) -> bool:
        """Whether there is something to resume."""
        return (self.path / STATE).is_file()

    def missing_files(self) -> list[str]:
        """Files that a finished run should have and this one has not."""
        wanted = (CONFIG, VOCABULARY, METRICS, WEIGHTS, TEST_RANKS, STATE, SUMMARY)
        return [name for name in wanted if not (self.path / name).is_file()]

    def write_config(self, config: TrainConfig) -> None:
        write_atomically(self.path / CONFIG, to_toml(config.to_mapping()).encode())

    def _keep_variants(self, attention: str) -> None:
        for name, content in variant_contents(attention).items():
            (self.path / VARIANTS).mkdir(exist_ok=True)
            write_atomically(self.path / VARIANTS / name, content)

    def config(self) -> TrainConfig:
        path = self.path / CONFIG
        return TrainConfig.from_run(read_toml(path), str(path))

    def vocabulary(self) -> Vocabulary:
        content = self._json(VOCABULARY)
        try:
            items, users = tuple(content["items"]), tuple(content["users"])
            return Vocabulary(items, users, tuple(content.get("untrained", ())), tuple(content.get("titles", ())))
        except (KeyError, TypeError) as error:
            raise RunError(f"{self.path / VOCABULARY} is corrupt") from error

    def write_weights(self, tensors: dict[str, Tensor]) -> None:
        self._write_tensors(WEIGHTS, tensors)

    def weights(self) -> dict[str, Tensor]:
        """The best weights; InputError if the run has none yet, RunError if the file is corrupt."""
        return self._tensors(WEIGHTS)

    def write_test_ranks(self, result: Evaluation) -> None:
        full, sampled = result.full, result.sampled
        ranks = {"full_above": full.above, "full_tied": full.tied}
        ranks |= {"sampled_above": sampled.above, "sampled_tied": sampled.tied}
        self._write_tensors(TEST_RANKS, ranks)

    def test_ranks(self) -> Evaluation:
        """Ranks of the test items; InputError if the run has none yet, RunError if the file is corrupt."""
        found = self._tensors(TEST_RANKS)
        try:
            full = Ranks(found["full_above"], found["full_tied"])
            return Evaluation(full, Ranks(found["sampled_above"], found["sampled_tied"]))
        except KeyError as error:
            raise RunError(f"{self.path / TEST_RANKS} is corrupt (it has no {error})") from error

    def _write_tensors(self, name: str, tensors: dict[str, Tensor]) -> None:
        on_host = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
        write_atomically(self.path / name, save_tensors(on_host))

    def _tensors(self, name: str) -> dict[str, Tensor]:
        path = self.path / name
        try:
            return load_tensors(path.read_bytes())
        except FileNotFoundError:
            why = "the file is gone" if self.summary() else "the run has not been evaluated once"
            raise InputError(f"{self} has no {name}: {why}") from None
        except OSError as error:
            raise RunError(f"cannot read {path}: {error.strerror or error}") from error
        except (SafetensorError, ValueError) as error:
            raise RunError(f"{path} is corrupt ({error})") from error

    def log(self) -> list[dict[str, Any]]:
        """The lines of `metrics.jsonl`, none if there is no such file; RunError if it is corrupt."""
        path = self.path / METRICS
        try:
            return [json.loads(line) for line in path.read_text().splitlines()]
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            raise RunError(f"{path} is corrupt ({error})") from error

    def write_state(self, state: dict[str, Any]) -> None:
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_atomically(self.path / STATE, buffer.getvalue())

    def state(self) -> dict[str, Any]:
        """What resuming needs; InputError if the run has no state, RunError if it is corrupt."""
        path = self.path / STATE
        if not path.is_file():
            raise InputError(f"{self} cannot be resumed: it has no file `{STATE}`")
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
            raise RunError(f"{path} is corrupt (it does not load)") from error
        if not isinstance(state, dict):
            raise RunError(f"{path} is corrupt (not a training state)")
        return state

    def write_summary(self, summary: dict[str, Any]) -> None:
        write_atomically(self.path / SUMMARY, (json.dumps(summary, indent=2) + "\n").encode())

    def summary(self) -> dict[str, Any] | None:
        """The result, or None while the run is unfinished."""
        return self._json(SUMMARY) if (self.path / SUMMARY).is_file() else None

    def _json(self, name: str) -> dict[str, Any]:
        path = self.path / name
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise RunError(f"cannot read {path}: {error.strerror or error}") from error
        except ValueError as error:
            raise RunError(f"{path} is corrupt ({error})") from error
        if not isinstance(content, dict):
            raise RunError(f"{path} is corrupt (not a JSON object)")
        return content


class MetricsLog:
    """Appends lines to `metrics.jsonl`; after a resume, lines past the saved state are cut off first."""

    def __init__(self, run: RunDirectory, size: int = 0) -> None:
        self.path = run.path / METRICS
        try:
            self.file = self.path.open("ab")
            self.file.truncate(size)
        except OSError as error:
            raise RunError(f"cannot write {self.path}: {error.strerror or error}") from error

    def write(self, line: dict[str, Any]) -> None:
        self._guard(lambda: self.file.write(json.dumps(line).encode() + b"\n"))

    def size(self) -> int:
        """Bytes written so far, flushed."""
        self._guard(self.file.flush)
        return self.path.stat().st_size

    def close(self) -> None:
        self._guard(self.file.close)

    def _guard(self, action: Any) -> None:
        try:
            action()
        except OSError as error:
            raise RunError(f"cannot write {self.path}: {error.strerror or error}") from error
