"""Nothing in a run that somebody else wrote is executed unless that is asked for, and nothing outside it even then."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import attnrec
from attnrec.attention import ATTENTION
from attnrec.cli.options import options_of_file
from attnrec.core.errors import InputError, RunError, RunWarning
from attnrec.core.files import sha256
from attnrec.training.config import TrainConfig
from attnrec.training.manifest import MANIFEST, PREVIOUS, _canonical
from attnrec.training.run import train
from attnrec.training.run_directory import RunDirectory

VARIANT = """
from pathlib import Path
from attnrec.attention import AttentionOperator
Path({trace!r}).touch()
class Mine(AttentionOperator):
    def weights(self, q, k, ctx): return 0 * (q @ k.transpose(-1, -2))
    def forward(self, q, k, v, ctx): return v * 1.0
"""


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """Is there once the variant has been executed."""
    return tmp_path / "executed"


@pytest.fixture
def run(config: TrainConfig, tmp_path: Path, trace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run with a variant of its own, of a user whose key is not this one's."""
    (tmp_path / "mine.py").write_text(VARIANT.format(trace=str(trace)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATTNREC_CONFIG", str(tmp_path / "of another user"))
        values = config.to_mapping() | {"attention": str(tmp_path / "mine.py")}
        train(TrainConfig.from_mapping(values), tmp_path / "run")
        attnrec.load(tmp_path / "run")  # who wrote it is not asked
    trace.unlink()
    monkeypatch.setattr("attnrec.core.loading._loaded", {})
    monkeypatch.setattr(ATTENTION, "_of_sources", {})
    return tmp_path / "run"


def actions(run: Path, **trust: Any) -> list[Any]:
    values = {"epochs": 1, "cutoffs": [5]}
    further: Any = {"start_from": str(run), "out": run.parent / "further"} | values
    return [
        lambda: attnrec.load(run, **trust),
        lambda: attnrec.plot(run, attention_map=True, **trust),
        lambda: attnrec.train(out=run, resume=True, **trust),
        lambda: attnrec.train(dataset=str(run.parent / "small.txt"), **further, **trust),
    ]


def test_it_is_refused(run: Path, trace: Path) -> None:
    for action in actions(run):
        with pytest.raises(InputError, match=r"run was not written by you, .*mine\.py.* `trust_code=True`"):
            action()
    assert not trace.exists()
    assert attnrec.plot(run)  # which executes nothing


def test_it_is_executed_when_trusted(run: Path, trace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (run.parent / "mine.py").write_text("raise SystemExit('the file outside the run was executed')")
    for action in actions(run, trust_code=True):
        monkeypatch.setattr(ATTENTION, "_of_sources", {})
        action()
        assert trace.exists()
        trace.unlink()


def forged(run: Path, **changes: Any) -> None:
    """Rewrite the manifest as anybody can, with a checksum that fits."""
    body = json.loads((run / MANIFEST).read_text())
    signed = body.pop("signature")
    del body["checksum"]
    body |= changes
    (run / MANIFEST).write_text(json.dumps(body | {"checksum": sha256(_canonical(body)), "signature": signed}))
    (run / PREVIOUS).unlink(missing_ok=True)


def with_attention(run: Path, attention: str) -> None:
    """Another variant in the configuration, with sums that fit."""
    text = (run / "config.toml").read_text()
    line = next(line for line in text.splitlines() if line.startswith("attention ="))
    (run / "config.toml").write_text(text.replace(line, f"attention = {json.dumps(attention)}"))
    sums = json.loads((run / MANIFEST).read_text())["files"]
    forged(run, files=sums | {"config.toml": sha256((run / "config.toml").read_bytes())})


@pytest.mark.parametrize("trusted", [False, True])
@pytest.mark.parametrize("name", ["outside.py", "../outside.py", "outside.py:Mine"])
def test_files_outside_the_run(config: TrainConfig, tmp_path: Path, trace: Path, name: str, trusted: bool) -> None:
    """A run of this user's own, changed by another: its signature does not hold any more."""
    train(config, tmp_path / "run")
    (tmp_path / "outside.py").write_text(VARIANT.format(trace=str(trace)))
    with_attention(tmp_path / "run", str(tmp_path / "run" / name) if ".." in name else str(tmp_path / name))
    with pytest.raises(InputError, match="is outside it" if trusted else "`trust_code=True`"):
        attnrec.load(tmp_path / "run", trust_code=trusted)
    assert not trace.exists()


def test_modules(config: TrainConfig, tmp_path: Path, trace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(config, tmp_path / "run")
    (tmp_path / "module_here.py").write_text(VARIANT.format(trace=str(trace)))
    with_attention(tmp_path / "run", "module_here:Mine")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="`trust_code=True`"):
        attnrec.load("run")
    assert not trace.exists()


@pytest.mark.parametrize("name", ["../mine.py", "variants/../../mine.py", "/etc/passwd", "state/x/y", "..", "a\x00b"])
def test_names_that_lead_out_of_the_run(run: Path, name: str) -> None:
    forged(run, files={name: "0" * 64})
    with pytest.raises(RunError, match=r"manifest\.json is damaged \(.* is not a valid name for this file of a run\)"):
        attnrec.load(run, trust_code=True)


@pytest.mark.parametrize(
    "changes",
    [
        {"snapshots": 3},
        {"snapshots": [{}]},
        {"files": []},
        {"format": 99},
        {"more": 1},
        {"data": 1},
        {"result": {"a": 1}},
        {"snapshots": []},
        {"files": {"variants/\ud800.py": "0" * 64}},
    ],
    ids=str,
)
def test_a_manifest_that_is_none(run: Path, changes: dict[str, Any]) -> None:
    forged(run, **changes)
    with pytest.raises(RunError, match=r"manifest\.json is damaged"):
        attnrec.load(run)


def test_a_file_beside_a_kept_variant_is_not_imported(run: Path, trace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The manifest does not know it, so nobody has signed it."""
    (run / "variants" / "module_beside.py").write_text(f"from pathlib import Path\nPath({str(trace)!r}).touch()")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATTNREC_CONFIG", str(run.parent / "of another user"))
        (run.parent / "mine.py").unlink()
        attnrec.load(run)
    trace.unlink()
    assert str(run / "variants") not in sys.path


def test_resuming_somebodys_run_does_not_make_it_ones_own(config: TrainConfig, tmp_path: Path) -> None:
    """Else a manifest that names other contents beside those in use would be signed by whoever goes on with it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATTNREC_CONFIG", str(tmp_path / "of another user"))
        train(config, tmp_path / "run")
    attnrec.train(out=tmp_path / "run", resume=True, epochs=3)
    assert not RunDirectory.open(tmp_path / "run").manifest.own
    attnrec.train(out=tmp_path / "run", resume=True, epochs=4, trust_code=True)
    assert RunDirectory.open(tmp_path / "run").manifest.own


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("nonfinite", "config.toml"),
        ("result", "config.toml"),
        ("changing", "variants/mine.py"),
        ("files", "summary.json"),
    ],
)
def test_a_name_belongs_to_one_part(run: Path, part: str, name: str) -> None:
    forged(run, **{part: {name: "0" * 64}})
    with pytest.raises(RunError, match=r"manifest\.json is damaged \(.* is not a valid name for this file of a run\)"):
        attnrec.load(run, trust_code=True)


@pytest.mark.parametrize("folder", ["10:30", "a+b", "a,b=c", "x.py:y"])
def test_odd_folders_of_runs(config: TrainConfig, tmp_path: Path, trace: Path, folder: str) -> None:
    (tmp_path / "mine.py").write_text(VARIANT.format(trace=str(trace)))
    values = config.to_mapping() | {"attention": str(tmp_path / "mine.py")}
    train(TrainConfig.from_mapping(values), tmp_path / folder / "run")
    (tmp_path / "mine.py").unlink()
    assert attnrec.load(tmp_path / folder / "run").recommend(["i1"])


@pytest.mark.parametrize("name", ["metrics.jsonl", "state", "variants", "weights.safetensors", "variants/mine.py"])
def test_links(run: Path, name: str, config: TrainConfig) -> None:
    """What a link leads to is neither read nor written."""
    elsewhere = run.parent / "elsewhere"
    shutil.move(run / name, elsewhere)
    (run / name).symlink_to(elsewhere)
    before = elsewhere.read_bytes() if elsewhere.is_file() else sorted(elsewhere.iterdir())
    for action in actions(run, trust_code=True)[:3]:
        with pytest.raises((InputError, RunError), match="is a link; a run must hold its files itself"):
            action()
    assert before == (elsewhere.read_bytes() if elsewhere.is_file() else sorted(elsewhere.iterdir()))


def test_a_pickle_is_not_executed(config: TrainConfig, tmp_path: Path, trace: Path) -> None:
    import pickle

    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(trace),)

    run = tmp_path / "run"
    train(config, run)
    for path in [*(run / "state").iterdir(), run / "weights.safetensors"]:
        path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(RunError, match="damaged"), pytest.warns(RunWarning):
        attnrec.load(run)
    assert not trace.exists()


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["compare", "--attention=sdpa", "--attention=alibi", "--seeds=1"], marks=pytest.mark.slow),
        ["train"],
        pytest.param(["check", "sdpa", "--only=torch.compile"], marks=pytest.mark.slow),  # which starts Pythons
    ],
)
def test_modules_of_the_current_folder_are_not_taken_for_pythons(
    config: TrainConfig, tmp_path: Path, command: list[str]
) -> None:
    (tmp_path / "here").mkdir()
    for name in ("statistics", "json", "torch", "pandas", "random", "queue", "typing", "struct"):
        (tmp_path / "here" / f"{name}.py").write_text("raise SystemExit('imported from the current folder')")
    options = ["--epochs=1", "--dim=4", "--max-len=5", "--cutoffs=5", "--dataset", config.data.dataset, "--out=out"]
    options = [] if command[0] == "check" else options
    subprocess.run(
        [sys.executable, "-m", "attnrec", *command, *options],
        cwd=tmp_path / "here",
        env=os.environ | {"PYTHONPATH": str(Path(attnrec.__file__).parents[1])},
        check=True,
        capture_output=True,
    )


@pytest.mark.parametrize("place", ["state", "variants", "a/b/c"])
def test_a_configuration_below_somebodys_run(run: Path, trace: Path, place: str) -> None:
    folder = run / place
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "other.toml").write_bytes((run / "config.toml").read_bytes())
    arguments = ["train", "--out", str(run.parent / "new"), "--config", str(folder / "other.toml"), "--epochs", "1"]
    said = subprocess.run(
        [sys.executable, "-m", "attnrec", *arguments], capture_output=True, text=True, check=False, cwd=run.parent
    )
    assert (said.returncode, trace.exists()) == (2, False)
    assert "belongs to a run that you did not write, and names code" in said.stderr


@pytest.mark.parametrize(
    "command", [["train", "--out", "new"], ["compare", "--attention", "sdpa"], ["data", "small.txt", "--shuffle-test"]]
)
def test_a_configuration_of_somebodys_run(run: Path, trace: Path, command: list[str]) -> None:
    """`--config THEIRS/config.toml` executes no more than `--resume` does."""
    given = [*command, "--config", str(run / "config.toml"), *(["--epochs", "1"] if command[0] != "compare" else [])]

    def attnrec_says(*more: str) -> subprocess.CompletedProcess[str]:
        arguments = [sys.executable, "-m", "attnrec", *given, *more]
        return subprocess.run(arguments, capture_output=True, text=True, check=False, cwd=run.parent)

    refused = attnrec_says()
    if command[0] == "compare":  # whose variants are its own
        assert "at least two variants" in refused.stderr
    else:
        assert refused.returncode == 2
        assert "config.toml belongs to a run that you did not write, and names code" in refused.stderr
    assert not trace.exists()
    if command[0] != "compare":
        assert attnrec_says("--trust-code").returncode == 0
        assert trace.exists()


def test_a_configuration_of_ones_own(config: TrainConfig, tmp_path: Path, trace: Path) -> None:
    """It may name code: in a run that this user wrote, and in a file that is no run's."""
    (tmp_path / "mine.py").write_text(VARIANT.format(trace=str(trace)))
    values = config.to_mapping() | {"attention": str(tmp_path / "mine.py"), "epochs": 1}
    train(TrainConfig.from_mapping(values), tmp_path / "run")
    (tmp_path / "alone").mkdir()
    shutil.copy(tmp_path / "run/config.toml", tmp_path / "alone")
    for folder in ("run", "alone"):
        options_of_file(tmp_path / folder / "config.toml")
    (tmp_path / "run/manifest.json").write_text("{}")
    with pytest.raises(InputError, match="a run that you did not write"):
        options_of_file(tmp_path / "run/config.toml")


@pytest.mark.parametrize("kept", ["state", "variants", "metrics.jsonl", "weights.safetensors"])
def test_a_part_of_somebodys_run_is_known_for_one(run: Path, tmp_path: Path, kept: str) -> None:
    """As a copy that has no manifest."""
    (tmp_path / "part").mkdir()
    shutil.copy(run / "config.toml", tmp_path / "part")
    options_of_file(tmp_path / "part/config.toml")
    (shutil.copytree if (run / kept).is_dir() else shutil.copy)(run / kept, tmp_path / "part" / kept)
    with pytest.raises(InputError, match="a run that you did not write"):
        options_of_file(tmp_path / "part/config.toml")


@pytest.mark.parametrize(
    ("attention", "is_code"),
    [
        *(("sdpa", False), ("awr:refinement=value+sdpa", False), ("awr:impl=triton,width=3", False)),
        *(("mine.py", True), ("sdpa+a/b.py:Mine", True), ("package.module:Mine", True), ("m:Mine:option=3", True)),
    ],
)
def test_what_counts_as_code(run: Path, attention: str, is_code: bool) -> None:
    (run / "config.toml").write_text(f"attention = {json.dumps(attention)}\n")
    if is_code:
        with pytest.raises(InputError, match="names code"):
            options_of_file(run / "config.toml")
    else:
        assert options_of_file(run / "config.toml") == {"attention": attention}
