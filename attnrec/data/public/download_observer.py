"""What an observer of a download is told; apart, so that the command line need not load an HTTP client to start."""

from __future__ import annotations

from pathlib import Path


class DownloadObserver:
    """What is told during a download; every method may be left as it is. An exception from one ends the download."""

    def terms(self, name: str) -> None:
        """The data set of that name is about to be downloaded: its terms can be shown."""

    def waiting(self, folder: Path) -> None:
        """Another process is downloading into the same folder; this one waits for it."""

    def progress(self, filename: str, done: int, total: int | None) -> None:
        """So many bytes of a file are here; ``total`` is None while the server has not said."""

    def retrying(self, reason: str) -> None:
        """An attempt failed and will be repeated."""

    def unpacking(self, archive: Path) -> None:
        """An archive is here and checked; it is unpacked now."""
