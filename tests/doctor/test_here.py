"""Versions, machine and folders, with things broken."""

from __future__ import annotations

import os
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from attnrec.doctor import folders, machine
from attnrec.doctor.findings import Finding
from attnrec.doctor.versions import installed


def by_name(findings: Any) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


# -- versions ----------------------------------------------------------------------------------------------


def test_every_required_package_has_a_version() -> None:
    found = by_name(installed())
    assert {"attnrec", "Python", "torch", "numpy", "einops", "safetensors"} <= set(found)
    assert "pytest" not in found  # that is for the tests alone
    assert found["numpy"] == Finding("versions", "numpy", "ok", metadata.version("numpy"))


def test_what_is_missing_or_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    required = ["numpy>=99", "no-such-package>=3", "elsewhere; platform_system == 'Plan9'", "extra; extra == 'test'"]
    monkeypatch.setattr(metadata, "requires", lambda name: required)
    found = by_name(installed())
    assert set(found) == {"attnrec", "Python", "numpy", "no-such-package"}
    assert found["numpy"].text == f"{metadata.version('numpy')}; attnrec needs >=99"
    assert found["numpy"].advice == "pip install 'numpy>=99'"
    assert (found["no-such-package"].status, found["no-such-package"].text) == ("no", "not installed")


def test_a_checkout_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", absent)
    monkeypatch.setattr(metadata, "distribution", absent)
    found = by_name(installed())
    assert "not installed, from" in found["attnrec"].text
    assert found["packages"].advice == "pip install -e . in the checkout"


CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("url", "place", "said"),
    [
        ("", "/elsewhere", f"from {CHECKOUT}; another one is installed"),
        ("", CHECKOUT, f"from {CHECKOUT}"),
        (
            '{"url": "file:///a%20b", "dir_info": {"editable": true}}',
            "/",
            f"from {CHECKOUT}; the editable installation is /a b",
        ),
        (f'{{"url": "file://{CHECKOUT}", "dir_info": {{"editable": true}}}}', "/", f"editable, from {CHECKOUT}"),
    ],
)
def test_how_it_is_installed(monkeypatch: pytest.MonkeyPatch, url: str, place: str | Path, said: str) -> None:
    class Distribution:
        requires = ()

        def read_text(self, name: str) -> str:
            return url

        def locate_file(self, name: str) -> str | Path:
            return place

    monkeypatch.setattr(metadata, "distribution", lambda name: Distribution())
    monkeypatch.setattr("attnrec.doctor.versions.shortened", str)
    assert by_name(installed())["attnrec"].text.endswith(f", {said}")


# -- machine -----------------------------------------------------------------------------------------------


def test_a_container_with_less_than_the_machine_has(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    assert machine.usable_cores() == 8
    for name, text in {"cpu.max": "250000 100000", "memory.max": f"{10**6}", "memory.current": f"{10**5}"}.items():
        (tmp_path / name).write_text(text)
    assert machine.usable_cores() == 2
    found = by_name(machine.hardware())
    assert found["CPU"].text.startswith("2 cores of 16, ")
    if Path("/proc/meminfo").exists():
        assert found["memory"].text == "0.0 of 0.0 GB free"
    (tmp_path / "cpu.max").write_text("max 100000")
    assert machine.usable_cores() == 8


# -- folders -----------------------------------------------------------------------------------------------


def test_sizes_of_caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in ("ATTNREC_CACHE", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    inside = tmp_path / "TRITON_CACHE_DIR" / "below"
    inside.mkdir(parents=True)
    (inside / "kernel").write_bytes(bytes(4321))
    found = by_name(folders.caches())
    assert "TRITON_CACHE_DIR: 4 kB, " in found["Triton's cache"].text
    assert "ATTNREC_CACHE: empty, " in found["attnrec's cache"].text
    assert not (tmp_path / "ATTNREC_CACHE").exists()
    monkeypatch.setattr(folders, "_PATIENCE", -1.0)
    assert "more than 0 bytes" in by_name(folders.caches())["Triton's cache"].text


def test_a_folder_that_cannot_be_written_to(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    found = by_name([*folders.caches(), *folders.current_folder()])
    assert {finding.status for finding in found.values()} == {"no"}
    text = found["attnrec's cache"].text
    assert text.startswith("cannot write to")
    assert text.endswith(": No space left on device")
    assert found["attnrec's cache"].advice == "name another folder in ATTNREC_CACHE"


def test_public_data_that_are_here(tmp_path: Path) -> None:
    (nothing,) = folders.data_sets()
    assert nothing.status == "not here"
    home = Path(os.environ["ATTNREC_CACHE"]) / "downloads" / "ml-1m"
    home.mkdir(parents=True)
    (home / "ml-1m.parquet").touch()
    (found,) = folders.data_sets()
    assert (found.status, found.text) == ("ok", "ml-1m")


def test_paths_do_not_name_the_user() -> None:
    assert folders.shortened(Path.home() / "runs") == str(Path("~/runs"))
    assert folders.shortened(Path("/elsewhere")) == "/elsewhere"
