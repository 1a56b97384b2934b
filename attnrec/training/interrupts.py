"""Ctrl-C as a request: the first one lets the step in progress finish, the second one stops at once."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class InterruptRequest:
    """While entered, the first SIGINT sets ``requested`` and the second raises KeyboardInterrupt.

    A step cut in two would leave random states and weights that belong to no step, and a resumed run would
    differ from an uninterrupted one. Outside the main thread, where no handler can be set, SIGINT is left alone.
    """

    def __init__(self) -> None:
        self.requested = False

    def __enter__(self) -> InterruptRequest:
        self.previous: Any = None
        if threading.current_thread() is threading.main_thread():
            self.previous = signal.signal(signal.SIGINT, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.previous is not None:
            signal.signal(signal.SIGINT, self.previous)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
