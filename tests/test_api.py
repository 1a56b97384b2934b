"""Python does what the command line does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import attnrec

SMALL: dict[str, Any] = {"dim": 8, "max_len": 10, "eval_every": 1, "device": "cpu", "dataset": "small.txt"}


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [f"u{user} i{(user * place) % 25}\n" for user in range(60) for place in range(1, 7)]
    (tmp_path / "small.txt").write_text("".join(lines))


def test_train_resume_and_plot(capsys: pytest.CaptureFixture[str]) -> None:
    summary = attnrec.train(out="run", attention="awr:width=4", epochs=2, observer=attnrec.Printer(), **SMALL)
    printed = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in printed] == ["epoch 1", "epoch 2"]
    assert "validation NDCG@10 0." in printed[0]
    assert summary["attention"] == "awr:width=4"
    assert attnrec.train(out="run", resume=True, epochs=3)["epochs"] == 3
    figures = attnrec.plot("run")
    assert list(figures) == ["training"]
    assert figures._repr_html_().startswith('<img alt="training" src="data:image/png;base64,iVBOR')
    assert list(attnrec.plot("run", attention_map=True)) == ["attention-by-slot"]
    assert not Path("run/figures").exists()


def test_options_win_over_the_configuration() -> None:
    config = attnrec.TrainConfig.of(epochs=9, **SMALL)
    summary = attnrec.train(config, epochs=1, cutoffs=(2, 3))
    assert summary["epochs"] == 1
    assert {"NDCG@2", "NDCG@3"} <= set(summary["test"]["full"])
    assert Path(summary["run"]).parent == Path("runs")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epoch": 3}, "unknown option 'epoch'; did you mean epochs?"),
        ({"epochs": 0}, "`epochs` must be at least 1"),
        ({"epochs": "many"}, "epochs"),
        ({"resume": True}, "`resume` needs the run directory as `out`"),
        ({"attention": "spda"}, "did you mean sdpa?"),
    ],
)
def test_bad_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(attnrec.InputError, match=message.replace("?", r"\?")):
        attnrec.train(**(SMALL | options))
    assert not Path("runs").exists()


def test_resuming_with_another_model_is_refused() -> None:
    attnrec.train(out="run", epochs=1, **SMALL)
    with pytest.raises(attnrec.InputError, match="`dim=8`, not 16; only `dataset`, `device`, `epochs`"):
        attnrec.train(out="run", resume=True, dim=16)


@pytest.mark.slow
def test_compare() -> None:
    variants = ["sdpa", "linear"]
    result = attnrec.compare(variants, out="compared", seeds=2, epochs=1, **SMALL)
    assert [entry["attention"] for entry in result.values["variants"]] == variants
    assert not result.problems()
    assert result._repr_markdown_() == str(result) == Path("compared/comparison.md").read_text()
    assert "ndcg-by-cutoff" in result.figures()
    again = attnrec.compare(variants, out="compared", seeds=2, epochs=1, **SMALL)
    assert again.values == result.values


def test_every_name_is_there() -> None:
    assert all(getattr(attnrec, name) is not None for name in attnrec.__all__)
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        attnrec.trian  # noqa: B018


def test_bench(tmp_path: Path) -> None:
    quick: dict[str, Any] = {"seq_lens": [8, 16], "dims": [4], "batch": 2, "seconds": 0.01, "device": "cpu"}
    result = attnrec.bench(["sdpa", "alibi"], tmp_path / "out", passes=["forward"], **quick)
    assert [(m.operator, m.n) for m in result.measurements] == [
        *(("sdpa", 8), ("alibi", 8)),
        *(("sdpa", 16), ("alibi", 16)),
    ]
    assert (tmp_path / "out/bench.csv").is_file()
    assert result.as_json()["plan"]["seq_lens"] == (8, 16)
    assert attnrec.bench(["sdpa"], passes=["forward"], **quick).out is None
    with pytest.raises(attnrec.InputError, match="unknown option 'seq_len'; did you mean seq_lens"):
        attnrec.bench(["sdpa"], seq_len=[8])


def test_bench_measures_mixers_and_what_asks_for_more(tmp_path: Path) -> None:
    mechanisms = Path(__file__).parent / "interface" / "mechanisms"
    names = [str(mechanisms / f"{name}.py") for name in ("gated_output", "forgetting", "dif_sr")]
    result = attnrec.bench(names, seq_lens=[8], dims=[4], heads=2, batch=2, seconds=0.01, device="cpu")
    assert [m.error for m in result.measurements] == [""] * 6
