"""Signatures that tell whether this user wrote something.

The key is 32 random bytes in a file that only the user may read, made at the first signature. It is in the folder that
``ATTNREC_CONFIG`` names, or else in the user's configuration folder. Only who has the key can sign.
"""

from __future__ import annotations

import hmac
import os
import secrets
from pathlib import Path

import platformdirs

CONFIG = "ATTNREC_CONFIG"
"""The environment variable that names the configuration folder."""

_BYTES = 32


def config_folder() -> Path:
    """The folder of the user's own files for attnrec, such as the key."""
    named = os.environ.get(CONFIG)
    return Path(named).expanduser() if named else platformdirs.user_config_path("attnrec")


def signature(text: str) -> str:
    """The signature of a text, or "" if no key can be stored."""
    key = _key() or _new_key()
    return hmac.new(key, text.encode(), "sha256").hexdigest() if key else ""


def is_own(text: str, signed: str) -> bool:
    """Whether a signature of ``text`` was made with this user's key."""
    key = _key()
    return key is not None and hmac.compare_digest(hmac.new(key, text.encode(), "sha256").hexdigest(), signed)


def _key() -> bytes | None:
    try:
        key = (config_folder() / "key").read_bytes()
    except OSError:
        return None
    return key if len(key) == _BYTES else None


def _new_key() -> bytes | None:
    """Make the key, unless another process has just made it; None if it cannot be stored."""
    path = config_folder() / "key"
    temporary = path.with_name(f".key.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(descriptor, secrets.token_bytes(_BYTES))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        try:
            os.link(temporary, path)  # fails if another process has made one already
        finally:
            os.unlink(temporary)
    except OSError:
        return _key()
    return _key()
