"""Splits, newer data and further training on the command line: what is said, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.test_commands import FAST, attnrec  # noqa: F401  (a fixture)

DAY = 86_400_000  # milliseconds


@pytest.fixture
def files(tmp_path: Path) -> None:
    """`old.csv` ends with February 2024, `newer.csv` with March, which brings the items i20 to i24."""
    rng = np.random.default_rng(3)
    lines = []
    for user in range(40):
        for day in sorted(rng.choice(91, 8, replace=False)):
            item = rng.integers(0, 25 if day >= 60 else 20)
            lines.append((int(day), f"u{user},i{item},{1704067200000 + int(day) * DAY}\n"))
    for name, last in (("old", 60), ("newer", 91)):
        text = "".join(line for day, line in lines if day < last)
        (tmp_path / f"{name}.csv").write_text("user,item,timestamp\n" + text)


@pytest.mark.usefixtures("files")
def test_from_a_split_to_newer_data(attnrec: Any) -> None:  # noqa: F811
    options = ("--split", "time", "--valid-from", "2024-02-01", "--test-from", "2024-02-15T00:00")
    trained = attnrec("train", "--dataset", "old.csv", "--out", "run", *options, *FAST, "--json")
    assert trained.code == 0, trained.err
    split = "split: time, validation from 2024-02-01 00:00:00 UTC, test from 2024-02-15 00:00:00 UTC"
    assert split in trained.err
    summary = trained.json()
    found = summary["split"]
    assert (found["kind"], found["valid_from"]) == ("time", 1704067200000 + 31 * DAY)
    test = found["test"]
    assert (
        f"test: {test['users']} users evaluated, each on the first item; {test['interactions_not_asked']} further "
        f"interactions held out; {test['users_without_item']} users without an item"
    ) in trained.err
    assert summary["unseen_targets"]["number"] == 0
    assert "never trained on" not in trained.out

    plain = attnrec("evaluate", "run", "--json").json()
    assert plain["full"]["NDCG@10"] == pytest.approx(summary["test"]["full"]["NDCG@10"])
    newer = ("evaluate", "run", "--dataset", "newer.csv", "--newer", "--json")
    march = attnrec(*newer, "--split", "time", "--test-from", "2024-03-01", "--segments")
    assert march.code == 0, march.err
    result = march.json()
    left_out, unknown = result["left_out"], result["unknown_targets"]
    assert f"left out: {left_out['interactions']} interactions with {left_out['items']} items that" in march.out
    assert f"targets unknown to the model: {unknown['number']} ({unknown['share']:.1%} of all)" in march.out
    assert f"as misses NDCG@10 {unknown['as_misses']['full']['NDCG@10']:.4f}" in march.out
    assert "validation:" not in march.out
    assert "test from 2024-03-01 00:00:00 UTC" in march.out
    assert "split: leave-one-out" in attnrec(*newer).out

    further = attnrec(
        "train", "--start-from", "run", "--dataset", "newer.csv", "--out", "on", "--epochs", "1", "--json"
    )
    assert further.code == 0, further.err
    start = str(Path("run").resolve())
    assert further.json()["start_from"] == start
    assert f"starts from the best model of {start}" in further.err
    assert f"left out: {left_out['interactions']} interactions with {left_out['items']} items" in further.err
    again = attnrec("train", "--resume", "--out", "on", "--epochs", "2", "--start-from", "run")
    assert again.code == 0, again.err
    assert attnrec("evaluate", "on").code == 0

    for arguments, message in (
        (["train", "--start-from", "run", "--dataset", "newer.csv", "--dim", "9"], "has --dim 8, not 9"),
        (["train", "--start-from", "nowhere"], "there is no run directory nowhere"),
        (["train", "--dataset", "old.csv", "--test-from", "3"], "need --split time"),
        (["train", "--dataset", "old.csv", "--split", "time", "--test-from", "soon"], "'soon' is neither an ISO date"),
        (["train", "--dataset", "old.csv", "--split", "given"], "old has none"),
        (["train", "--dataset", "old.csv", "--split", "random"], "--split 'random' is not one of auto, leave-one-out"),
        (["evaluate", "run", "--split", "time"], "--split needs --newer"),
        (["evaluate", "run", "--dataset", "newer.csv"], "to evaluate it on newer data, give --newer"),
        (["evaluate", "run", "--newer", "--test-from", "2024-03-01"], "need --split time"),
        (["compare", "--attention", "sdpa", "--start-from", "run"], "No such option: --start-from"),
    ):
        refused = attnrec(*arguments)
        assert refused.code == 2, arguments
        assert message in refused.err
        assert refused.err.count("\n") == 1


def test_targets_never_trained_on(attnrec: Any) -> None:  # noqa: F811
    """The last item of every second user is one of its own."""
    lines = []
    for user in range(30):
        items = [f"i{(user + 3 * place) % 12}" for place in range(6)]
        items[-1] = f"own{user}" if user % 2 else items[-1]
        lines.append(" ".join((f"u{user}", *items)) + "\n")
    Path("own.txt").write_text("".join(lines))
    trained = attnrec("train", "--dataset", "own.txt", "--out", "run", *FAST, "--json")
    unseen = trained.json()["unseen_targets"]
    assert (unseen["number"], unseen["share"]) == (15, 0.5)
    line = f"targets never trained on: 15 (50.0%); without them NDCG@10 {unseen['without']['full']['NDCG@10']:.4f}"
    evaluated = attnrec("evaluate", "run", "--json")
    for shown in (trained, evaluated):
        assert line in shown.out
        assert len(re.findall("never trained on", shown.out)) == 1
    assert evaluated.json()["unseen_targets"]["number"] == 15
    assert "split: leave-one-out" in trained.err
    assert "never trained on" not in attnrec("evaluate", "run", "--part", "valid").out
