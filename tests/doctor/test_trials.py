"""Processes that crash, hang or print, and what is tried in them."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from attnrec.attention import ATTENTION, AttentionOperator
from attnrec.core.registry import Entry
from attnrec.doctor import compilers, gpus, processes, trials
from attnrec.doctor.findings import Finding
from attnrec.doctor.processes import Process

DUMMY = """
import os, sys, time
from attnrec.doctor import trials
from attnrec.doctor.findings import Finding
def fine():
    print("chatter")
    yield Finding("what works", "fine", "ok", "it")
def ends():
    yield Finding("what works", "before the end", "ok", "")
    {end}
trials.TRIALS |= dict(
    fine=trials.Trial("what works", "fine", fine, needs_torch=False),
    training=trials.Trial("what works", "training", ends, needed=True, needs_torch=False),
)
sys.argv.pop(1)
trials.main(sys.argv[1:])
"""


@pytest.fixture
def ending(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Finding]]:
    """Findings of a process that tries something fine, then something that ends as given, then another thing."""

    def findings(end: str, seconds: float = 60) -> list[Finding]:
        monkeypatch.setattr(processes, "_START", DUMMY.format(end=end))
        monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
        known = {"fine": trials.Trial("what works", "fine", list), **trials.TRIALS}
        monkeypatch.setattr(processes, "TRIALS", known)
        with Process(["fine", "training", "cuda"], seconds, "wait longer") as process:
            return list(process.findings())

    return findings


@pytest.mark.parametrize(
    ("end", "text"),
    [
        ("os.abort()", "its process was killed by SIGABRT"),
        ("os._exit(3)", "its process ended with code 3"),
        ("print('no luck', file=sys.stderr, flush=True); os._exit(3)", "its process ended with code 3: no luck"),
    ],
)
def test_a_crash_is_a_finding(ending: Any, end: str, text: str) -> None:
    fine, before, crashed, untried = ending(end)
    assert (fine.status, before.name) == ("ok", "before the end")
    assert (crashed.name, crashed.status, crashed.needed) == ("training on the CPU", "no", True)
    assert crashed.text.startswith(text)
    assert (untried.name, untried.status) == ("CUDA", "no")
    assert "not tried" in untried.text


@pytest.mark.slow
def test_what_hangs_is_stopped(ending: Any) -> None:
    *_, stuck, _ = ending("time.sleep(1000)", seconds=10)
    assert (stuck.text, stuck.advice) == ("not done after 10 s", "wait longer")


def test_nothing_is_left_of_a_process_that_is_not_waited_for() -> None:
    with Process(["training"], 60) as process:
        pass
    assert process._process.poll() is not None


def test_every_trial_has_its_title() -> None:
    """Where a trial has one finding, it bears the name under which its process would be missed."""
    assert [finding.name for finding in trials.TRIALS["training"].findings()] == ["training on the CPU"]
    assert [finding.name for finding in trials.TRIALS["bf16"].findings()] == ["bf16 on the CPU"]
    assert [finding.status for finding in trials.TRIALS["bf16"].findings()] == ["ok"]


# -- torch, plug-ins, compilers, GPUs ----------------------------------------------------------------------


def found(name: str) -> dict[str, Finding]:
    return {finding.name: finding for finding in trials.TRIALS[name].findings()}


def test_more_threads_than_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "usable_cores", lambda: 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    threads = found("torch")["threads"]
    assert (threads.status, threads.advice) == ("no", "set OMP_NUM_THREADS=1")
    assert "64 on 1 core" in threads.text


def test_a_training_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attnrec.api.train", lambda **options: 1 / 0)
    training = found("training")["training on the CPU"]
    assert (training.status, training.text) == ("no", "ZeroDivisionError: division by zero")
    assert training.advice


def test_plug_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    assert found("plug-ins")["attention"].status == "not here"
    variants = [
        Entry("good", "package 1.0", AttentionOperator),
        Entry("bad", "other 2.0", None, "it cannot be loaded"),
    ]
    monkeypatch.setattr(ATTENTION, "entries", lambda: variants)
    good, bad, models = found("plug-ins").values()
    assert models.status == "not here"
    assert (good.status, good.text) == ("ok", "from package 1.0")
    assert (bad.status, bad.text, bad.advice) == ("no", "it cannot be loaded", "update or remove other 2.0")


def test_triton_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_triton(name: str, *rest: Any) -> Any:
        if name == "triton":
            raise ModuleNotFoundError(name=name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_triton)
    for name in ("triton", "sm_80"):
        (finding,) = trials.TRIALS[name].findings()
        assert (finding.status, finding.text) == ("not here", "Triton is not installed")


def test_a_kernel_that_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    wrong = SimpleNamespace(
        causal_attention=lambda q, k, v, lengths, precision: q,
        causal_attention_reference=lambda q, k, v, lengths: q + 1,
    )
    for name in ("attnrec.kernels", "attnrec.kernels.causal_attention"):
        monkeypatch.setitem(sys.modules, name, wrong)
    (finding,) = compilers.kernels("what works")
    assert (finding.status, finding.text) == ("no", "the kernel's result is wrong: off by 1")


def test_torch_compile_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda function: 1 / 0)
    (finding,) = compilers.torch_compile("what works")
    assert (finding.status, finding.text) == ("no", "ZeroDivisionError: division by zero")
    assert "C++ compiler" in finding.advice


@pytest.mark.parametrize(
    ("built", "present", "hidden", "status", "text"),
    [
        (None, False, "", "not here", "none, and this torch is built without CUDA"),
        (None, True, "", "no", "this torch is built without CUDA"),
        ("12.6", False, "-1", "not here", "hidden by CUDA_VISIBLE_DEVICES"),
        ("12.6", False, None, "not here", "none"),
        ("12.6", True, None, "no", "RuntimeError: the driver is too old"),
    ],
)
def test_why_there_is_no_gpu(
    monkeypatch: pytest.MonkeyPatch, built: str | None, present: bool, hidden: str | None, status: str, text: str
) -> None:
    def init() -> None:
        raise RuntimeError("the driver is too old")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "init", init)
    monkeypatch.setattr(torch.version, "cuda", built)
    monkeypatch.setattr(gpus, "_nvidia_is_here", lambda: present)
    if hidden is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    (finding,) = gpus.found("machine")
    assert (finding.status, finding.text) == (status, text)
    assert bool(finding.advice) == (status == "no")


def test_a_gpu_whose_attention_lacks_a_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    def attention(backend: str) -> str:
        if backend == "CUDNN_ATTENTION":
            raise RuntimeError("No available kernel. Aborting execution.")
        return "fine"

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gpus, "_product", lambda: "fine")
    monkeypatch.setattr(gpus, "autocast", lambda kind: "fine")
    monkeypatch.setattr(gpus, "_attention", attention)
    statuses = {name: finding.status for name, finding in found("cuda").items()}
    assert statuses == {
        "CUDA": "ok",
        "bf16 on the GPU": "ok",
        "attention by flash": "ok",
        "attention by efficient": "ok",
        "attention by cudnn": "no",
    }


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_a_gpu_that_works() -> None:
    assert found("torch")["GPU 0"].status == "ok"
    assert {finding.status for finding in found("cuda").values()} == {"ok"}


def test_the_probe_is_compiled_without_a_gpu() -> None:
    pytest.importorskip("triton")
    with Process(["sm_80"], 120, TRITON_INTERPRET="0") as process:
        (finding,) = process.findings()
    assert finding.status == "ok", finding
    assert "machine code" in finding.text
