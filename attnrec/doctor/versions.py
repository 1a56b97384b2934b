"""Versions: attnrec and how it is installed, Python, and every package that attnrec requires."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlsplit

import attnrec
from attnrec.doctor.findings import Finding, tried
from attnrec.doctor.folders import shortened

GROUP = "versions"


def installed() -> Iterator[Finding]:
    """attnrec, Python, and the packages required here."""
    yield tried(GROUP, "attnrec", _attnrec)
    yield tried(GROUP, "Python", _python)
    try:
        required = metadata.requires("attnrec") or []
    except metadata.PackageNotFoundError:
        advice = "pip install -e . in the checkout"
        yield Finding(GROUP, "packages", "no", "attnrec is not installed, so its requirements are unknown", advice)
        return
    for requirement in required:
        yield from _package(requirement)


def _attnrec() -> str:
    """Version, commit if it is a checkout, and where it comes from."""
    here = Path(attnrec.__file__).resolve().parents[1]
    return f"{attnrec.__version__}{_commit(here)}, {_how_installed(here)}"


def _how_installed(here: Path) -> str:
    """Whether the attnrec imported from ``here`` is the installed one."""
    if here.name in ("site-packages", "dist-packages"):
        return "installed"
    try:
        distribution = metadata.distribution("attnrec")
    except metadata.PackageNotFoundError:
        return f"not installed, from {shortened(here)}"
    url = json.loads(distribution.read_text("direct_url.json") or "{}")
    if url.get("dir_info", {}).get("editable"):
        checkout = Path(unquote(urlsplit(url["url"]).path)).resolve()
        if checkout == here:
            return f"editable, from {shortened(here)}"
        return f"from {shortened(here)}; the editable installation is {shortened(checkout)}"
    if Path(str(distribution.locate_file(""))).resolve() == here:  # metadata that an installation left in the checkout
        return f"from {shortened(here)}"
    return f"from {shortened(here)}; another one is installed"


def _commit(folder: Path) -> str:
    """`` (COMMIT)``, with ``-dirty`` if files have changed; empty outside a checkout."""
    if not (folder / ".git").exists():
        return ""
    asked = ["git", "-C", str(folder), "describe", "--always", "--dirty"]
    try:
        said = subprocess.run(asked, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
    return f" ({said})"


def _python() -> str:
    kind = "" if platform.python_implementation() == "CPython" else f" {platform.python_implementation()}"
    place = "a virtual environment" if sys.prefix != sys.base_prefix else "no virtual environment"
    return f"{platform.python_version()}{kind}, {place}"


def _package(text: str) -> Iterator[Finding]:
    """The finding for a requirement, written as in package metadata; none if it does not apply here."""
    from packaging.requirements import Requirement

    requirement = Requirement(text)
    if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
        return
    name = requirement.name
    advice = f"pip install '{name}{requirement.specifier}'"
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        yield Finding(GROUP, name, "no", "not installed", advice)
        return
    if requirement.specifier.contains(version, prereleases=True):
        yield Finding(GROUP, name, "ok", version)
    else:
        yield Finding(GROUP, name, "no", f"{version}; attnrec needs {requirement.specifier}", advice)
