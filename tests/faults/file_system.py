"""A file system between attnrec and the real one: it fails when told to, and remembers what a power cut would leave."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

MODULES = (
    "attnrec.core.files",
    "attnrec.core.locks",
    "attnrec.training.claiming",
    "attnrec.training.metrics_log",
    "attnrec.training.writer",
)
_CHANGES = ("open", "write", "ftruncate", "fsync", "replace", "unlink", "mkdir")


@dataclass
class Disk:
    """What is in a folder: names, and the contents that they stand for."""

    names: dict[str, int] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)
    contents: dict[int, bytes] = field(default_factory=dict)

    def write_to(self, folder: Path) -> None:
        """Make it real."""
        folder.mkdir()
        for name in sorted(self.folders):
            (folder / name).mkdir(exist_ok=True)
        for name, inode in self.names.items():
            if (folder / name).parent.is_dir():
                (folder / name).write_bytes(self.contents.get(inode, b""))


class FaultyOS:
    """Stands for `os`, and counts the calls that change something below ``root``.

    Args:
        root: the folder that is watched.
        fails_at: the number of the call that fails, from 0; None for no failure.
        code: of the error.
        for_good: whether all later calls that need room fail too.
    """

    def __init__(
        self, root: Path, fails_at: int | None = None, code: int = errno.ENOSPC, for_good: bool = True
    ) -> None:
        self.root, self.fails_at, self.code, self.for_good = root, fails_at, code, for_good
        self.count = 0
        self.remembered = 0
        self.calls: list[tuple[Any, ...]] = []
        self.paths: dict[int, tuple[str, int | None]] = {}
        self.inodes: dict[str, int] = {}
        self.failed = False

    def remember(self) -> FaultyOS:
        """Take what is in the folder as safe on the disk."""
        for path in sorted(self.root.rglob("*")):
            name = self._name(path)
            if path.is_dir():
                self.calls.append(("folder", name))
                continue
            self.inodes[name] = inode = len(self.calls) + 1
            self.calls += [("create", name, inode), ("write", inode, path.read_bytes()), ("sync", inode)]
        self.calls += [
            ("sync folder", self._name(path)) for path in (self.root, *self.root.rglob("*")) if path.is_dir()
        ]
        self.remembered = len(self.calls)
        return self

    def install(self, monkeypatch: pytest.MonkeyPatch) -> FaultyOS:
        for module in MODULES:
            monkeypatch.setattr(f"{module}.os", self)
        return self

    def __getattr__(self, name: str) -> Any:
        found = getattr(os, name)
        if name not in _CHANGES:
            return found

        def watched(*arguments: Any, **named: Any) -> Any:
            self._fail(name, arguments)
            result = found(*arguments, **named)
            getattr(self, f"_did_{name}")(result, *arguments)
            return result

        return watched

    def _fail(self, name: str, arguments: tuple[Any, ...]) -> None:
        if name == "open" and not arguments[1] & (os.O_CREAT | os.O_TRUNC):
            return
        number, self.count = self.count, self.count + 1
        if self.fails_at is None or number < self.fails_at:
            return
        if number == self.fails_at or (self.for_good and name not in ("unlink", "ftruncate")):
            self.failed = True
            raise OSError(self.code, os.strerror(self.code))

    def _name(self, path: Any) -> str:
        return str(Path(path).relative_to(self.root))

    def _did_open(self, descriptor: int, path: Any, flags: int, mode: int = 0) -> None:
        name = self._name(path) if Path(path).is_relative_to(self.root) else None
        if name is None or Path(path).is_dir():
            self.paths[descriptor] = (name or "", None)
            return
        if name not in self.inodes:
            self.inodes[name] = len(self.calls) + 1
            self.calls.append(("create", name, self.inodes[name]))
        if flags & os.O_TRUNC:
            self.calls.append(("cut", self.inodes[name], 0))
        self.paths[descriptor] = (name, self.inodes[name])

    def _did_write(self, written: int, descriptor: int, content: Any) -> None:
        self.calls.append(("write", self.paths[descriptor][1], bytes(content[:written])))

    def _did_ftruncate(self, result: None, descriptor: int, size: int) -> None:
        self.calls.append(("cut", self.paths[descriptor][1], size))

    def _did_fsync(self, result: None, descriptor: int) -> None:
        name, inode = self.paths[descriptor]
        self.calls.append(("sync folder", name) if inode is None else ("sync", inode))

    def _did_replace(self, result: None, before: Any, after: Any) -> None:
        self.inodes[self._name(after)] = self.inodes.pop(self._name(before))
        self.calls.append(("rename", self._name(before), self._name(after)))

    def _did_unlink(self, result: None, path: Any) -> None:
        self.inodes.pop(self._name(path), None)
        self.calls.append(("remove", self._name(path)))

    def _did_mkdir(self, result: None, path: Any) -> None:
        self.calls.append(("folder", self._name(path)))

    # -- what is left ----------------------------------------------------------------------------------

    def after_kill(self, calls: int) -> Disk:
        """What the folder holds after so many calls: all of them have happened."""
        disk = Disk()
        for call in self.calls[:calls]:
            _apply(disk, call)
        return disk

    def after_power_cut(self, calls: int, *, names_are_safe: bool) -> Disk:
        """What a power cut after so many calls leaves: contents as they were last synced.

        Names are as their folder was last synced, or with ``names_are_safe`` as they were; both happen.
        """
        now, safe = Disk(), Disk()
        for call in self.calls[:calls]:
            _apply(now, call)
            if call[0] == "sync":
                safe.contents[call[1]] = now.contents[call[1]]
            if call[0] == "sync folder":
                place = call[1]
                safe.names = {name: own for name, own in safe.names.items() if str(Path(name).parent) != place}
                safe.names |= {name: own for name, own in now.names.items() if str(Path(name).parent) == place}
                safe.folders |= {name for name in now.folders if str(Path(name).parent) == place}
        return Disk(now.names, now.folders, safe.contents) if names_are_safe else safe


def _apply(disk: Disk, call: tuple[Any, ...]) -> None:
    kind, *rest = call
    if kind == "create":
        disk.names[rest[0]] = rest[1]
        disk.contents[rest[1]] = b""
    elif kind == "write":
        disk.contents[rest[0]] += rest[1]
    elif kind == "cut":
        disk.contents[rest[0]] = disk.contents[rest[0]][: rest[1]]
    elif kind == "rename":
        disk.names[rest[1]] = disk.names.pop(rest[0])
    elif kind == "remove":
        disk.names.pop(rest[0], None)
    elif kind == "folder":
        disk.folders.add(rest[0])
