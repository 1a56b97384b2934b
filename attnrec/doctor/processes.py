"""Runs trials in separate processes, which may crash or hang, and collects their findings."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import IO, Self

from attnrec.doctor.findings import Finding
from attnrec.doctor.trials import TRIALS

_START = """import json, sys
sys.path[:] = json.loads(sys.argv.pop(1))
from attnrec.doctor.trials import main
main(sys.argv[1:])"""
"""Gives the process this one's module path: ``-m`` would search the current folder first."""


class Process:
    """A process that runs trials one after the other; as a context manager it leaves no process behind.

    Args:
        names: keys of `TRIALS`, in order.
        seconds: time limit, after which it is stopped.
        advice: advice for the trial that was running when it was stopped.
        environment: additional environment variables.
    """

    def __init__(self, names: Sequence[str], seconds: float, advice: str = "", **environment: str) -> None:
        self.names = names
        self._seconds, self._advice = seconds, advice
        self._deadline = time.monotonic() + seconds
        self._files = contextlib.ExitStack()
        # files, because pipes would fill up while we wait for another process
        self._said, self._complaint = (self._files.enter_context(_file()) for _ in range(2))
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _START, json.dumps(sys.path), *names],
            stdin=subprocess.DEVNULL,
            stdout=self._said,
            stderr=self._complaint,
            env=os.environ | {"PYTHONSAFEPATH": "1"} | environment,  # for the Pythons that a compiler starts, too
            start_new_session=True,  # so that compilers it started are stopped with it
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()
        self._files.close()

    def findings(self) -> Iterator[Finding]:
        """Wait for the end and give all findings; a trial that did not finish is also a finding."""
        fault = self._fault()
        self._said.seek(0)
        told = [json.loads(line) for line in self._said if line.endswith("\n")]
        begun = [message["trying"] for message in told if "trying" in message]
        yield from (Finding(**message) for message in told if "trying" not in message)
        if not fault:
            return
        stuck = begun[-1] if begun else self.names[0]
        for name in self.names[self.names.index(stuck) :]:
            trial = TRIALS[name]
            text, advice = (fault, self._advice) if name == stuck else (f"not tried, as {stuck} failed", "")
            yield Finding(trial.group, trial.title, "no", text, advice, trial.needed)

    def _fault(self) -> str:
        """Wait for the end; say what went wrong, or return an empty text."""
        try:
            code = self._process.wait(max(0.0, self._deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._stop()
            return f"not done after {self._seconds:g} s"
        if code == 0:
            return ""
        self._complaint.seek(0)
        last = self._complaint.read().strip().splitlines()[-1:]
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        return ": ".join([f"its process {how}", *last])

    def _stop(self) -> None:
        if self._process.poll() is not None:
            return
        if os.name == "posix":
            os.killpg(self._process.pid, signal.SIGKILL)
        else:
            self._process.kill()
        self._process.wait()


def _file() -> IO[str]:
    return tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
