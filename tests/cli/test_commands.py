"""The command line as a user types it: output, exit codes, one clear line for each error."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from attnrec.cli import main as entry
from attnrec.training.config import read_toml

FAST = ["--epochs", "2", "--dim", "8", "--max-len", "10", "--cutoffs", "1,5,10", "--eval-every", "1"]


class Result:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out.splitlines()[-1])
        return found


@pytest.fixture
def attnrec(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    """Runs the command in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["attnrec", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            entry.main()
        captured = capsys.readouterr()
        return Result(int(stopped.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture
def run(attnrec: Any, small_file: Path) -> Path:
    assert attnrec("train", "--dataset", small_file, "--out", "run", *FAST).code == 0
    return Path("run")


def test_train_evaluate_recommend(attnrec: Any, small_file: Path) -> None:
    trained = attnrec("train", "--attention", "sdpa", "--dataset", small_file, "--out", "run", "--json", *FAST)
    assert trained.code == 0
    summary = trained.json()
    promised = "run attention dataset epochs best_epoch seconds_per_epoch parameters grad_norm valid test"
    assert set(promised.split()) <= set(summary)
    assert set(summary["grad_norm"]) == {"mean", "max", "last"}
    assert set(summary["test"]) == {"full", "sampled"}
    assert {"NDCG@1", "NDCG@10", "Hit@5", "MRR"} <= set(summary["test"]["full"])
    assert "test at epoch" in trained.out
    assert "│ NDCG@10" in trained.out
    assert "test at epoch" not in trained.err
    assert "epoch    1" in trained.err
    evaluated = attnrec("evaluate", "run", "--cutoffs", "3,10", "--json")
    assert evaluated.json()["full"]["NDCG@10"] == pytest.approx(summary["test"]["full"]["NDCG@10"])
    assert "NDCG@3" in evaluated.out
    for history in ("i1 i2", "i1,i2"):
        found = attnrec("recommend", "run", "--history", history, "--top", "4", "--json").json()["recommendations"]
        assert len(found) == 4
        assert not {"i1", "i2"} & {entry["item"] for entry in found}
    plain = attnrec("recommend", "run", "--history", "i1")
    assert (plain.code, plain.err) == (0, "")
    assert "score" in plain.out


def test_evaluate_by_segment(attnrec: Any, run: Path) -> None:
    plain = attnrec("evaluate", run, "--json").json()
    found = attnrec("evaluate", run, "--segments", "--json")
    result = found.json()
    assert {name: value for name, value in result.items() if name != "segments"} == plain
    divisions = {name: value for name, value in result["segments"].items() if name.startswith("by_")}
    assert divisions.pop("by_time_since_last") == []
    for division in divisions.values():
        assert sum(segment["users"] for segment in division) == 38
    assert [lists["cutoff"] for lists in result["segments"]["top_lists"]] == [1, 5, 10, 20]
    for words in ("by items in the history", "never saw", "coverage", "catalogue", "random order", "Hit@10"):
        assert words in found.out + found.err
    assert "time since" not in found.out
    assert "Hit@3" in attnrec("evaluate", run, "--segments", "--cutoffs", "1,3").out


def test_a_configuration_file_and_the_command_line(attnrec: Any, small_file: Path) -> None:
    Path("c.toml").write_text(
        f"dataset = {json.dumps(str(small_file))}\ndim = 4\nepochs = 1\ncutoffs = [1, 10]\nposition = false\n"
    )
    assert attnrec("train", "--config", "c.toml", "--dim", "6", "--out", "run").code == 0
    text = Path("run/config.toml").read_text()
    assert "dim = 6\n" in text
    assert "epochs = 1\n" in text
    assert "position = false\n" in text
    # a run's own file is a configuration file
    assert attnrec("train", "--config", "run/config.toml", "--out", "again").code == 0
    assert Path("again/config.toml").read_text() == text


def test_files_that_are_odd_configurations(attnrec: Any, small_file: Path) -> None:
    Path("bom.toml").write_bytes(b"\xef\xbb\xbfblocks = 1\n")
    assert read_toml(Path("bom.toml")) == {"blocks": 1}
    Path("comparison.toml").write_text('variants = [{label = "a", attention = "sdpa"}]\nseeds = [0]\nblocks = 1\n')
    result = attnrec("train", "--config", "comparison.toml", "--dataset", small_file)
    assert result.code == 2
    assert "comparison.toml is the plan of a comparison, not of a training" in result.err


def test_a_run_can_be_used_from_another_folder(attnrec: Any, small_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert attnrec("train", "--dataset", small_file.name, "--out", "run", *FAST).code == 0
    monkeypatch.chdir("run")
    assert attnrec("evaluate", ".").code == 0
    assert attnrec("train", "--resume", "--out", ".", "--dataset", "../small.txt").code == 0


def test_resume(attnrec: Any, run: Path) -> None:
    longer = attnrec("train", "--resume", "--out", run, "--epochs", "4", "--json")
    assert longer.json()["epochs"] == 4
    assert "resumed after" in longer.err


def test_a_training_warns_of_what_it_shows_too_little_of(attnrec: Any, small_file: Path) -> None:
    once = attnrec("train", "--dataset", small_file, "--out", "once", *FAST, "--epochs", "1")
    assert "warning: the best epoch is the last one evaluated" in once.err


def test_out_has_a_name_of_its_own_by_default(attnrec: Any, small_file: Path) -> None:
    summary = attnrec("train", "--dataset", small_file, "--json", *FAST).json()
    assert Path(summary["run"]).parent == Path("runs")
    assert Path(summary["run"]).name.startswith("small-sdpa-")


def test_recommend_at_times(attnrec: Any, tmp_path: Path) -> None:
    """A variant that needs timestamps gets them from --timestamps, and says so without."""
    lines = [f"u{user} i{(user + place * place) % 25} {100 * user + place * (1 + user % 7)}" for user in range(60)
             for place in range(6)]  # fmt: skip
    (tmp_path / "timed.txt").write_text("\n".join(["user item time", *lines]) + "\n")
    trained = attnrec("train", "--attention", "ti", "--dataset", "timed.txt", "--out", "run", *FAST)
    assert trained.code == 0, trained.err
    given = ("recommend", "run", "--history", "i1 i2", "--json")
    found = attnrec(*given, "--timestamps", "100,2e2")
    assert len(found.json()["recommendations"]) == 10
    for options, message in (
        ((), "needs timestamps: one for each item of the history"),
        (("--timestamps", "100"), "a history of 2 items needs 2 timestamps, not 1"),
        (("--timestamps", "200 100"), "timestamps must not decrease"),
        (("--timestamps", "now then"), "--timestamps 'now then' is not a list of numbers"),
    ):
        refused = attnrec(*given, *options)
        assert refused.code == 2
        assert message in refused.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--attention", "sdpaa"], "unknown attention variant 'sdpaa'; did you mean sdpa?"),
        (["train", "--attention", "sdpa:x=1"], "has no option 'x'"),
        (["train", "--dataset", "nowhere.txt"], "there is no data set or file 'nowhere.txt'"),
        (["train", "--epochs", "0"], "--epochs must be at least 1, not 0"),
        (["train", "--epochs", "many"], "--epochs"),
        (["train", "--lr", "0"], "--lr must be above 0.0"),
        (["train", "--dropout", "1"], "--dropout must be below 1.0"),
        (["train", "--norm", "per"], "--norm 'per' is not one of original, pre, post"),
        (["train", "--heads", "3"], "--heads 3 does not divide --dim 64"),
        (["train", "--cutoffs", "1,x"], "--cutoffs '1,x' is not a list of whole numbers"),
        (["train", "--cutoffs", "121"], "N = 121 is not between 1 and the number of items, 120"),
        (["train", "--config", "nowhere.toml"], "cannot read nowhere.toml"),
        (["train", "--config", "bad.toml"], "bad.toml is not valid TOML"),
        (["train", "--config", "key.toml"], "key.toml: unknown option 'epoch'; did you mean epochs?"),
        (["train", "--config", "type.toml"], "type.toml: epochs must be int, not 'ten'"),
        (["train", "--resume"], "--resume needs the run directory"),
        (["train", "--resume", "--out", "nowhere"], "there is no run directory nowhere"),
        (["train", "--resume", "--out", "."], "is not a run directory"),
        (["train", "--losss", "ce"], "No such option: --losss"),
        (["train", "--out", "bad.toml"], "is not a directory"),
        (["trian"], "No such command 'trian'"),
        (["evaluate", "nowhere"], "there is no run directory nowhere"),
        (["evaluate", "."], "is not a run directory"),
        (["recommend", "nowhere", "--history", "1"], "there is no run directory nowhere"),
        (["recommend", ".", "--history", " "], "--history is empty"),
        (["variants", "sdp"], "unknown attention variant 'sdp'"),
        (["data", "empty.txt"], "empty.txt is empty"),
    ],
    ids=" ".join,
)
def test_bad_input_is_one_line_and_exit_code_2(attnrec: Any, arguments: list[str], message: str) -> None:
    Path("bad.toml").write_text("epochs =")
    Path("key.toml").write_text("epoch = 3")
    Path("type.toml").write_text("epochs = 'ten'")
    Path("empty.txt").write_text("")
    before = sorted(Path().rglob("*"))
    result = attnrec(*arguments)
    assert result.code == 2
    assert message in result.err
    assert result.err.count("\n") == 1
    assert result.err.startswith("attnrec: error: ")
    assert result.out == ""
    assert sorted(Path().rglob("*")) == before


def test_what_a_run_refuses(attnrec: Any, run: Path, small_file: Path) -> None:
    for arguments, code, message in (
        (["recommend", run, "--history", "i1 nope"], 2, "does not know: 'nope'"),
        (["evaluate", run, "--part", "train"], 2, "part 'train' is not one of valid, test"),
        (["evaluate", run, "--cutoffs", "31"], 2, "N = 31 is not between"),
        (["train", "--resume", "--out", run, "--dim", "9"], 2, "was started with --dim 8, not 9"),
        (["train", "--out", run], 2, "already holds a run; continue it with --resume"),
    ):
        result = attnrec(*arguments)
        assert result.code == code
        assert message in result.err
        assert result.err.count("\n") == 1
    (run / "vocabulary.json").write_bytes(b"broken")
    result = attnrec("evaluate", run)
    assert result.code == 1
    assert "vocabulary.json is damaged or was changed" in result.err


def test_not_finite(attnrec: Any, small_file: Path) -> None:
    result = attnrec("train", "--dataset", small_file, "--lr", "1e30", "--out", "run", *FAST)
    assert result.code == 1
    assert result.err.splitlines()[-1].startswith("attnrec: error: the ")
    assert "try a smaller --lr" in result.err


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["attnrec", "--debug", "evaluate", "nowhere"])
    with pytest.raises(ValueError, match="no run directory"):
        entry.main()


def test_variants_and_data(attnrec: Any, small_file: Path) -> None:
    assert "sdpa" in attnrec("variants", "--json").json()
    assert "softmax" in attnrec("variants", "sdpa").out
    figures = attnrec("data", small_file, "--json").json()
    assert (figures["users"], figures["items"], figures["evaluated_users"]) == (40, 30, 38)
    assert attnrec().code == 2
    assert "Usage" in attnrec("--help").out


def test_shuffle_test(attnrec: Any, small_file: Path) -> None:
    Path("c.toml").write_text("dim = 8\nmax_len = 10\n")
    before = sorted(Path().rglob("*"))
    found = attnrec(
        "data", small_file, "--shuffle-test", "--epochs", "1", "--seeds", "2", "--config", "c.toml", "--json"
    )
    assert found.code == 0, found.err
    assert sorted(Path().rglob("*")) == before
    result = found.json()
    assert (result["users"], result["shuffle_test"]["users"]) == (40, 38)
    tested = result["shuffle_test"]
    assert tested["seeds"] == [0, 1]
    assert (tested["options"]["epochs"], tested["options"]["dim"]) == (1, 8)
    assert list(tested["scores"]) == ["in_order", "shuffled_at_evaluation", "shuffled_throughout", "popularity"]
    assert [(loss["condition"], loss["metric"]) for loss in tested["losses"]] == [
        (condition, metric)
        for condition in ("shuffled_at_evaluation", "shuffled_throughout")
        for metric in ("NDCG@10", "Hit@10")
    ]
    for words in ("small, shuffled: 40 users", "shuffled throughout", "none, by popularity", "users and seeds"):
        assert words in found.out + found.err
    for arguments, message in (
        (("--epochs", "2"), "--epochs needs --shuffle-test"),
        (("--shuffle-test", "--seeds", "0"), "--seeds must be at least 1, not 0"),
        (("--shuffle-test", "--epochs", "0"), "--epochs must be at least 1, not 0"),
        (("--shuffle-test", "--config", "nowhere.toml"), "cannot read nowhere.toml"),
    ):
        refused = attnrec("data", small_file, *arguments)
        assert refused.code == 2
        assert refused.err.splitlines()[-1].startswith(f"attnrec: error: {message}")


COMMAND = [sys.executable, "-c", "from attnrec.cli.main import main; main()"]


@pytest.mark.slow
def test_ctrl_c_leaves_a_usable_run(small_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    options = [
        "--dataset",
        str(small_file),
        "--out",
        str(out),
        "--dim",
        "8",
        "--epochs",
        "1000000",
        "--patience",
        "0",
        "--json",
    ]
    process = subprocess.Popen(
        [*COMMAND, "train", *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    )
    deadline = time.monotonic() + 120
    while not list(out.glob("state/*-weights.safetensors")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    stdout, stderr = process.communicate(timeout=120)
    assert "Traceback" not in stderr
    assert "interrupted" in stderr
    assert process.returncode == 130
    summary = json.loads(stdout.splitlines()[-1])
    assert summary["interrupted"]
    assert summary["best_epoch"] >= 1
    assert (out / "state").exists()
    assert not list(out.glob(".*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("swallowed", [False, True], ids=["", "in a library"])
def test_an_interruption_is_said_once(number: int, swallowed: bool) -> None:
    """Also where a library makes another error of it, as an import that is cut in two."""
    code = f"""
import os, signal, sys
from attnrec.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)
def evaluate(*given, **options):
    try:
        os.kill(os.getpid(), {int(number)})
    except KeyboardInterrupt:
        if {swallowed}:
            raise AttributeError("half a module")
        raise
import attnrec.recommender
attnrec.recommender.load = evaluate
sys.argv = ["attnrec", "evaluate", "run"]
main.main()
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout, found.stderr) == (130, "", "attnrec: error: interrupted\n")


def test_a_closed_pipe_is_no_traceback() -> None:
    process = subprocess.Popen([*COMMAND, "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.close()
    _, errors = process.communicate(timeout=60)
    assert "Traceback" not in errors


def test_help_and_light_errors_import_no_torch() -> None:
    script = (
        "import sys\nfrom attnrec.cli import main as entry\nimport attnrec\n"
        "sys.argv = ['attnrec', 'train', '--help']\n"
        "try:\n    entry.main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'numpy', 'matplotlib', 'triton'} & set(sys.modules)\nassert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


@pytest.mark.slow
def test_compare_and_its_figures(attnrec: Any, small_file: Path) -> None:
    arguments = ("compare", "--attention", "sdpa", "--attention", "awr:width=4", "--seeds", "1", "--jobs", "2")
    done = attnrec(*arguments, "--dataset", small_file, "--out", "c", "--json", *FAST)
    assert done.code == 0
    result = done.json()
    assert [entry["attention"] for entry in result["variants"]] == ["sdpa", "awr:width=4"]
    assert result == json.loads(Path("c/comparison.json").read_text())
    for words in ("Ranking by NDCG@10", "Test, full ranking", "NDCG@10 against sdpa", "Global gradient norm"):
        assert words in done.out
        assert words not in done.err
    score = result["variants"][0]["test"]["full"]["NDCG@10"]["mean"]
    assert re.search(rf"sdpa, seed 0: finished after \d+ s: test NDCG@10 {score:.4f}\n", done.err)
    figures = sorted(path.name for path in Path("c/figures").iterdir())
    assert len(figures) == 10
    assert attnrec("plot", "c", "--json").json()["figures"] == [
        f"c/figures/{name}.{kind}"
        for name in (
            "ndcg-by-cutoff",
            "validation-by-epoch",
            "validation-by-time",
            "gradient-norm-by-step",
            "gradient-norm-by-epoch",
        )
        for kind in ("png", "svg")
    ]
    run = Path("c/runs/awr_width=4/seed-0")
    assert attnrec("plot", run, "--attention-map", "--users", "5").code == 0
    assert (run / "figures" / "attention-by-slot.png").is_file()
    Path("items.tsv").write_text("item\tkind\ni1\ta\n")
    for wrong, message in (
        (("plot", "c", "--attention-map"), "c is a comparison; give one of the runs under c/runs"),
        (("plot", run, "--items", "items.tsv"), "--items needs --attention-map"),
        (
            ("plot", run, "--attention-map", "--items", "items.tsv", "--category", "genre"),
            "items.tsv has no column 'genre'; known: kind",
        ),
    ):
        failed = attnrec(*wrong)
        assert (failed.code, failed.err) == (2, f"attnrec: error: {message}\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--attention", "sdpa", "--attention", "awr", "--seeds", "0"), "--seeds must be at least 1, not 0"),
        (
            ("--attention", "sdpa"),
            "a comparison needs at least two variants: give --attention or --model twice or more",
        ),
        (("--attention", "sdpa", "--attention", "sdpa"), "two identical variants: sdpa is given twice"),
        (
            ("--attention", "sdpa", "--attention", "awr", "--cutoffs", "1,99"),
            "the cut-off N = 99 is not between 1 and the number of items, 30",
        ),
        ((), "a comparison needs at least two variants: give --attention or --model twice or more"),
    ],
)
def test_compare_refuses(attnrec: Any, small_file: Path, arguments: tuple[str, ...], message: str) -> None:
    failed = attnrec("compare", "--dataset", small_file, "--out", "c", *arguments)
    assert (failed.code, failed.err) == (2, f"attnrec: error: {message}\n")
    assert not Path("c").exists()


def test_triton_without_a_gpu_is_one_line(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    command = [sys.executable, "-c", "from attnrec.cli.main import main; main()", "train", "--attention", "triton"]
    command += ["--device", "cpu", "--out", "run"]
    failed = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert failed.returncode == 2
    assert failed.stderr.startswith("attnrec: error: --attention triton: the Triton kernels need an NVIDIA GPU")
    assert failed.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_history_may_be_written_in_several_ways(attnrec: Any, run: Path) -> None:
    lists = [
        attnrec("recommend", run, "--history", history, "--json").json()
        for history in ("i1 i2 i3", "i1,i2,i3", "i1, i2, i3", "i1,i2 i3")
    ]
    assert lists[0]["recommendations"]
    assert all(found == lists[0] for found in lists[1:])
