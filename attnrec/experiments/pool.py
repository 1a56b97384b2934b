"""Runs the trainings of a comparison, each in its own process, a few at a time."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field

import torch

from attnrec.experiments.compare import Comparison
from attnrec.experiments.messages import Ended, Progress, Task, as_line, read_message
from attnrec.training.interrupts import InterruptRequest


@dataclass
class Outcome:
    """How the runs went.

    Attributes:
        failures: by (variant, seed), what went wrong, in one line.
        interrupted: whether runs are missing because of Ctrl-C.
    """

    failures: dict[tuple[str, int], str] = field(default_factory=dict)
    interrupted: bool = False


class ComparisonObserver:
    """Receives the progress of a comparison's runs; override the methods that you need."""

    def started(self, comparison: Comparison, waiting: list[tuple[str, int]]) -> None: ...

    def run_started(self, variant: str, seed: int) -> None: ...

    def run_progressed(self, variant: str, seed: int, progress: Progress) -> None: ...

    def run_ended(self, variant: str, seed: int, kind: str, message: str) -> None:
        """``kind`` is ``finished``, ``interrupted`` or ``failed``; ``message`` is the score, or why the run failed."""


def run_all(comparison: Comparison, jobs: int = 1, observer: ComparisonObserver | None = None) -> Outcome:
    """Train the requested runs that are not yet finished.

    The first Ctrl-C (or another signal of `interrupts`) lets the runs in progress save their state and ends the
    comparison; a second one kills them.

    Args:
        comparison: what to train.
        jobs: trainings at a time, which share the CPU cores.
        observer: receives the progress.
    """
    watcher = observer or ComparisonObserver()
    waiting = [run for run in comparison.wanted() if not comparison.finished(*run)]
    watcher.started(comparison, waiting)
    outcome = Outcome()
    running: dict[tuple[str, int], _Job] = {}
    events: _Events = queue.Queue()
    with InterruptRequest() as interrupt:
        try:
            while running or (waiting and not interrupt.requested):
                while waiting and len(running) < jobs and not interrupt.requested:
                    key = waiting.pop(0)
                    running[key] = _Job(comparison, key, events, max(1, torch.get_num_threads() // jobs))
                    watcher.run_started(*key)
                if interrupt.requested:
                    for job in running.values():
                        job.interrupt()
                try:
                    key, event = events.get(timeout=0.2)
                except queue.Empty:
                    continue
                if event is None:
                    _ended(running.pop(key), outcome, watcher)
                else:
                    watcher.run_progressed(*key, event)
        finally:
            for job in running.values():
                job.process.kill()
    outcome.interrupted |= bool(waiting)
    return outcome


def _ended(job: _Job, outcome: Outcome, watcher: ComparisonObserver) -> None:
    end = job.result()
    if end.event == "failed":
        outcome.failures[job.key] = end.message
    outcome.interrupted |= end.event == "interrupted"
    watcher.run_ended(*job.key, end.event, end.message)


_Events = queue.Queue[tuple[tuple[str, int], Progress | None]]
"""A run and its progress; None when it has ended."""


class _Job:
    """A worker process and the threads that read its output."""

    def __init__(
        self,
        comparison: Comparison,
        key: tuple[str, int],
        events: _Events,
        threads: int,
    ) -> None:
        self.key = key
        self.events = events
        self.end: Ended | None = None
        self.complaint = ""
        self.told = False
        run = comparison.run(*key)
        self.process = subprocess.Popen(
            # -P: the current folder is not searched, where a file may happen to have a module's name
            [sys.executable, "-P", "-m", "attnrec.experiments.worker", str(run)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": str(threads)},
            start_new_session=True,  # so that Ctrl-C reaches the workers only through us, once
        )
        assert self.process.stdin is not None
        task = Task(comparison.run_config(*key).to_mapping(), comparison.trust_code)
        with contextlib.suppress(BrokenPipeError):  # it has already ended; its output says why
            self.process.stdin.write(as_line(task) + "\n")
            self.process.stdin.flush()
        self.readers = [threading.Thread(target=read, daemon=True) for read in (self._read_events, self._read_errors)]
        for reader in self.readers:
            reader.start()

    def interrupt(self) -> None:
        if not self.told:
            self.told = True
            # not SIGINT, which is ignored if a shell started us in the background
            self.process.send_signal(signal.SIGTERM)

    def result(self) -> Ended:
        """How it ended, once it has."""
        code = self.process.wait()
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        for reader in self.readers:
            reader.join()
        if self.end is not None:
            return self.end
        if self.told:
            return Ended("interrupted")  # before it could answer
        if code == -signal.SIGKILL:
            return Ended("failed", "killed; the system does this to a process that runs out of memory")
        last = self.complaint.strip().splitlines()
        return Ended("failed", last[-1] if last else f"the training ended with code {code}")

    def _read_events(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                match read_message(line):
                    case Ended() as end:
                        self.end = end
                    case Progress() as progress:
                        self.events.put((self.key, progress))
        self.events.put((self.key, None))

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as text:
            self.complaint = text.read()
