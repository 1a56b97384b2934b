"""The copy of a notebook's class defines the same, or is refused."""

from __future__ import annotations

from typing import Any

import pytest

from attnrec.core.errors import InputError
from attnrec.core.loading import run_source
from attnrec.core.own_source import standing_alone
from tests.notebook.conftest import OPERATOR, Cell

INSIDE = "def make():\n" + OPERATOR.replace("\n", "\n    ") + "\n    return Mine\nMine = make()\n"


def copied(cls: type) -> Any:
    content = standing_alone(cls)
    return getattr(run_source(content.encode(), "copied", "copy"), cls.__name__)


def test_a_copy_holds_what_the_class_uses_and_nothing_else(cell: Cell) -> None:
    cell("WIDTH = 3\nTABLE = {'a': [1.5, None]}\nunused = torch.zeros(3)\n")
    cell("def twice(x):\n    return x * WIDTH * TABLE['a'][0]\nalias = twice\nbeside = 5\n")
    source = OPERATOR.replace("self.scale * q", "alias(self.scale) * math.pi * q")
    content = standing_alone(cell(source)["Mine"])
    assert "WIDTH = 3" in content
    assert content.index("def twice") < content.index("alias = twice") < content.index("class Mine")
    assert "from attnrec.attention.operator import masked_softmax" in content
    assert "import torch.nn.functional as F" in content
    assert not any(name in content for name in ("unused", "beside", "partial", "nn as nn", "register"))


def test_bases_helpers_and_decorators_of_the_notebook(cell: Cell) -> None:
    cell("def same(cls):\n    return cls\n")
    cell(OPERATOR.replace("Mine", "Base"))
    names = cell(
        "@register_attention('of-a-notebook')\n@same\nclass Mine(Base):\n    needs_timestamps = True\n"
        "    def forward(self, q, k, v, ctx):\n        return Mine.__name__ and super().forward(q, k, v, ctx)\n"
    )
    from attnrec.attention import ATTENTION

    try:
        found = copied(names["Mine"])
    finally:
        del ATTENTION._registered["of-a-notebook"]
    assert found.__mro__[1].__name__ == "Base"
    assert found.needs_timestamps


def test_annotations_stay_what_they_were(cell: Cell) -> None:
    names = cell("from __future__ import annotations\n" + OPERATOR.replace("k: Tensor", "k: NoSuchType"))
    assert copied(names["Mine"]).weights.__annotations__["k"] == "NoSuchType"
    assert copied(cell(OPERATOR)["Mine"]).weights.__annotations__["k"].__name__ == "Tensor"


@pytest.mark.parametrize(
    ("before", "source", "after", "message"),
    [
        ("table = torch.ones(3)", OPERATOR.replace("self.scale * q", "table * q"), "", "Mine uses 'table' of the note"),
        ("", OPERATOR, "Mine.forward = lambda self, q, k, v, ctx: v", "forward was changed from outside"),
        ("", OPERATOR, "Mine.needs_timestamps = True", "needs_timestamps was changed from outside"),
        ("WIDTH = 1.0", OPERATOR.replace("float = 1.0", "float = WIDTH"), "WIDTH = 2.0", "__init__ was changed"),
        ("class Base(AttentionOperator): pass", OPERATOR.replace("(AttentionOperator)", "(Base)"),
         "class Base(AttentionOperator):\n    def weights(self, q, k, ctx): ...", "Base has been redefined since"),
        ("", INSIDE, "", "make.<locals>"),
    ],
)  # fmt: skip
def test_what_a_copy_would_not_be_is_refused(cell: Cell, before: str, source: str, after: str, message: str) -> None:
    cell(before)
    cell(source)
    with pytest.raises(InputError) as caught:
        standing_alone(cell(after)["Mine"])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_cell_whose_source_is_gone_is_refused(cell: Cell) -> None:
    names = cell("")
    exec(OPERATOR, names)
    with pytest.raises(InputError, match="the source of Mine cannot be found: write the class to a file"):
        standing_alone(names["Mine"])
