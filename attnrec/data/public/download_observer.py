"""Observers of a download; in their own module, so that the command line starts without loading an HTTP client."""

from __future__ import annotations

from pathlib import Path


class DownloadObserver:
    """Called during a download. Override any of the methods; an exception from one ends the download."""

    def terms(self, name: str) -> None:
        """The data set of that name is about to be downloaded; now is the time to show its terms."""

    def waiting(self, folder: Path) -> None:
        """Another process is downloading into the same folder; this one waits for it."""

    def progress(self, filename: str, done: int, total: int | None) -> None:
        """``done`` bytes of a file have arrived; ``total`` is None if the server does not say how many there are."""

    def retrying(self, reason: str) -> None:
        """An attempt failed and will be repeated."""

    def unpacking(self, archive: Path) -> None:
        """An archive has been downloaded and checked, and is being unpacked."""
