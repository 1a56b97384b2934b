"""The code in the documents runs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from attnrec.cli.main import app
from attnrec.contract import check_operator
from tests.data.reading.raw_forms import FORMS

DOCS = Path(__file__).resolve().parents[1] / "docs"


def python_blocks(name: str) -> list[str]:
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / name).read_text(), flags=re.DOTALL)
    assert blocks
    return blocks


def shell_lines(name: str) -> list[str]:
    text = (DOCS / name).read_text()
    return [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]


def shortened(source: str) -> str:
    """Python with one epoch and one seed."""
    return re.sub(r"\b(epochs|seeds)=\d+", r"\1=1", source)


def attnrec(line: str) -> None:
    """Run a command of a document, with one epoch and one seed."""
    _, command, *arguments = shlex.split(line, comments=True)
    short = {"train": ["--epochs", "1"], "compare": ["--epochs", "1", "--seeds", "1"]}
    if "--shuffle-test" in arguments:
        short["data"] = ["--epochs", "1"]
    short |= {"bench": ["--seq-len", "8,16", "--seconds", "0.01"], "doctor": ["--seconds", "1"]}
    app([command, *arguments, *short.get(command, [])], standalone_mode=False)


def run(source: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(source, "<documentation>", "exec"), names)
    return names


@pytest.mark.slow
def test_the_guide_to_a_variant(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its file, its commands and its Python, with fewer epochs and seeds."""
    monkeypatch.chdir(tmp_path)
    operator, _, python = python_blocks("add-a-variant.md")
    (tmp_path / "recency.py").write_text(operator)
    commands = shell_lines("add-a-variant.md")
    assert [line.split()[1] for line in commands] == ["check", "train", "plot", "compare", "bench"]
    for line in commands:
        attnrec(line)
    assert (tmp_path / "runs/mine/figures/attention-by-slot.png").is_file()
    assert (tmp_path / "runs/recency/comparison.md").is_file()
    names = run(shortened(python))
    assert names["summary"]["attention"] == "recency.py"
    assert not names["result"].problems()


def test_the_mixer_of_the_guide(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    _, mixer, _ = python_blocks("add-a-variant.md")
    (tmp_path / "gated.py").write_text(mixer)
    attnrec("attnrec train --attention gated.py:operator=rotary --dim 8")


@pytest.mark.slow
def test_the_guide_to_a_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its file and its commands, with fewer epochs and seeds."""
    monkeypatch.chdir(tmp_path)
    (model,) = python_blocks("add-a-model.md")
    (tmp_path / "gru.py").write_text(model)
    commands = shell_lines("add-a-model.md")
    assert [line.split()[1] for line in commands] == ["check", "train", "compare"]
    for line in commands:
        attnrec(line)
    assert (tmp_path / "runs/gru/summary.json").is_file()
    assert (tmp_path / "runs/gru-or-attention/comparison.md").is_file()


def test_the_leak_that_the_guide_shows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    operator, *_ = python_blocks("add-a-variant.md")
    (tmp_path / "careless.py").write_text(operator.replace("masked_softmax(scores, ctx.mask())", "scores.softmax(-1)"))
    (result,) = check_operator("careless.py", only=["no future leak"]).results
    shown = f"{result.name}: {result.fault}\n      hint: {result.hint}"
    assert shown in (DOCS / "add-a-variant.md").read_text()


@pytest.mark.slow
def test_the_python_interface(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    block, classes = python_blocks("command-line.md")
    names = run(shortened(block))
    assert names["summary"]["epochs"] == 1
    assert len(names["recommender"].recommend(["item1", "item7"], top=5)) == 5
    assert list(names["figures"]) == ["training"]
    assert not names["result"].problems()
    names = run(shortened(classes))
    assert set(names["history"].steps["epoch"]) == {1}


@pytest.mark.slow
def test_the_examples_of_the_readme(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for line in shell_lines("../README.md"):
        if line.startswith("attnrec"):
            attnrec(line)
    for block in python_blocks("../README.md"):
        run(shortened(block))


def test_from_a_publishers_file_to_a_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The two commands at the head of the page on data, and its Python."""
    monkeypatch.chdir(tmp_path)
    form = FORMS["MovieLens-1M"]
    rows = form.rows(600)
    Path("ratings.dat").write_bytes(form.write(rows))
    Path("movies.dat").write_text("".join(f"{item}::Film {item}::Drama\n" for item in range(1, 41)))
    commands = re.findall(r"^    (attnrec .*)", (DOCS / "data.md").read_text(), flags=re.MULTILINE)
    prepare = next(line for line in commands if line.startswith("attnrec prepare ratings.dat"))
    attnrec(prepare)
    attnrec(commands[commands.index(prepare) + 1])
    Path("ml-1m.parquet").unlink()
    frame = pd.DataFrame(
        {"customer": [r.user for r in rows], "item": [r.item for r in rows], "time": [r.time for r in rows]}
    )
    (block,) = python_blocks("data.md")
    trained, kept = block.rsplit("\n", 2)[0], block.rsplit("\n", 2)[1]
    names = {"frame": frame, "__name__": "example"}
    exec(trained, names)
    assert kept.startswith("attnrec.train(dataset=frame)")
    assert names["prepared"].data.num_interactions == 600


def test_the_figures_of_the_refinement_at_the_start() -> None:
    """The table of `awr.md` is what its code gives."""
    (block,) = python_blocks("awr.md")
    alive = run(block)["alive"]
    table = (DOCS / "awr.md").read_text()
    rows = re.findall(r"^\| (.*?) \| (\d+) \| ([\d.]+) \|", table, flags=re.MULTILINE)
    assert [(row[0], row[1]) for row in rows[::3]] == [
        ("Glorot W, no normalisation", "50"),
        ("W of deviation 1, no normalisation", "50"),
        ("default", "50"),
        ("`temperature=4`", "50"),
    ]
    options = (",normalize=false,init_scale={}", ",normalize=false", "", ",temperature=4")
    for place, (_, n, documented) in enumerate(rows):
        if n != "1024":  # takes too long
            scale = (2 / (int(n) + 32)) ** 0.5
            assert alive(int(n), options[place // 3].format(scale))[0] == pytest.approx(float(documented), abs=0.02)
