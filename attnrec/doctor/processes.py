"""Runs trials in a process of their own, which may crash or hang, and collects what they found."""

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
"""The process finds modules where this one does: ``-m`` would look into the current folder first."""


class Process:
    """Tries things one after the other; a context manager, which leaves no process behind.

    Args:
        names: of `TRIALS`, in order.
        seconds: until it is stopped.
        advice: for the finding of what was tried when it was stopped.
        environment: variables beside those of this process.
    """

    def __init__(self, names: Sequence[str], seconds: float, advice: str = "", **environment: str) -> None:
        self.names = names
        self._seconds, self._advice = seconds, advice
        self._deadline = time.monotonic() + seconds
        self._files = contextlib.ExitStack()
        # files and not pipes, which would fill up while another process is waited for
        self._said, self._complaint = (self._files.enter_context(_file()) for _ in range(2))
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _START, json.dumps(sys.path), *names],
            stdin=subprocess.DEVNULL,
            stdout=self._said,
            stderr=self._complaint,
            env=os.environ | {"PYTHONSAFEPATH": "1"} | environment,  # for the Pythons that a compiler starts, too
            start_new_session=True,  # a compiler that it started is stopped with it
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()
        self._files.close()

    def findings(self) -> Iterator[Finding]:
        """What was found, when it ends; a trial that it did not come through is a finding, too."""
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
        """Wait for the end; why it did not come by itself or well, or nothing."""
        try:
            code = self._process.wait(max(0.0, self._deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._stop()
            return f"not done after {self._seconds:g} s"
        if code == 0:
            return ""
        self._complaint.seek(0)
        last = self._complaint.read().strip().splitlines()[-1:]
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
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
