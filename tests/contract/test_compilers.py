"""Which of torch's compilers the check uses."""

from __future__ import annotations

import pytest
import torch

from attnrec.contract import check_operator, paths


def figure() -> str:
    (result,) = check_operator("linear", only=["torch.compile"]).results
    return result.figure


@pytest.mark.slow
def test_without_a_compiler_for_its_code_inductor_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "(backend aot_eager: no C++ compiler)" in figure()


@pytest.mark.slow
def test_a_torch_that_takes_the_wrong_type_for_its_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr("shutil.which", lambda name: name)
    types = {"cpu": torch.float64, "meta": torch.float32}
    monkeypatch.setattr(paths, "_log_sum_exp_type", types.__getitem__)
    assert "(backend aot_eager: this torch cannot compile its attention in float64)" in figure()
