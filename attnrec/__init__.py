"""Attention variants for sequential recommendation: train, evaluate, recommend, compare."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["InputError", "Recommender", "RunError", "TrainConfig", "load", "train"]

if TYPE_CHECKING:
    from attnrec.errors import InputError, RunError
    from attnrec.recommender import Recommender, load
    from attnrec.training.config import TrainConfig
    from attnrec.training.loop import train

_HOMES = {
    "InputError": "attnrec.errors",
    "Recommender": "attnrec.recommender",
    "RunError": "attnrec.errors",
    "TrainConfig": "attnrec.training.config",
    "load": "attnrec.recommender",
    "train": "attnrec.training.loop",
}


def __getattr__(name: str) -> Any:
    # torch is imported by the first use of something that needs it, not by `import attnrec`
    if name not in _HOMES:
        raise AttributeError(f"module 'attnrec' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
