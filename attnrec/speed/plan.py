"""What `attnrec bench` should measure. Nothing heavy is imported here, so that help and errors come at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from math import isfinite
from typing import Any

from attnrec.core.arguments import listed, number, text, whole_number
from attnrec.core.errors import InputError, nearest
from attnrec.core.options import named

FORWARD, BOTH = "forward", "both"
PASSES = (FORWARD, BOTH)
LENGTHS = ("full", "games", "ml-1m")
PRECISIONS = ("fp32", "bf16", "fp16")
_MOST = 10**9


@dataclass(frozen=True)
class BenchmarkPlan:
    """Every operator is measured at every sequence length n and head width d, in every pass.

    Attributes:
        attention: operators ``NAME[:option=value,...]`` and competitors ``torch:NAME``, at least one, each once.
        seq_lens: longest histories n, in items.
        dims: widths d of a head.
        heads: H.
        batch: histories B.
        lengths: how long the histories are, one of `LENGTHS` (`attnrec.speed.workloads`).
        precision: precision of the inputs, one of `PRECISIONS`; unless it is ``fp32``, operators run under autocast.
        passes: some of `PASSES`: only the outputs, or the outputs and then the gradients.
        seconds: target time of measuring each operator and pass at each size.
        seed: seed of the inputs and of the operators' parameters.

    Raises InputError when a value is outside its limits.
    """

    attention: tuple[str, ...] = ("sdpa", "awr", "awr:impl=reference")
    seq_lens: tuple[int, ...] = (128, 256, 512, 1024)
    dims: tuple[int, ...] = (64,)
    heads: int = 1
    batch: int = 8
    lengths: str = "full"
    precision: str = "fp32"
    passes: tuple[str, ...] = PASSES
    seconds: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, numbers in (
            ("seq_lens", self.seq_lens),
            ("dims", self.dims),
            ("heads", (self.heads,)),
            ("batch", (self.batch,)),
        ):
            for size in numbers:
                if size < 1:
                    raise InputError(f"{named(name)} must be at least 1, not {size}")
                if size > _MOST:
                    raise InputError(f"{named(name)} must be at most {_MOST}")
        for name, values, known in (
            ("lengths", (self.lengths,), LENGTHS),
            ("precision", (self.precision,), PRECISIONS),
            ("passes", self.passes, PASSES),
        ):
            for value in values:
                if value not in known:
                    raise InputError(f"{named(name)} {value!r} is not one of {', '.join(known)}")
        for name, given in (
            ("attention", self.attention),
            ("seq_lens", self.seq_lens),
            ("dims", self.dims),
            ("passes", self.passes),
        ):
            if len(set(given)) < len(given):
                raise InputError(f"{named(name)} has the same value twice: {', '.join(map(str, given))}")
        if not (isfinite(self.seconds) and self.seconds > 0):
            raise InputError(f"`seconds` must be above 0, not {self.seconds:g}")
        if not 0 <= self.seed < 2**63:
            raise InputError(f"`seed` must be from 0 to 2^63 - 1, not {self.seed}")

    @property
    def workload(self) -> str:
        """The batch in words."""
        heads = f", {self.heads} heads" if self.heads > 1 else ""
        long = "all of length n" if self.lengths == "full" else f"lengths as in {self.lengths}"
        return f"batch {self.batch}{heads}, {long}"

    def sizes(self) -> list[tuple[int, int]]:
        """Every (n, d), the small ones first."""
        return [(n, d) for d in sorted(self.dims) for n in sorted(self.seq_lens)]


def plan_of(options: Mapping[str, Any]) -> BenchmarkPlan:
    """The plan with these fields; InputError for an unknown one, or a value of the wrong type or outside its limits."""
    names = [own.name for own in fields(BenchmarkPlan)]
    several: dict[str, Callable[[Any], Any]] = {
        "attention": partial(text, "attention"),
        "seq_lens": partial(whole_number, "seq_lens"),
        "dims": partial(whole_number, "dims"),
        "passes": partial(text, "passes"),
    }
    one: dict[str, Callable[[str, Any], Any]] = {"lengths": text, "precision": text, "seconds": number}
    found: dict[str, Any] = {}
    for name, value in options.items():
        if name not in names:
            raise InputError(f"unknown option {name!r}{nearest(name, names)}")
        if name not in several:
            found[name] = one.get(name, whole_number)(name, value)
            continue
        found[name] = tuple(map(several[name], listed(name, value, "values")))
        if not found[name]:
            raise InputError(f"{named(name)} must not be empty")
    return BenchmarkPlan(**found)
