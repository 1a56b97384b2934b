"""`attnrec compare`: variants with options of their own, models beside them, and what a folder holds already."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from attnrec.cli.variant_text import parse_variant
from attnrec.core.errors import InputError
from tests.cli.test_commands import FAST, attnrec  # noqa: F401  (a fixture)

MODEL = """
import torch
from attnrec.models.base import SequentialModel, item_table

class Last(SequentialModel):
    \"\"\"The last item alone.\"\"\"

    uses = frozenset({"dim"})

    def __init__(self, catalogue, config):
        super().__init__(catalogue, config)
        self.items = item_table(catalogue, config.dim)

    def forward(self, batch):
        return self.items(batch.items)

    @property
    def item_vectors(self):
        return self.items.weight
"""


def test_the_text_of_a_variant() -> None:
    found = parse_variant("attention", "rotary | --no-position --lr 5e-4 --label 'my rope'")
    assert (found.options, found.label) == ({"attention": "rotary", "position": False, "lr": 5e-4}, "my rope")
    assert parse_variant("attention", "sdpa").options == {"attention": "sdpa"}
    assert parse_variant("attention", "rotary|--heads 2").name == "rotary (heads=2)"
    assert parse_variant("model", "m.py:M:x=1 | --attention awr").options == {"model": "m.py:M:x=1", "attention": "awr"}
    assert parse_variant("attention", "| --model m.py").options == {"model": "m.py"}
    assert parse_variant("attention", "sdpa | --preset strong").name == "sdpa (preset=strong)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rotary | --lr soon", "Invalid value for '--lr'"),
        ("rotary | --nope 3", "No such option: --nope"),
        ("rotary | --help", "No such option: --help"),
        ("rotary | --lr", "Option '--lr' requires an argument."),
        ("rotary | 5e-4", "unexpected extra argument"),
        ("rotary | --label '", "No closing quotation"),
        ("rotary | --label ..", "the label '..' has neither letters nor digits"),
        ("rotary | --attention awr", "names two: rotary and awr"),
        ("rotary | --cutoffs 1,x", "--cutoffs '1,x' is not a list of whole numbers"),
    ],
)
def test_what_is_not_understood(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_variant("attention", text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("variants", "message"),
    [
        (["sdpa", "awr | --seed 3"], "awr (seed=3): --seed must be the same for all variants; set it for all"),
        (["sdpa", "awr | --split time"], "awr (split=time): --split must be the same for all variants"),
        (["sdpa", "sdpa | --lr 0.001"], "two identical variants: sdpa and sdpa (lr=0.001) are the same"),
        (["sdpa", "awr | --label sdpa"], "sdpa and sdpa would share a folder: give one of them another label"),
        (["sdpa", "| --lr 0.1"], "a variant needs an attention or a model, but --lr 0.1 has neither"),
        (["sdpa", "awr | --lr 0"], "--lr must be above 0.0, not 0.0"),
        (["sdpa", "awr | --preset x"], "unknown preset 'x'"),
        (["sdpa", "awr | --lr soon"], "--attention 'awr | --lr soon': Invalid value for '--lr'"),
    ],
)
def test_a_refusal_is_one_line(
    attnrec: Any,  # noqa: F811
    small_file: Path,
    variants: list[str],
    message: str,
) -> None:
    given = [word for variant in variants for word in ("--attention", variant)]
    failed = attnrec("compare", "--dataset", small_file, "--out", "c", *given)
    assert failed.code == 2
    assert failed.err.startswith(f"attnrec: error: {message}")
    assert failed.err.count("\n") == 1
    assert not Path("c").exists()


@pytest.mark.slow
def test_models_options_of_their_own_and_the_union(attnrec: Any, small_file: Path) -> None:  # noqa: F811
    Path("last.py").write_text(MODEL)
    shared = ("--dataset", small_file, "--out", "c", "--seeds", "1", "--blocks", "1", "--json", *FAST)
    first = attnrec("compare", "--model", "last.py", "--attention", "rotary | --no-position --lr 5e-4", *shared)
    assert first.code == 0, first.err
    rotary = "rotary (position=no, lr=0.0005)"
    assert [entry["attention"] for entry in first.json()["variants"]] == ["last.py", rotary]
    shown = " ".join(first.out.split())
    assert "rotary | --no-position --lr 0.0005" in shown
    assert f"{rotary} also has position no (others yes), lr 0.0005 (others 0.001)." in shown
    assert "last.py also has" not in shown  # it does not use --blocks
    assert "last.py | --" not in shown
    assert not any("differ in" in line for line in first.json()["warnings"])
    assert first.json()["variants"][1]["options"] == {"attention": "rotary", "position": False, "lr": 0.0005}

    before = {path: path.read_bytes() for path in Path("c/runs").rglob("*") if path.is_file()}
    second = attnrec("compare", "--attention", "sdpa | --label plain", "--attention", "awr", *shared)
    assert second.code == 0, second.err
    assert "2 runs in c: 2 variants, 1 seed each" in second.err
    assert [entry["attention"] for entry in second.json()["variants"]] == ["plain", "awr", "last.py", rotary]
    assert all("full" in entry["difference"] for entry in second.json()["variants"][1:])
    assert {path: path.read_bytes() for path in before} == before  # none of them is trained again
    plan = tomllib.loads(Path("c/comparison.toml").read_text())
    assert [own["label"] for own in plan["variants"]] == ["plain", "awr", "last.py", rotary]
    page = Path("c/comparison.md").read_text()
    assert page.startswith(f"# plain, awr, last.py, {rotary}\n")

    for variant, message in (
        ("sdpa", "c has sdpa already: call it plain, or choose another --out"),
        ("awr | --label plain", "c has another variant plain, with no options of its own: choose another label"),
        ("alibi | --label 'rotary [position=no, lr=0.0005]'", "would share a folder: choose another label"),
    ):
        failed = attnrec("compare", "--attention", "hstu", "--attention", variant, *shared)
        assert failed.code == 2
        assert failed.err.endswith(f"{message}\n")
        assert failed.err.count("\n") == 1

    plan_file = Path("c/comparison.toml")
    plan_file.write_text(plan_file.read_text().replace("dropout = 0.2", "dropout = 0.3"))
    failed = attnrec("plot", "c")
    assert failed.code == 2
    assert "is a run with --dropout 0.2, not 0.3" in failed.err


@pytest.mark.slow
def test_seeds_of_the_folder_stay(attnrec: Any, small_file: Path) -> None:  # noqa: F811
    shared = ("--dataset", small_file, "--out", "c", "--attention", "sdpa", "--json", *FAST)
    assert attnrec("compare", "--attention", "awr", "--seeds", "2", *shared).code == 0
    more = attnrec("compare", "--attention", "alibi", "--seeds", "1", *shared)
    assert more.code == 0, more.err
    seeds = {entry["attention"]: entry["seeds"] for entry in more.json()["variants"]}
    assert seeds == {"sdpa": [0, 1], "alibi": [0], "awr": [0, 1]}
    assert not any(entry["missing"] for entry in more.json()["variants"])
    assert "┃ seeds ┃" in more.out  # they differ, so the ranking says how many


@pytest.mark.slow
def test_what_is_not_finished_of_other_variants_is_not_shown(attnrec: Any, small_file: Path) -> None:  # noqa: F811
    Path("bad.py").write_text(
        "from attnrec.attention import AttentionOperator\n"
        "class Bad(AttentionOperator):\n"
        "    def forward(self, q, k, v, ctx): return v * float('nan')\n"
        "    def weights(self, q, k, ctx): ...\n"
    )
    shared = ("--dataset", small_file, "--out", "c", "--seeds", "1", "--attention", "sdpa", "--json", *FAST)
    assert attnrec("compare", "--attention", "bad.py", *shared).code == 1
    Path("bad.py").write_text("nothing of this is executed again")
    again = attnrec("compare", "--attention", "awr", *shared)
    assert again.code == 0, again.err
    assert [entry["attention"] for entry in again.json()["variants"]] == ["awr", "sdpa"]
    plan = tomllib.loads(Path("c/comparison.toml").read_text())
    assert [own["label"] for own in plan["variants"]] == ["awr", "sdpa", "bad.py"]
