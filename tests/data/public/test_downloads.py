"""Public data sets brought and prepared, and the command for it, with a server on the loopback address."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import sys
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from attnrec.cli import main as entry_point
from attnrec.core.errors import InputError, RunError
from attnrec.data.load import load_interactions
from attnrec.data.public import catalogue, download, transfer
from attnrec.data.public.catalogue import Entry, File
from tests.data.public.server import CONTENT, Seen, Web, killed
from tests.data.reading.raw_forms import FORMS

RATINGS = FORMS["MovieLens-20M"].write(FORMS["MovieLens-20M"].rows(600)).decode()
MOVIES = "movieId,title\n" + "".join(f"{item},Film {item}\n" for item in range(1, 41))


# Data sets


@pytest.fixture
def known(web: Web, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[Entry, Entry]:
    """A data set in a zip and one of two files, both on the loopback server, as the whole catalogue."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for member, text in (("z/ratings.csv", RATINGS), ("z/movies.csv", MOVIES), ("z/big", "0" * 99)):
            archive.writestr(member, text)
    web.serve("z.zip", content.getvalue())
    web.serve("r.csv")
    web.serve("m.json.gz", gzip.compress(b"{}"))
    digest = hashlib.md5(content.getvalue(), usedforsecurity=False).hexdigest()
    packed = web.source("z.zip", checksum=f"md5:{digest}")
    common: dict[str, Any] = {"licence": "free", "terms": "Be kind.", "page": "https://example.org/", "citation": "We."}
    one = Entry("z", "Z", **common, interactions=File(packed, "z/ratings.csv"), items=File(packed, "z/movies.csv"))
    two = Entry("r:a", "R", **common, interactions=File(web.source("r.csv")), items=File(web.source("m.json.gz")))
    monkeypatch.setattr(catalogue, "catalogue", lambda: (one, two))
    monkeypatch.setenv("ATTNREC_CACHE", str(tmp_path / "cache"))
    return one, two


def test_get_and_get_again(known: tuple[Entry, Entry], web: Web, tmp_path: Path) -> None:
    assert download.downloaded("z") is None
    seen = Seen()
    found = download.get("z", observer=seen)
    assert seen.told == ["terms z"]
    assert found.interactions.read_bytes() == RATINGS.encode()
    assert found.items is not None
    assert found.items.read_bytes() == MOVIES.encode()
    assert found.interactions.is_relative_to(tmp_path / "cache")
    assert not list(tmp_path.glob("cache/**/big"))
    assert not list(tmp_path.glob("cache/**/*.zip"))
    again = Seen()
    assert download.get("z", observer=again) == found == download.downloaded("z")
    assert again.told == []
    assert len(web.files["/z.zip"].requests) == 1


def test_titles_later(known: tuple[Entry, Entry], web: Web, tmp_path: Path) -> None:
    found = download.get("r:a", folder=tmp_path / "here", titles=False)
    assert found.items is None
    assert found.interactions == tmp_path / "here" / "r-a" / "r.csv"
    assert download.downloaded("r:a", tmp_path / "here") == found
    assert download.get("r:a", folder=tmp_path / "here").items == tmp_path / "here" / "r-a" / "m.json.gz"
    assert len(web.files["/r.csv"].requests) == 1


def test_titles_of_an_archive_come_along(known: tuple[Entry, Entry]) -> None:
    assert download.get("z", titles=False).items is not None


def test_file_put_by_hand(known: tuple[Entry, Entry], web: Web, tmp_path: Path) -> None:
    home = tmp_path / "here" / "z"
    home.mkdir(parents=True)
    (home / "z.zip").write_bytes(b"something else")
    with pytest.raises(RunError, match="does not match the publisher's checksum: delete it"):
        download.get("z", folder=home.parent)
    (home / "z.zip").write_bytes(web.files["/z.zip"].content)
    assert download.get("z", folder=home.parent).interactions.is_file()
    assert web.files["/z.zip"].requests == []


def test_size_limit_counts_all_files(known: tuple[Entry, Entry]) -> None:
    with pytest.raises(InputError, match=r"m.json.gz has .* above the limit"):
        download.get("r:a", max_size=len(CONTENT) + 3)


def test_default_limit(known: tuple[Entry, Entry], web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    web.serve("r.csv", announced=4 * len(CONTENT) + 64_000_001)
    with pytest.raises(InputError, match=r"r.csv has .* above the limit"):
        download.get("r:a")


def test_two_at_once(known: tuple[Entry, Entry], web: Web) -> None:
    web.files["/r.csv"].slow = 0.3
    watching = [Seen(), Seen()]
    results: list[download.Downloaded] = []
    threads = [
        threading.Thread(target=lambda seen=seen: results.append(download.get("r:a", observer=seen)))
        for seen in watching
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results[0] == results[1]
    assert results[0].interactions.read_bytes() == CONTENT
    assert len(web.files["/r.csv"].requests) == 1
    assert sorted("waiting" in seen.told for seen in watching) == [False, True]


def test_folder_that_cannot_be(known: tuple[Entry, Entry], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="choose another folder"):
        download.get("z", folder=tmp_path / "file")


# The command


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["attnrec", "data", "get", *arguments])
        with pytest.raises(SystemExit) as stopped:
            entry_point.main()
        captured = capsys.readouterr()
        return int(stopped.value.code or 0), captured.out, captured.err

    return run


def test_command(known: tuple[Entry, Entry], command: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    code, out, err = command("z", "--json")
    assert code == 0
    result = json.loads(out.splitlines()[-1])
    assert Path(result["interactions"]).read_bytes() == RATINGS.encode()
    assert err.index("Terms: Be kind.") < err.index("Cite: We.") < err.index("downloading z.zip")
    assert "40 of 40 items have a title" in out
    assert "train on it: attnrec train --dataset z" in err
    data = load_interactions("z")
    assert (data.name, data.num_interactions) == ("z", 600)
    assert data.item_titles is not None
    assert data.item_titles[0] == f"Film {data.item_ids[0]}"
    code, out, err = command("z", "--json")
    assert json.loads(out) == result
    assert "Terms" not in err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["r:a", "--max-size", "1MB"], 2, "above the limit of 1.0 MB"),
        (["r:a", "--max-size", "much"], 2, "is not a size"),
        (["y"], 2, "there is no public data set 'y'"),
        (["r:aa"], 2, "did you mean r:a"),
    ],
)
def test_command_errors(
    known: tuple[Entry, Entry],
    command: Callable[..., tuple[int, str, str]],
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    found, out, err = command(*arguments)
    assert (found, out) == (code, "")
    assert message in err.splitlines()[-1]


def test_command_interrupted(
    known: tuple[Entry, Entry], command: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer._Attempts, "_write", killed)
    code, _, err = command("z")
    assert code == 130
    assert "interrupted: run the same command to continue" in err


@pytest.mark.parametrize("width", [60, 80])
def test_list(
    command: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch, width: int, tmp_path: Path
) -> None:
    monkeypatch.setattr("attnrec.cli.get.results.width", width)
    code, out, _ = command("--json", "--folder", str(tmp_path))
    assert code == 0
    assert max(map(len, out.splitlines()[:-1])) <= width
    assert "amazon-2014:CATEGORY" in out
    rows = {row["name"]: row for row in json.loads(out.splitlines()[-1])["datasets"]}
    assert rows["ml-1m"]["interactions"] == 1_000_209
    assert not rows["ml-1m"]["downloaded"]


def test_yelp_says_what_to_do(command: Callable[..., tuple[int, str, str]]) -> None:
    code, _, err = command("yelp")
    assert code == 2
    assert err.count("\n") == 1
    assert "https://business.yelp.com/data/resources/open-dataset/" in err
    assert "prepare its file yelp_academic_dataset_review.json (`attnrec prepare`)" in err
