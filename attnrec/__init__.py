"""Attention variants for sequential recommendation: train, evaluate, recommend, compare."""

from __future__ import annotations

TYPE_CHECKING = False  # for type checkers; `typing` is not imported here, where `python -m` finds the current folder's

__version__ = "0.1.0"
__all__ = [
    "BenchmarkResult",
    "ComparisonPrinter",
    "ComparisonResult",
    "InputError",
    "Printer",
    "Recommender",
    "RunError",
    "TrainConfig",
    "TrainingResult",
    "Variant",
    "bench",
    "check",
    "check_mixer",
    "check_model",
    "check_operator",
    "compare",
    "history",
    "load",
    "plot",
    "prepare",
    "shuffle_test",
    "train",
]

if TYPE_CHECKING:
    from attnrec.api import ComparisonPrinter, Printer, bench, compare, plot, prepare, shuffle_test, train
    from attnrec.contract import check, check_mixer, check_model, check_operator
    from attnrec.core.errors import InputError, RunError
    from attnrec.experiments.variants import Variant
    from attnrec.recommender import Recommender, load
    from attnrec.results import ComparisonResult, TrainingResult
    from attnrec.speed.bench import BenchmarkResult
    from attnrec.training.config import TrainConfig
    from attnrec.training.history import history

_HOMES = {
    "BenchmarkResult": "attnrec.speed.bench",
    "ComparisonPrinter": "attnrec.api",
    "ComparisonResult": "attnrec.results",
    "InputError": "attnrec.core.errors",
    "Printer": "attnrec.api",
    "Recommender": "attnrec.recommender",
    "RunError": "attnrec.core.errors",
    "TrainConfig": "attnrec.training.config",
    "TrainingResult": "attnrec.results",
    "Variant": "attnrec.experiments.variants",
    "bench": "attnrec.api",
    "check": "attnrec.contract",
    "check_mixer": "attnrec.contract",
    "check_model": "attnrec.contract",
    "check_operator": "attnrec.contract",
    "compare": "attnrec.api",
    "history": "attnrec.training.history",
    "load": "attnrec.recommender",
    "plot": "attnrec.api",
    "prepare": "attnrec.api",
    "shuffle_test": "attnrec.api",
    "train": "attnrec.api",
}


_ROOMS = frozenset(
    [
        "analysis",
        "attention",
        "contract",
        "core",
        "data",
        "doctor",
        "evaluation",
        "experiments",
        "kernels",
        "mixers",
        "models",
        "speed",
        "training",
    ]
)


def __getattr__(name: str) -> object:
    # lazy, so that `import attnrec` does not import torch
    if name not in _HOMES and name not in _ROOMS:
        raise AttributeError(f"module 'attnrec' has no attribute {name!r}")
    import importlib

    if name in _ROOMS:
        return importlib.import_module(f"attnrec.{name}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
