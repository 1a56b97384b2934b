"""Attention variants for sequential recommendation: train, evaluate, recommend, compare."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = [
    "ComparisonPrinter",
    "ComparisonResult",
    "InputError",
    "Printer",
    "Recommender",
    "RunError",
    "TrainConfig",
    "check_operator",
    "compare",
    "load",
    "plot",
    "prepare",
    "shuffle_test",
    "train",
]

if TYPE_CHECKING:
    from attnrec.api import ComparisonPrinter, ComparisonResult, Printer, compare, plot, prepare, shuffle_test, train
    from attnrec.contract import check_operator
    from attnrec.errors import InputError, RunError
    from attnrec.recommender import Recommender, load
    from attnrec.training.config import TrainConfig

_HOMES = {
    "ComparisonPrinter": "attnrec.api",
    "ComparisonResult": "attnrec.api",
    "InputError": "attnrec.errors",
    "Printer": "attnrec.api",
    "Recommender": "attnrec.recommender",
    "RunError": "attnrec.errors",
    "TrainConfig": "attnrec.training.config",
    "check_operator": "attnrec.contract",
    "compare": "attnrec.api",
    "load": "attnrec.recommender",
    "plot": "attnrec.api",
    "prepare": "attnrec.api",
    "shuffle_test": "attnrec.api",
    "train": "attnrec.api",
}


def __getattr__(name: str) -> Any:
    # torch is imported by the first use of something that needs it, not by `import attnrec`
    if name not in _HOMES:
        raise AttributeError(f"module 'attnrec' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
