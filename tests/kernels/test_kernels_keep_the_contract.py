"""The operators that use the kernels keep the contract: in the interpreter, or on a GPU where there is one."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("triton")
from attnrec.contract import check_names, check_operator

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SLOW_IN_THE_INTERPRETER = {
    "triton": {"growth", "torch.compile", "dropout"},
    # what `test_awr_attention.py` looks at in its own ways
    "awr:impl=triton,width=4": {
        "growth", "torch.compile", "dropout", "implementations", "no future leak", "packed", "finite", "padding",
    },
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("spec", SLOW_IN_THE_INTERPRETER)
def test_kernels_keep_the_contract(spec: str) -> None:
    left_out = SLOW_IN_THE_INTERPRETER[spec] if DEVICE == "cpu" else set()
    names = [name for name in check_names() if name not in left_out]
    report = check_operator(spec, device=DEVICE, only=names)
    assert report.holds, str(report)
    # these ask for float64, for another device, and for an option impl
    not_run = {result.name for result in report.results if result.status == "not run"}
    assert not_run <= {"gradcheck", "device", "implementations"}, str(report)
