"""Handling signals that end a program as requests: the step in progress is completed, and the state is saved.

Ctrl-C (SIGINT), SIGTERM, SIGHUP (the terminal was closed) and SIGUSR1 (a batch system's warning) are treated alike.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

_CAN_WAIT = hasattr(signal, "setitimer")  # not on Windows
_LATER = 0.02  # seconds until an import in progress is looked at again
_PATIENCE = 10.0
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")  # some systems lack some


def handle(handler: Callable[[int, FrameType | None], None]) -> dict[int, Any]:
    """Have ``handler`` called for the signals above; returns the previous handlers by signal.

    Ignored signals stay ignored: `nohup` relies on that, and so do shells for background jobs. Outside the main thread,
    where no handler can be set, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        return {}
    numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    untouched = (signal.SIG_IGN, None)  # None: set by a program that embeds Python, and could not be restored
    return {number: signal.signal(number, handler) for number in numbers if signal.getsignal(number) not in untouched}


_came = 0.0  # when the first signal came; 0 before


def end_program() -> None:
    """Have the signals above end the program by KeyboardInterrupt, wherever it is, but for an import in progress.

    C++ that runs Python while a library is imported aborts on an exception, and other libraries swallow it. So an
    import is finished first, unless it takes ten seconds more, or Ctrl-C comes again.
    """
    global _came
    _came = 0.0
    handle(_end)
    if _CAN_WAIT and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGALRM, _end)


def was_asked() -> bool:
    """Whether a signal has asked the program to end since `end_program`, even if a library has swallowed that."""
    return bool(_came)


def _end(number: int, frame: FrameType | None) -> None:
    global _came
    again, now = bool(_came) and number == signal.SIGINT, time.monotonic()
    _came = _came or now
    if _importing(frame) and _CAN_WAIT and not again and now - _came < _PATIENCE:
        signal.setitimer(signal.ITIMER_REAL, _LATER)
        return
    raise KeyboardInterrupt


def _importing(frame: FrameType | None) -> bool:
    while frame is not None and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    return frame is not None


class InterruptRequest:
    """While entered, the first signal sets ``requested``, and a second Ctrl-C raises KeyboardInterrupt.

    If a step were cut in two, random states and weights would belong to no step, and a resumed run would differ from an
    uninterrupted one. A repeated Ctrl-C comes from a person; the other signals can come twice by themselves, from the
    shell and the system when a terminal is closed.
    """

    def __init__(self) -> None:
        self.requested = False
        self.previous: dict[int, Any] = {}

    def __enter__(self) -> InterruptRequest:
        self.previous = handle(self._on_signal)
        self.requested = was_asked()
        if self.requested and _CAN_WAIT:
            signal.setitimer(signal.ITIMER_REAL, 0)  # it is not asked twice
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True
