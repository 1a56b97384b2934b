"""Operators from installed packages, files and modules; what is broken is reported and breaks nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from attnrec.attention import ATTENTION, build_attention, sdpa
from attnrec.core.errors import InputError

GROUP = ATTENTION.group

OPERATOR = '''
from attnrec.attention import AttentionOperator

class Doubled(AttentionOperator):
    """Twice the values."""

    paper = "Somebody, A Venue 2026"

    def __init__(self, num_heads, head_dim, max_len, dropout, *, times: int = 2):
        super().__init__(num_heads, head_dim, max_len, dropout)
        self.times = times

    def forward(self, q, k, v, ctx):
        return self.times * v
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def built(text: str) -> Any:
    return build_attention(text, 1, 4, 8, 0.0)


# -- files and modules -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "times"), [("mine.py", 2), ("mine.py:Doubled", 2), ("mine.py:Doubled:times=5", 5), ("mine.py:times=3", 3)]
)
def test_an_operator_in_a_file(folder: Path, text: str, times: int) -> None:
    (folder / "mine.py").write_text(OPERATOR)
    assert built(text).times == times
    assert built(f"{folder}/{text}").times == times


def test_a_file_that_changes_is_read_again(folder: Path) -> None:
    (folder / "mine.py").write_text(OPERATOR)
    first = ATTENTION.find("mine.py")
    assert ATTENTION.find("mine.py:Doubled") is first
    (folder / "mine.py").write_text(OPERATOR.replace("times: int = 2", "times: int = 7"))
    assert built("mine.py").times == 7


def test_a_file_may_import_what_lies_beside_it(folder: Path) -> None:
    (folder / "beside_mine.py").write_text("TIMES = 4\n")
    (folder / "mine.py").write_text("from beside_mine import TIMES\n" + OPERATOR.replace("int = 2", "int = TIMES"))
    path = list(sys.path)
    assert built("mine.py").times == 4
    assert sys.path == path


def test_an_operator_in_a_module(folder: Path) -> None:
    package = folder / "package_of_mine"
    package.mkdir()
    (package / "variants.py").write_text(OPERATOR)
    assert built("package_of_mine.variants:Doubled:times=6").times == 6
    assert built("attnrec.attention.sdpa:ScaledDotProductAttention").__class__ is sdpa.ScaledDotProductAttention


@pytest.mark.parametrize(
    ("content", "text", "message"),
    [
        (None, "mine.py", "cannot read mine.py: No such file or directory"),
        ("", "mine.py", "mine.py defines no subclass of AttentionOperator"),
        (
            OPERATOR + OPERATOR.replace("Doubled", "Other"),
            "mine.py",
            "2 attention variants: Doubled, Other; name one",
        ),
        (OPERATOR, "mine", "unknown attention variant 'mine'; did you mean mine.py?"),
        (OPERATOR.replace("*, ", ""), "mine.py:times=3", "has no option 'times'; put it after a * in the constructor"),
        (OPERATOR.replace("self.times = times", "self.times = {}[0]"), "mine.py", "cannot be constructed: KeyError: 0"),
        (OPERATOR, "mine.py:Dubled", "mine.py has no 'Dubled'; did you mean Doubled?"),
        (OPERATOR, "mine.py:times=x", "option times='x' is not a whole number"),
        (OPERATOR + "x = 3", "mine.py:x", "mine.py:x is not a subclass of AttentionOperator"),
        (OPERATOR.replace("forward", "forwards"), "mine.py", "mine.py:Doubled does not define forward"),
        ("def", "mine.py", "mine.py cannot be loaded: SyntaxError: invalid syntax"),
        ("import no_such_package", "mine.py", "mine.py cannot be loaded: ModuleNotFoundError: No module named 'no_su"),
        (OPERATOR.replace("max_len, dropout, *", "*"), "mine.py", "Doubled cannot be constructed: TypeError: "),
        (None, "nothing.here:Doubled", "there is no attention variant and no module 'nothing.here'"),
        (None, "attnrec.core.errors:nearest", "attnrec.core.errors:nearest is not a subclass of AttentionOperator"),
        (None, "attnrec.core.errors:neares", "attnrec.core.errors has no 'neares'"),
        (None, "spda:Doubled", "no module 'spda'; did you mean sdpa?"),
    ],
)
def test_what_cannot_be_used_is_said_in_a_line(folder: Path, content: str | None, text: str, message: str) -> None:
    if content is not None:
        (folder / "mine.py").write_text(content)
    with pytest.raises(InputError) as caught:
        built(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_options_by_type_of_default_and_optional_ones(folder: Path) -> None:
    options = "*, times=2, rate: float | None = 0.5, kind: Literal[1, 2] = 1"
    content = "from typing import Literal\n" + OPERATOR.replace("*, times: int = 2", options)
    content = content.replace(
        "        self.times = times\n", "        self.times, self.rate, self.kind = times, rate, kind\n"
    )
    (folder / "mine.py").write_text(content)
    operator = built("mine.py:times=3,rate=none,kind=2")
    assert (operator.times, operator.rate, operator.kind) == (3, None, 2)
    assert built("mine.py:rate=0.25").rate == 0.25
    with pytest.raises(InputError, match="kind=3 is not one of 1, 2"):
        built("mine.py:kind=3")


# -- installed packages ------------------------------------------------------------------------------------


def install(site: Path, name: str, entry_points: str, files: dict[str, str]) -> None:
    """Build a wheel of a package and have pip install it into ``site``."""
    info = f"{name}-1.2.dist-info"
    contents = files | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[{GROUP}]\n{entry_points}",
    }
    wheel = site.parent / f"{name}-1.2-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, content in contents.items():
            archive.writestr(path, content)
        archive.writestr(f"{info}/RECORD", "".join(f"{path},,\n" for path in [*contents, f"{info}/RECORD"]))
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--target", str(site)]
    environment = os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    subprocess.run([*command, str(wheel)], check=True, capture_output=True, env=environment)


def attnrec(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(site), "COLUMNS": "100"}
    command = [sys.executable, "-c", "from attnrec.cli.main import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=site.parent)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a plug-in that works, one that does not load, one with a taken name and two with one name."""
    site = tmp_path_factory.mktemp("plugins") / "site"
    install(site, "good_plugin", "doubled = good_plugin:Doubled\n", {"good_plugin.py": OPERATOR})
    install(site, "broken_plugin", "broken = broken_plugin:Doubled\n", {"broken_plugin.py": "import no_such_package"})
    install(site, "taken_plugin", "sdpa = good_plugin:Doubled\n", {})
    install(site, "twin_one", "twin = good_plugin:Doubled\n", {})
    install(site, "twin_two", "twin = broken_plugin:Doubled\n", {})
    return site


def test_a_plugin_is_found_and_trained(site: Path) -> None:
    done = attnrec(site, "train", "--attention", "doubled:times=1", "--epochs", "1", "--out", "run")
    assert done.returncode == 0, done.stderr
    assert "attention = 'doubled:times=1'" in (site.parent / "run" / "config.toml").read_text().replace('"', "'")


def test_a_broken_plugin_is_reported_and_breaks_nothing(site: Path) -> None:
    listed = attnrec(site, "variants")
    assert listed.returncode == 0, listed.stderr
    shown = " ".join(listed.stdout.split())
    assert "doubled good_plugin 1.2 Twice the values. Somebody, A Venue 2026 times: int = 2" in shown
    assert "awr built-in" in shown
    for fault in (
        "broken broken_plugin 1.2 cannot be used: the attention variant 'broken' of broken_plugin 1.2 cannot be loaded",
        "ModuleNotFoundError: No module named 'no_such_package'",
        "sdpa taken_plugin 1.2 cannot be used: the name 'sdpa' is taken by a built-in attention variant",
        "twin twin_one 1.2, twin_two 1.2 cannot be used: the attention variant 'twin' is offered by twin_one 1.2 and ",
    ):
        assert fault in shown
    for name in ("broken", "twin"):
        asked = attnrec(site, "train", "--attention", name)
        assert asked.returncode == 2
        assert asked.stderr.startswith(f"attnrec: error: the attention variant '{name}'")
        assert asked.stderr.count("\n") == (3 if name == "broken" else 1)  # with the place of its error, or a line
