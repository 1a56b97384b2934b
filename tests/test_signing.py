"""The key by which a user knows what is theirs."""

from __future__ import annotations

from pathlib import Path

import pytest

from attnrec.core import signing


def test_only_the_key_signs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTNREC_CONFIG", str(tmp_path / "one"))
    signed = signing.signature("text")
    assert (tmp_path / "one" / "key").stat().st_mode & 0o777 == 0o600
    assert signing.is_own("text", signed)
    assert signing.signature("text") == signed
    assert not signing.is_own("text.", signed)
    assert not signing.is_own("text", "")
    monkeypatch.setenv("ATTNREC_CONFIG", str(tmp_path / "other"))
    assert not signing.is_own("text", signed)
    assert signing.signature("text") != signed


def test_without_a_place_for_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ATTNREC_CONFIG", str(tmp_path / "file"))
    assert signing.signature("text") == ""
    assert not signing.is_own("text", "")
    (tmp_path / "key").write_bytes(b"short")
    monkeypatch.setenv("ATTNREC_CONFIG", str(tmp_path))
    assert signing.signature("text") == ""
