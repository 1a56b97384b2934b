"""Without a GPU the kernels run in Triton's interpreter, which has to be asked for before they are imported."""

from __future__ import annotations

import os

import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """On a GPU all tests that run kernels run there, so that ``-m gpu`` chooses them."""
    for item in items:
        if torch.cuda.is_available() and item.path.parent.name == "kernels" and item.path.stem != "test_compile":
            item.add_marker(pytest.mark.gpu)
