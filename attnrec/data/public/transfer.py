"""Downloading one file over HTTP: resumed if it was cut off, checked, limited in size, and renamed when complete."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx

from attnrec.core.errors import InputError, RunError
from attnrec.data.public.catalogue import Source
from attnrec.data.public.download_observer import DownloadObserver

TIMEOUT = 30.0
"""Seconds to wait for a connection, and for the next bytes of a response."""

RETRIES = 5
"""Successive attempts that bring less than a mebibyte before giving up on an address."""

PAUSE = 1.0
"""Seconds before the first retry; doubled for each further one."""

_PROGRESS = 1 << 20
_REDIRECTS = 5
_TRY_AGAIN = {408, 425, 429, 500, 502, 503, 504}


class _CutError(Exception):
    """An attempt ended early; trying again may help."""


class _AbsentError(Exception):
    """The file is not available at this address."""


def fetch(source: Source, target: Path, limit: int, observer: DownloadObserver) -> None:
    """Download a file to a path, continuing a part that an earlier call left next to it.

    Args:
        source: where the file is, and its checksum if known.
        target: path to save it at; its folder must exist and be locked by the caller.
        limit: most bytes to accept, regardless of what the server announces.
        observer: called with bytes and retries.

    Raises:
        InputError: the file is larger than ``limit``.
        RunError: the file is not available, the disk is full, or the checksum differs.
    """
    by_hand = f"if this persists, download {source.urls[0]} with a browser to {target} and run the same command again"
    reasons = []
    for url in source.urls:
        attempts = _Attempts(url, target, limit, observer)
        try:
            attempts.run()
            if not verified(attempts.path, source.checksum):
                attempts.discard()
                raise RunError(f"the file from {url} did not match the publisher's checksum and was deleted; {by_hand}")
            attempts.finish()
            return
        except (_CutError, _AbsentError) as error:
            reasons.append(f"{url} ({error})")
        except OSError as error:
            raise RunError(f"cannot write {attempts.path}: {error.strerror or error}; {_ROOM}") from error
    raise RunError(f"cannot download {' or '.join(reasons)}; {by_hand}")


def verified(path: Path, checksum: str | None) -> bool:
    """Whether a file has a checksum of the form ``algorithm:digits``; True if none is given."""
    if checksum is None:
        return True
    algorithm, _, digits = checksum.partition(":")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False))
    return found.hexdigest() == digits


_ROOM = "make room, or choose another folder with `folder` or ATTNREC_CACHE"


def need_space(folder: Path, size: int) -> None:
    """RunError if a folder has less than ``size`` bytes of free space."""
    free = shutil.disk_usage(folder).free
    if free < size:
        raise RunError(f"{folder} has {free / 1e9:.1f} GB free and {size / 1e9:.1f} GB are needed: {_ROOM}")


@dataclass
class _Note:
    """Saved next to a part: its address, and which version of the file it is."""

    url: str
    version: str  # for If-Range; empty if the server names none, so that the part cannot be continued
    total: int | None


class _Attempts:
    """Downloads from one address into a part next to the target."""

    def __init__(self, url: str, target: Path, limit: int, observer: DownloadObserver) -> None:
        self.url, self.target, self.limit, self.observer = url, target, limit, observer
        self.path = target.with_name(target.name + ".part")
        self.notes = target.with_name(target.name + ".part.json")

    def run(self) -> None:
        """Try until the part is complete; _CutError after too many attempts that brought little."""
        failures = 0
        while True:
            before = self._size()
            try:
                self._attempt()
                return
            except (_CutError, httpx.TransportError) as error:
                reason = str(error) or type(error).__name__
                failures = 0 if self._size() - before >= _PROGRESS else failures + 1
                if failures >= RETRIES:
                    raise _CutError(reason) from error
            except (httpx.TooManyRedirects, httpx.InvalidURL) as error:
                raise _AbsentError(str(error)) from error
            self.observer.retrying(reason)
            time.sleep(PAUSE * 2 ** max(failures - 1, 0))

    def discard(self) -> None:
        """Delete the part."""
        self.path.unlink(missing_ok=True)
        self.notes.unlink(missing_ok=True)

    def finish(self) -> None:
        """Rename the complete part to its final name."""
        os.replace(self.path, self.target)
        self.notes.unlink(missing_ok=True)
        if os.name == "posix":  # sync the folder, so that the new name survives a power cut
            descriptor = os.open(self.target.parent, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)

    def _attempt(self) -> None:
        """One request; returns when the part is complete."""
        note = self._note()
        done = self._size() if note else 0
        if note and note.total == done:
            return
        # identity: do not let the server compress again, because ranges count the bytes of its file
        headers = {"Accept-Encoding": "identity"}
        if note:
            headers |= {"Range": f"bytes={done}-", "If-Range": note.version}
        client = httpx.Client(timeout=TIMEOUT, follow_redirects=True, max_redirects=_REDIRECTS)
        with client, client.stream("GET", self.url, headers=headers) as response:
            self._check_way(response)
            version = _version(response)
            if note and response.status_code in (206, 416):
                self._check_range(response, note, done)
                version = note.version
            else:
                self._check_whole(response)
                done = 0
            length = response.headers.get("Content-Length")
            total = done + int(length) if length else None
            self._check_size(max(done, total or 0))
            if total is not None:
                need_space(self.target.parent, total - done)
            if not done:
                self.discard()  # before writing the note, which must not be left with a part of another version
            self.notes.write_text(json.dumps(asdict(_Note(self.url, version, total))), encoding="utf-8")
            done = self._write(response, done, total)
        if total is not None and done != total:
            raise _CutError(f"received {done:,} of {total:,} bytes")

    def _write(self, response: httpx.Response, done: int, total: int | None) -> int:
        """Append the response to the part; returns the part's size."""
        with self.path.open("r+b" if done else "wb") as file:
            file.seek(done)
            self.observer.progress(self.target.name, done, total)
            for chunk in response.iter_raw():  # no chunk size: a cut would lose the bytes of an incomplete chunk
                self._check_size(done + len(chunk))
                file.write(chunk)
                done += len(chunk)
                self.observer.progress(self.target.name, done, total)
            file.flush()
            os.fsync(file.fileno())
        return done

    def _check_size(self, size: int) -> None:
        if size > self.limit:
            raise InputError(
                f"{self.target.name} has {size / 1e6:,.1f} MB or more, above the limit of {self.limit / 1e6:,.1f} MB; "
                "allow more with `max_size`"
            )

    def _check_range(self, response: httpx.Response, note: _Note, done: int) -> None:
        """Check that the response continues the part, in the same version of the file; otherwise start again."""
        place = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        fits = (
            place is not None and int(place[1]) == done and (note.total is None or place[2] in ("*", str(note.total)))
        )
        if not fits or _version(response) not in ("", note.version):
            self.discard()
            raise _CutError("the server did not continue the part that is here")

    def _check_way(self, response: httpx.Response) -> None:
        """Check that an https address does not redirect to an unencrypted one."""
        if self.url.startswith("https:") and any(hop.url.scheme != "https" for hop in [*response.history, response]):
            raise _AbsentError("it redirects to an address without encryption")

    def _check_whole(self, response: httpx.Response) -> None:
        """Check that the response is the whole file, uncompressed by the server."""
        status = f"{response.status_code} {response.reason_phrase}".strip()
        if response.status_code in _TRY_AGAIN:
            raise _CutError(status)
        if response.status_code != 200:
            raise _AbsentError(status)
        if response.headers.get("Content-Encoding", "identity") != "identity" and not self.url.endswith("gz"):
            raise _AbsentError("the server compresses the file although asked not to")

    def _note(self) -> _Note | None:
        """The note of a part that can be continued; None if there is none."""
        try:
            note = _Note(**json.loads(self.notes.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):  # missing or half written: start again
            return None
        return note if note.version and note.url == self.url and self._size() else None

    def _size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0


def _version(response: httpx.Response) -> str:
    """A version for If-Range: a strong ETag, else the date of the last change, else ""."""
    tag: str = response.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")
