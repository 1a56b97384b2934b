"""Compilers: whether Triton kernels run, whether Triton compiles for a GPU that is not here, and torch.compile."""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Iterator

from attnrec.doctor.findings import Finding, NotHereError, NotRightError, tried


def kernels(group: str) -> Iterator[Finding]:
    """The kernel of the variant `triton`: on the GPU, or in Triton's interpreter."""
    advice = "before Triton 3.7 the interpreter needs numpy<2.4; only triton and awr:impl=triton need any of this"
    yield tried(group, "Triton kernels", _kernel, advice=advice)


def without_gpu(group: str) -> Iterator[Finding]:
    """A kernel compiled to machine code for an A100."""
    yield tried(group, "compiling for sm_80", _machine_code, advice="reinstall triton; it includes the assembler")


def torch_compile(group: str) -> Iterator[Finding]:
    """A function compiled by torch."""
    yield tried(group, "torch.compile", _compiled, advice="it needs a C++ compiler such as g++; no training needs it")


def _kernel() -> str:
    import torch

    gpu = torch.cuda.is_available()
    if not gpu:
        os.environ["TRITON_INTERPRET"] = "1"  # read when triton is imported
    _need_triton()
    from attnrec.kernels.causal_attention import causal_attention, causal_attention_reference

    q, k, v = torch.randn(3, 2, 2, 16, 16, device="cuda" if gpu else "cpu").requires_grad_()
    lengths = torch.tensor([16, 5], device=q.device)
    given = causal_attention(q, k, v, lengths, precision="ieee")
    given.sum().backward()
    off = (given - causal_attention_reference(q, k, v, lengths)).abs().max().item()
    if not off < 1e-4:  # float32 sums of 16 values about 1
        raise NotRightError(f"the kernel's result is wrong: off by {off:.2g}")
    if gpu and os.environ.get("TRITON_INTERPRET") == "1":
        raise NotRightError("TRITON_INTERPRET=1 runs them in the interpreter although there is a GPU; unset it")
    return "forward and backward" if gpu else "in the interpreter, as there is no GPU; forward and backward"


def _machine_code() -> str:
    _need_triton()
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from attnrec.doctor.probe import doubled_kernel

    signature = {"x_ptr": "*fp32", "count": "i32", "BLOCK": "constexpr"}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TRITON_CACHE_DIR"] = folder  # an empty cache, so that it really compiles
        compiled = triton.compile(ASTSource(doubled_kernel, signature, {"BLOCK": 64}), target=GPUTarget("cuda", 80, 32))
    return f"{len(compiled.asm['cubin']):,} bytes of machine code"


def _compiled() -> str:
    import torch

    # a different function every time, so that it is not found in inductor's cache
    factor = random.SystemRandom().randrange(2, 10**6)
    x = torch.linspace(0, 1, 64, device="cuda" if torch.cuda.is_available() else "cpu")
    before = time.perf_counter()
    y = torch.compile(lambda x: x.sin() * factor)(x)
    torch.testing.assert_close(y, x.sin() * factor)
    return f"a small function in {time.perf_counter() - before:.1f} s"


def _need_triton() -> None:
    try:
        import triton  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name == "triton":
            advice = "only the variants triton and awr:impl=triton need it"
            raise NotHereError("Triton is not installed", advice) from error
        raise
