"""Every registered operator, mixer and model keeps the contract, with the options that change what it computes."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch

from attnrec.attention import ATTENTION, AttentionOperator
from attnrec.contract import check_mixer, check_model, check_names, check_operator
from attnrec.core.spec import Spec, Specs
from attnrec.models.build import MODELS
from attnrec.models.options import ModelOptions

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
SUBLAYERS = {name: ATTENTION.find(name) for name in ATTENTION.names() if name != "triton"}
SPECS = [name for name, cls in SUBLAYERS.items() if issubclass(cls, AttentionOperator)]
MIXERS = [name for name in SUBLAYERS if name not in SPECS]
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


@pytest.mark.parametrize("spec", [*MIXERS, "sdpa"])
def test_mixers_keep_the_contract(spec: str) -> None:
    """And the trunk's projections, with the default operator between them."""
    names = [name for name in check_names("mixer") if name != "growth"]
    report = check_mixer(spec, only=names, compile_backend="aot_eager")
    assert report.holds, str(report)
    assert {result.name for result in report.results if result.status == "not run"} <= ALLOWED, str(report)


def sasrec(attention: str = "sdpa", **options: Any) -> ModelOptions:
    return ModelOptions(attention=Specs((Spec.parse(attention),)), **options)


MODEL_OPTIONS: dict[str, list[ModelOptions]] = {
    "sasrec": [
        sasrec(norm="pre", user_vector=True),
        sasrec(norm="post", residual=False, bias=False),
        sasrec("ti", shared_embedding=False, position=False),
        sasrec("awr", blocks=1),
    ]
}
"""Options beside the defaults, which every model is checked with."""
CONFIGURED = [
    *((name, ModelOptions()) for name in MODELS.names()),
    *(pytest.param(name, own, marks=pytest.mark.slow) for name, options in MODEL_OPTIONS.items() for own in options),
]


@pytest.mark.parametrize(("name", "options"), CONFIGURED)
def test_models_keep_the_contract(name: str, options: ModelOptions) -> None:
    report = check_model(name, options)
    assert report.holds, str(report)
    assert {result.name for result in report.results if result.status == "not run"} <= {"history", "device"}


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
