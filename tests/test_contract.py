"""Every registered operator keeps the contract, with the options that change what it computes."""

from __future__ import annotations

import os

import pytest
import torch

from attnrec.attention import attention_names
from attnrec.contract import check_names, check_operator

OPTIONS = {
    "awr": (
        "refinement=simple",
        "refinement=additive",
        "refinement=additive,mix=sum",
        "normalize=false",
        "impl=reference,width=4",
    ),
    "entmax": ("alpha=2",),
    "hstu": ("time=true",),
    "linear": ("chunk=2",),
}
"""Options beside the defaults."""
SPECS = [name for name in attention_names() if name != "triton"]
SPECS += [f"{name}:{options}" for name in OPTIONS for options in OPTIONS[name]]
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


@pytest.mark.parametrize("spec", SPECS)
def test_operators_keep_the_contract(spec: str) -> None:
    """torch.compile by its tracing alone, once a variant; that its machine code agrees is checked for one below."""
    names = [name for name in check_names() if name != "growth" and not (":" in spec and name == "torch.compile")]
    if INTERPRETED and ":" in spec:
        names.remove("implementations")  # interpreted kernels take 10 s, and the default options have them
    report = check_operator(spec, only=names, compile_backend="aot_eager")
    assert report.holds, str(report)
    assert {result.name for result in report.results if result.status == "not run"} <= ALLOWED, str(report)


ALLOWED = {
    "weights",  # the operator says that it has none
    "weights sum",
    "weights output",
    "implementations",  # it has one
    "device",  # it asks for something that the meta device does not have
}
"""What may be left out of a registered operator's contract."""


def test_compiled_code_and_growth() -> None:
    report = check_operator("sdpa", only=["torch.compile", "growth"])
    assert report.holds, str(report)
    (growth,) = (result for result in report.results if result.name == "growth")
    assert "memory n^1.0" in growth.figure  # torch's fused attention keeps nothing n by n


@pytest.mark.gpu
@pytest.mark.parametrize("spec", [*SPECS, "triton", "awr:impl=triton"])
def test_operators_keep_the_contract_on_a_gpu(spec: str) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs an NVIDIA GPU")
    report = check_operator(spec, device="cuda")
    assert report.holds, str(report)
