"""Registry, options on the command line, and the layouts of a batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from attnrec.attention import (
    ATTENTION,
    AttentionOperator,
    SequenceContext,
    build_attention,
    register_attention,
)
from attnrec.attention.packing import make_packing, pack, pad
from attnrec.core.errors import InputError
from attnrec.core.registry import declared_options
from attnrec.core.spec import Spec


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registrations of a test do not outlive it."""
    monkeypatch.setattr(ATTENTION, "_registered", ATTENTION.registered())


class Scaled(AttentionOperator):
    """The values times a factor."""

    has_weights = False

    def __init__(
        self,
        num_heads: int,
        head_dim: int,
        max_len: int,
        dropout: float,
        *,
        factor: float = 1.0,
        times: int = 1,
        negate: bool = False,
        mode: str = "plain",
    ) -> None:
        super().__init__(num_heads, head_dim, max_len, dropout)
        if mode not in ("plain", "double"):
            raise ValueError(f"mode {mode!r} is not plain or double")
        self.factor = factor * times * (-1 if negate else 1) * (2 if mode == "double" else 1)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, ctx: SequenceContext) -> Tensor:
        return v * self.factor


@pytest.mark.usefixtures("registry")
def test_options_reach_the_constructor() -> None:
    register_attention("scaled")(Scaled)
    spec = Spec.parse("scaled:factor=0.5,times=3,negate=true,mode=double")
    assert str(spec) == "scaled:factor=0.5,times=3,negate=true,mode=double"
    built = build_attention(spec, 2, 4, 10, 0.1)
    assert isinstance(built, Scaled)
    assert built.factor == -3.0
    assert (built.num_heads, built.head_dim, built.max_len, built.dropout) == (2, 4, 10, 0.1)
    assert list(declared_options(Scaled)) == ["factor", "times", "negate", "mode"]
    assert declared_options(Scaled)["times"].annotation is int


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sdpaa", "unknown attention variant 'sdpaa'; did you mean sdpa?"),
        ("sdpa:width=3", "'sdpa' has no option 'width'; it has no options"),
        ("scaled:facto=3", "has no option 'facto'; did you mean factor?"),
        ("scaled:factor=much", "factor='much' is not a number"),
        ("scaled:times=1.5", "times='1.5' is not a whole number"),
        ("scaled:negate=perhaps", "negate='perhaps' is not true or false"),
        ("scaled:mode=triple", "mode 'triple' is not plain or double"),
        ("scaled:", "not of the form NAME"),
        (":factor=1", "not of the form NAME"),
        ("scaled:factor", "'factor' is not of the form option=value"),
        ("scaled:times=1,times=2", "gives an option twice"),
    ],
)
def test_bad_names_and_options(text: str, message: str) -> None:
    register_attention("scaled")(Scaled)
    with pytest.raises(InputError) as caught:
        build_attention(text, 1, 4, 10, 0.0)
    assert message in str(caught.value)


@pytest.mark.usefixtures("registry")
def test_a_name_is_taken_once() -> None:
    register_attention("scaled")(Scaled)
    with pytest.raises(ValueError, match="already registered"):
        register_attention("scaled")(Scaled)
    assert ATTENTION.find("scaled") is Scaled


def test_an_operator_without_weights_says_so() -> None:
    with pytest.raises(NotImplementedError, match="Scaled has no attention weights"):
        Scaled(1, 4, 10, 0.0).weights(torch.zeros(1), torch.zeros(1), SequenceContext(torch.tensor([1]), 1))


def test_context() -> None:
    ctx = SequenceContext(torch.tensor([0, 2, 3]), 3, offset=7)
    assert ctx.real().tolist() == [[False] * 3, [False, True, True], [True] * 3]
    assert ctx.mask()[1, 0].tolist() == [[False] * 3, [False, True, False], [False, True, True]]
    assert not ctx.mask()[0].any()


@pytest.mark.parametrize("groups", [1, 2, 3, 9])
@pytest.mark.parametrize("start", [False, True])
def test_packing_and_padding_are_inverse(groups: int, start: bool) -> None:
    lengths = np.array([1, 1, 3, 4, 7])
    packing = make_packing(lengths, 9, groups)
    assert packing.slots.tolist() == [8, 8, 6, 7, 8, 5, 6, 7, 8, 2, 3, 4, 5, 6, 7, 8]
    x = torch.randn(16, 2, 3)
    covered = []
    for group in packing.groups:
        padded = pad(x[group.rows], group, start=start)
        batch, heads, width, dim = padded.shape
        assert (heads, width, dim) == (2, int(group.ctx.lengths.max()), 3)
        assert group.ctx.offset == 9 - width
        columns = torch.arange(width)
        real = columns < group.ctx.lengths[:, None] if start else group.ctx.real()
        assert (padded.abs().sum((1, 3)) > 0).equal(real)
        assert pack(padded, group, start=start).equal(x[group.rows])
        covered.append(batch)
    assert sum(covered) == 5
    assert len(covered) == {1: 1, 2: 2, 3: 3, 9: 3}[groups]


def test_padding_passes_gradients_of_real_rows_alone() -> None:
    group = make_packing(np.array([1, 3]), 3).groups[0]
    x = torch.randn(4, 1, 2, dtype=torch.float64, requires_grad=True)
    for start in (False, True):
        assert torch.autograd.gradcheck(lambda x, start=start: pad(x, group, start=start), x)
        assert torch.autograd.gradcheck(
            lambda x, start=start: pack(pad(x, group, start=start) ** 2, group, start=start), x
        )


def test_timestamps_are_padded_like_the_items() -> None:
    packing = make_packing(np.array([1, 2]), 5, timestamps=torch.tensor([3.0, 1.0, 2.0]))
    times = packing.groups[0].ctx.timestamps
    assert times is not None
    assert times.tolist() == [[0.0, 3.0], [1.0, 2.0]]


def test_spec_without_options_is_its_name() -> None:
    assert str(Spec("sdpa")) == "sdpa"
