"""Every kernel compiles for sm_80 and sm_90 in every configuration it is launched with; no GPU is needed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("triton")

pytestmark = pytest.mark.slow

SHARED_MEMORY = {80: 166_912, 90: 232_448}
"""Bytes that a block may have on an A100 and on an H100 or H200 (CUDA C++ programming guide, compute capabilities)."""


@pytest.fixture(scope="module")
def compiled() -> list[dict[str, Any]]:
    """All configurations; compiled in other processes, as this one may have the interpreter in the compiler's place."""
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    script = Path(__file__).with_name("compile_kernels.py")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def written_kernels() -> set[str]:
    """Names of all kernels, so that a new one cannot be forgotten; what serves the tests alone is left out."""
    folder = Path(__file__).resolve().parents[2] / "kernels"
    sources = "".join(file.read_text(encoding="utf-8") for file in folder.rglob("triton.py"))
    return set(re.findall(r"def (\w+)_kernel\(", sources)) - {"keep"}


@pytest.mark.timeout(600)
def test_every_kernel_compiles_and_fits(compiled: list[dict[str, Any]]) -> None:
    for kernel in written_kernels():
        for arch in SHARED_MEMORY:
            assert len([c for c in compiled if c["kernel"] == kernel and c["arch"] == arch]) > 20
    too_large = [c for c in compiled if c["shared"] > SHARED_MEMORY[c["arch"]]]
    assert not too_large


@pytest.mark.timeout(600)
def test_no_register_is_spilled_at_the_widths_of_this_field(compiled: list[dict[str, Any]]) -> None:
    spilled = [c for c in compiled if c["width"] <= 64 and c["stack"] > 0]
    assert not spilled
