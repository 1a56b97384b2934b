"""`attnrec new` writes a file that is a right variant as it stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from attnrec.attention import build_attention
from attnrec.cli.main import app
from attnrec.cli.new import class_name
from attnrec.contract import check, check_operator
from attnrec.contract.kinds import kind_of
from attnrec.core.errors import InputError
from attnrec.core.spec import Spec


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_file_passes_the_contract() -> None:
    app(["new", "my_variant.py"], standalone_mode=False)
    text = Path("my_variant.py").read_text()
    assert "class MyVariant(AttentionOperator):" in text
    assert "attnrec check my_variant.py:MyVariant" in text
    assert "Starter" not in text
    report = check_operator("my_variant.py:MyVariant:sharpness=2")
    assert report.holds, str(report)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "base", "options"),
    [("mixer", "AttentionMixer", "operator=alibi,start=0.9"), ("model", "SequentialModel", "layers=2")],
)
def test_mixers_and_models_pass_it_too(kind: str, base: str, options: str) -> None:
    app(["new", "mine.py", "--kind", kind], standalone_mode=False)
    text = Path("mine.py").read_text()
    assert f"class Mine({base}):" in text
    assert "Starter" not in text
    assert kind_of(Spec.parse("mine.py")) == kind
    report = check(f"mine.py:Mine:{options}")
    assert report.holds, str(report)


def test_its_options_are_checked() -> None:
    app(["new", "my_variant.py"], standalone_mode=False)
    with pytest.raises(InputError, match="sharpness=0 must be above 0"):
        build_attention("my_variant.py:sharpness=0", 1, 4, 8, 0.0)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("there.py", "there.py exists already and is not overwritten"),
        ("link.py", "link.py exists already and is not overwritten"),
        ("mine.txt", "mine.txt must end in .py"),
        ("nowhere/mine.py", "there is no directory nowhere"),
        ("2nd.py", "no class can be named after '2nd'"),
        ("_.py", "no class can be named after '_'"),
    ],
)
def test_what_is_refused(file: str, message: str) -> None:
    Path("there.py").write_text("mine")
    Path("link.py").symlink_to("nowhere.py")
    with pytest.raises(InputError, match=message):
        app(["new", file], standalone_mode=False)
    assert sorted(path.name for path in Path().iterdir()) == ["link.py", "there.py"]
    assert Path("link.py").is_symlink()
    assert Path("there.py").read_text() == "mine"


@pytest.mark.parametrize(
    ("stem", "name"),
    [("my_variant", "MyVariant"), ("alibi2", "Alibi2"), ("my-NEW.idea", "MyNEWIdea"), ("tensor", "TensorVariant")],
)
def test_names_of_classes(stem: str, name: str) -> None:
    assert class_name(stem, "from torch import Tensor") == name
