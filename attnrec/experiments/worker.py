"""One training in a process of its own: ``python -m attnrec.experiments.worker RUN``.

Its configuration comes as TOML on stdin. It resumes RUN where there is a state, and writes a JSON object a
line to stdout: ``{"event": "progress", ...}`` as it goes, and at the end ``finished``, ``interrupted`` or
``failed`` (with ``message``). In a process of its own a variant that runs out of memory takes nothing with
it, and its peak memory is its own.
"""

from __future__ import annotations

import json
import sys
import time
import tomllib
from typing import TYPE_CHECKING, Any

from attnrec.errors import InputError, RunError
from attnrec.training.config import TrainConfig
from attnrec.training.loop import train
from attnrec.training.observer import Metrics, Observer
from attnrec.training.run_directory import RunDirectory

if TYPE_CHECKING:
    from attnrec.training.loop import Trainer

_SECONDS_BETWEEN_LINES = 0.2


class Reporter(Observer):
    """Writes where a training stands as lines of JSON."""

    def __init__(self) -> None:
        self.written = 0.0

    def stepped(self, trainer: Trainer) -> None:
        if time.monotonic() - self.written >= _SECONDS_BETWEEN_LINES:
            self._write(trainer)

    def evaluated(self, trainer: Trainer, metrics: Metrics) -> None:
        self._write(trainer)

    def _write(self, trainer: Trainer) -> None:
        self.written = time.monotonic()
        progress = trainer.progress
        steps = len(trainer.batches)
        say(
            "progress",
            epoch=progress.epoch,
            done=((progress.epoch - 1) * steps + progress.step) / (trainer.config.epochs * steps),
            loss=progress.loss,
            grad_norm=progress.grad_norm,
            best=max(0.0, progress.best_score),
        )


def say(event: str, **values: Any) -> None:
    print(json.dumps({"event": event, **values}), flush=True)


def main(path: str) -> None:
    config = TrainConfig.from_mapping(tomllib.loads(sys.stdin.read()))
    try:
        summary = train(config, path, Reporter(), resume=RunDirectory(path).has_state())
    except (InputError, RunError) as error:
        say("failed", message=str(error))
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            raise
        say("failed", message="out of memory")
    except KeyboardInterrupt:
        say("interrupted")
    else:
        say("interrupted" if summary["interrupted"] else "finished")


if __name__ == "__main__":
    main(sys.argv[1])
