"""One training in a separate process: ``python -P -m attnrec.experiments.worker RUN``.

Its configuration comes as one line of JSON on stdin, which stays open as long as the comparison runs. When stdin
closes, the worker stops at once; the last snapshot stays. It resumes RUN if there is a state, and reports its progress
and its end on stdout (`attnrec.experiments.messages`). In its own process, a variant that runs out of memory does not
affect the others, and its peak memory can be measured.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from attnrec.core.errors import InputError, RunError, told
from attnrec.experiments.messages import Ended, Progress, as_line, read_task
from attnrec.training.config import TrainConfig
from attnrec.training.interrupts import end_program
from attnrec.training.kept_sources import mended
from attnrec.training.observer import Metrics, Observer
from attnrec.training.run import train
from attnrec.training.run_directory import RunDirectory
from attnrec.training.summary import Summary

if TYPE_CHECKING:
    from attnrec.training.loop import Trainer

_SECONDS_BETWEEN_LINES = 0.2


class Reporter(Observer):
    """Writes the progress of a training as lines of JSON."""

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
            Progress(
                epoch=progress.epoch,
                done=((progress.epoch - 1) * steps + progress.step) / (trainer.config.training.epochs * steps),
                loss=progress.loss,
                grad_norm=progress.grad_norm,
                best=max(0.0, progress.best_score),
            )
        )


def say(message: Progress | Ended) -> None:
    print(as_line(message), flush=True)


def main(path: str) -> None:
    end_program()
    task = read_task(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        config = TrainConfig.from_mapping(dict(task.options))
        run = RunDirectory(path)
        resume = run.is_run() and not mended(run, config.model)
        summary = train(config, path, Reporter(), resume=resume, trust_code=task.trust_code)
    except (InputError, RunError) as error:
        say(Ended("failed", "\n".join(told(error))))
    except KeyboardInterrupt:
        say(Ended("interrupted"))
    except Exception as error:  # noqa: BLE001  (a variant may raise anything; the message says what and where)
        memory = isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "memory" in str(error))
        say(Ended("failed", "out of memory" if memory else _where(error)))
    else:
        say(Ended("interrupted") if summary["interrupted"] else Ended("finished", _scored(summary)))


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)  # the comparison has ended, and the last snapshot is complete


def _scored(summary: Summary) -> str:
    full = summary["test"]["full"]
    metric = "NDCG@10" if "NDCG@10" in full else [name for name in full if name.startswith("NDCG@")][-1]
    return f"test {metric} {full[metric]:.4f}"


def _where(error: Exception) -> str:
    """An exception in one line, with the place where it was raised; the traceback goes to stderr."""
    traceback.print_exception(error)
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(place.filename).name}, line {place.lineno})"


if __name__ == "__main__":
    main(sys.argv[1])
