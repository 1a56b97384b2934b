"""Who may import whom, and that nothing is importable under a name that is not ours."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS: dict[str, set[str]] = {
    "core": set(),
    "kernels": set(),
    "data": {"core"},
    "attention": {"kernels", "core"},
    "speed": {"mixers", "attention", "kernels", "data", "core"},
    "starters": {"models", "mixers", "attention", "data", "core"},
    "contract": {"models", "mixers", "attention", "data", "core"},
    "mixers": {"attention", "core"},
    "models": {"mixers", "attention", "data", "core"},
    "evaluation": {"models", "data", "core"},
    "training": {"models", "attention", "data", "evaluation", "core"},
    "experiments": {"training", "models", "attention", "data", "evaluation", "core"},
    "recommender": {"training", "models", "data", "evaluation", "core"},
    "analysis": {"experiments", "recommender", "training", "speed", "data", "core"},
    "results": {"analysis", "experiments", "recommender", "training", "core"},
    "api": {"results", *("models", "speed", "analysis", "experiments", "recommender", "training", "data", "core")},
    "doctor": {"api", "recommender", "models", "attention", "kernels", "data"},
}
ROOMS["cli"] = {*ROOMS}
"""For each room, the other rooms that it may import."""


def sources(room: str) -> list[Path]:
    """The files of a room; `cli` and `kernels` are links to folders at the top level."""
    place = ROOT / "attnrec" / room
    return sorted(place.resolve().rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]


def imported(path: Path) -> set[str]:
    """Dotted names that a file imports anywhere."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_rooms_are_attributes_of_the_package() -> None:
    script = "import attnrec; attnrec.doctor.examine, attnrec.attention.register_attention, attnrec.experiments"
    subprocess.run([sys.executable, "-c", script], check=True, env=os.environ | {"PYTHONPATH": str(ROOT)})


def test_every_room_is_listed() -> None:
    found = {
        path.stem
        for path in (ROOT / "attnrec").iterdir()
        if not path.name.startswith("_") and path.suffix in ("", ".py")
    }
    assert found == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_imports_go_downwards(room: str) -> None:
    assert sources(room)
    for path in sources(room):
        used = {name.split(".")[1] for name in imported(path) if name.startswith("attnrec.")}
        forbidden = used - ROOMS[room] - {room}
        assert not forbidden, f"{path} imports {forbidden}"


def test_kernels_need_torch_and_triton_alone() -> None:
    allowed = {"torch", "triton", "attnrec", *sys.stdlib_module_names}
    for path in sources("kernels"):
        assert {name.split(".")[0] for name in imported(path)} <= allowed


@pytest.mark.parametrize("name", ["cli", "kernels"])
def test_bare_names_are_refused(name: str) -> None:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {name}"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT.parent)
    assert f"import this package as attnrec.{name}" in result.stderr
