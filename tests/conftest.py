"""Fixtures shared by all tests: a small data set, and where real files are looked for."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:  # one thread for each of the processes that share the cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch

from attnrec.data.interactions import Interactions, from_codes

REAL_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="session")
def _own_key(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATTNREC_CONFIG", str(tmp_path_factory.mktemp("config")))
        yield


@pytest.fixture(autouse=True, scope="session")
def _signals() -> None:
    """A shell has what it runs in the background ignore Ctrl-C, and nohup SIGHUP: tests send both."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTNREC_CACHE", str(tmp_path / "attnrec-cache"))


@pytest.fixture
def small() -> Interactions:
    """40 users with 1 to 20 interactions over 30 items, repeats included."""
    rng = np.random.default_rng(7)
    lengths = np.concatenate([[1, 2, 3, 4], rng.integers(3, 21, 36)])
    users = np.repeat(np.arange(40), lengths)
    items = rng.integers(1, 31, len(users))
    return from_codes("small", users, items, tuple(f"u{u}" for u in range(40)), tuple(f"i{i + 1}" for i in range(30)))


@pytest.fixture
def small_file(small: Interactions, tmp_path: Path) -> Path:
    """The same data as a file of pairs."""
    path = tmp_path / "small.txt"
    lines = [
        f"{small.user_ids[user]} {small.item_ids[item - 1]}\n"
        for user in range(small.num_users)
        for item in small.history(user)
    ]
    path.write_text("".join(lines))
    return path


def real_file(name: str) -> Path:
    """A real interaction file, or a skip that says why."""
    path = REAL_DATA / name
    if not path.is_file():
        pytest.skip(f"the real data set {name} is not beside this checkout")
    return path
