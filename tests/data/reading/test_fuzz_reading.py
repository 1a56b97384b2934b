"""Mutated files of every form: data whose counts add up, or one clear line; the fast way agrees with the plain one.

`pytest -m slow` tries 2,000 files. For a night:
`ATTNREC_FUZZ=100000 pytest -m slow tests/data/reading/test_fuzz_reading.py`.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from attnrec.data.interactions import DataError, Interactions
from attnrec.data.reading import records, tables
from attnrec.data.reading.form import ReadOptions
from attnrec.data.reading.read import read_interactions
from tests.data.reading.raw_forms import FORMS

TEXT_FORMS = {
    name: form.write(form.rows(40)) for name, form in FORMS.items() if not name.startswith(("Parquet", "Amazon 2014"))
}
BINARY_FORMS = {name: FORMS[name].write(FORMS[name].rows(40)) for name in ("Parquet", "Amazon 2014")}
SNIPPETS = [
    *(b"\n", b"\r\n", b"\r", b"\n\n", b" ", b"  ", b"\t", b",", b";", b"::", b"|", b'"', b'""', b"'", b"\\", b"\x00"),
    *(
        b"\xff",
        b"\xc3",
        b"\xef\xbb\xbf",
        b"nan",
        b"inf",
        b"1e999",
        b"0x10",
        b"1_000",
        b"-1",
        b"978300760",
        b"2014-01-01",
    ),
    *(
        b"{",
        b"}",
        b"[",
        b"null",
        b"true",
        b"{}",
        b"user",
        b"item",
        b"a b\n",
        b"1 2 3\n",
        "é".encode(),
        "\u2028".encode(),
    ),
    *(b"\n\n\n{", b"PAR1", b"\x1f\x8b", b"PK\x03\x04", b"e5", b"[1]", b"__import__('os')", b"(" * 200),
]


@st.composite
def mutated(draw: st.DrawFn, files: dict[str, bytes]) -> tuple[str, bytes]:
    """The name of a form, and a file in it with one to four changes."""
    name = draw(st.sampled_from(sorted(files)))
    content = files[name]
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.sampled_from([0, 0, 1, 1, 2, 8, 60])))
        kind = draw(st.sampled_from(["insert", "replace", "cut", "repeat", "end", "lines"]))
        if kind == "insert":
            content = content[:start] + draw(st.sampled_from(SNIPPETS)) + content[start:]
        elif kind == "replace":
            content = content[:start] + draw(st.sampled_from(SNIPPETS)) + content[end:]
        elif kind == "cut":
            content = content[:start] + content[end:]
        elif kind == "repeat":
            content = content[:end] + content[start:]
        elif kind == "end":
            content = content[:start]
        else:
            old, new = draw(
                st.sampled_from([(b"\n", b"\r\n"), (b"\n", b"\n\n"), (b",", b";"), (b" ", b"  "), (b"\t", b" ")])
            )
            content = content.replace(old, new)
    return name, content


OPTIONS = st.sampled_from(
    [
        *[ReadOptions()] * 6,
        *(ReadOptions(kind) for kind in ("pairs", "sequences", "csv", "tsv", "json", "literals", "parquet")),
        ReadOptions(header=False),
        ReadOptions(separator=","),
        ReadOptions(separator="::"),
        ReadOptions(user_column="1", item_column="2"),
        ReadOptions(user_column="2", item_column="1", time_column="none"),
        ReadOptions(trust_data=True),
    ]
)


def outcome(path: Path, options: ReadOptions) -> Interactions | str:
    try:
        return read_interactions(path, options)
    except DataError as error:
        return str(error)


def check_outcome(found: Interactions | str, path: Path) -> None:
    if isinstance(found, str):
        assert "\n" not in found
        assert path.name in found
        assert len(found) < 600
        return
    assert found.reading is not None
    assert found.reading.kept == found.num_interactions == len(found.items) == found.lengths.sum() > 0
    assert all(found.user_ids)
    assert all(found.item_ids)
    assert len(set(found.user_ids)) == found.num_users
    assert len(set(found.item_ids)) == found.num_items
    assert set(np.unique(found.items)) == set(range(1, found.num_items + 1))
    if found.timestamps is not None:
        assert np.isfinite(found.timestamps).all()


def same(one: Interactions, other: Interactions) -> bool:
    return (
        (one.user_ids, one.item_ids) == (other.user_ids, other.item_ids)
        and np.array_equal(one.items, other.items)
        and np.array_equal(one.offsets, other.offsets)
        and (one.timestamps is None) == (other.timestamps is None)
        and (one.timestamps is None or np.array_equal(one.timestamps, other.timestamps))  # type: ignore[arg-type]
    )


def try_file(content: bytes, options: ReadOptions, patch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mutated.txt"
        path.write_bytes(content)
        found = outcome(path, options)
        check_outcome(found, path)
        with patch.context() as plain:
            for module in (tables, records):
                plain.setattr(module, "_by_pyarrow", lambda *_: None)
            expected = outcome(path, options)
        if isinstance(found, str) or isinstance(expected, str):
            assert found == expected
        else:
            assert same(found, expected)
            lines = [line for line in content.split(b"\n") if line.strip(b" \t\r")]
            packed = content.startswith((b"\x1f\x8b", b"PK"))
            if (
                found.reading is not None
                and not packed
                and not found.reading.form.startswith(("one line per user", "Parquet"))
            ):
                header = found.reading.form.endswith("with a header")
                assert found.reading.lines <= len(lines) - header


def _fuzz(count: int) -> settings:
    return settings(
        max_examples=count,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        derandomize=count < 10_000,
    )


@_fuzz(100)
@given(file=mutated(TEXT_FORMS), options=OPTIONS)
@example(file=("pairs", b""), options=ReadOptions())
def test_some_mutated_files(file: tuple[str, bytes], options: ReadOptions) -> None:
    with pytest.MonkeyPatch.context() as patch:
        try_file(file[1], options, patch)


@pytest.mark.slow
@pytest.mark.timeout(0)
@_fuzz(int(os.environ.get("ATTNREC_FUZZ", "1700")))
@given(file=mutated(TEXT_FORMS), options=OPTIONS)
def test_mutated_text_files(file: tuple[str, bytes], options: ReadOptions) -> None:
    with pytest.MonkeyPatch.context() as patch:
        try_file(file[1], options, patch)


@pytest.mark.slow
@pytest.mark.timeout(0)
@_fuzz(max(300, int(os.environ.get("ATTNREC_FUZZ", "0")) // 5))
@given(file=mutated(BINARY_FORMS), options=OPTIONS)
def test_mutated_binary_files(file: tuple[str, bytes], options: ReadOptions) -> None:
    with pytest.MonkeyPatch.context() as patch:
        try_file(file[1], options, patch)
