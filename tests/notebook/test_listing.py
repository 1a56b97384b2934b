"""``help`` names every option with its default and meaning."""

from __future__ import annotations

import pydoc
import re

import pytest

import attnrec
from attnrec.training.config import declared


@pytest.mark.parametrize(
    ("function", "without"),
    [
        (attnrec.train, set()),
        (attnrec.compare, {"attention", "start_from"}),
        (attnrec.shuffle_test, {"dataset"}),
    ],
)
def test_every_option_is_listed_once(function: object, without: set[str]) -> None:
    text = pydoc.plain(pydoc.render_doc(function))
    listed = re.findall(r"^        (\w+) = (.*?): ", text, flags=re.MULTILINE)
    names = [name for name, _ in listed]
    assert len(names) == len(set(names))
    assert set(names) == (declared().keys() | {"preset"}) - without
    defaults = dict(listed)
    assert (defaults["dim"], defaults["loss"], defaults["cutoffs"]) == ("64", "'ce'", "(1, 5, 10, 20)")
    assert defaults["feed_forward_dropout"] == "as dropout"


def test_options_are_spelled_as_in_python() -> None:
    text = " ".join((attnrec.train.__doc__ or "").split())
    assert "heads = 1: Attention heads; must divide `dim`." in text
    assert "--" not in text
    assert "norm = 'original': Position of LayerNorm" in text
    assert "(one of 'original', 'pre', 'post')" in text
