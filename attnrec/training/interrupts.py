"""Signals that end a program as requests: what is in progress ends well, and the state is saved.

Ctrl-C (SIGINT), SIGTERM, SIGHUP (the terminal has gone) and SIGUSR1 (a batch system's warning) all ask for the same.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")  # some systems lack some


def handle(handler: Callable[[int, FrameType | None], None]) -> dict[int, Any]:
    """Have ``handler`` called for the signals above; what was there before, by signal.

    A signal that is ignored stays so, as `nohup` wants it, and a shell for what it runs in the background. Outside the
    main thread, where no handler can be set, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        return {}
    numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    untouched = (signal.SIG_IGN, None)  # None: set by a program that Python runs in, and could not be set back
    return {number: signal.signal(number, handler) for number in numbers if signal.getsignal(number) not in untouched}


def as_keyboard_interrupt(number: int, frame: FrameType | None) -> None:
    """A handler that ends the program as Ctrl-C does."""
    raise KeyboardInterrupt


class InterruptRequest:
    """While entered, the first signal sets ``requested``, and a second Ctrl-C raises KeyboardInterrupt.

    A step cut in two would leave random states and weights that belong to no step, and a resumed run would
    differ from an uninterrupted one. Only Ctrl-C is ever repeated by a person: the others come in pairs by themselves,
    from a shell and the system when a terminal is closed.
    """

    def __init__(self) -> None:
        self.requested = False
        self.previous: dict[int, Any] = {}

    def __enter__(self) -> InterruptRequest:
        self.previous = handle(self._on_signal)
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
