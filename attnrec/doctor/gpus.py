"""GPUs, and what torch can do on them: matrix products, bf16, the kernels of `scaled_dot_product_attention`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from attnrec.doctor.findings import Finding, NotHereError, NotRightError, tried
from attnrec.doctor.machine import GB

_BACKENDS = {"flash": "FLASH_ATTENTION", "efficient": "EFFICIENT_ATTENTION", "cudnn": "CUDNN_ATTENTION"}
_CUDA_BUILD = "install a build of torch for CUDA (pytorch.org says how)"


def found(group: str) -> Iterator[Finding]:
    """Each GPU that torch sees, or why it sees none."""
    import torch

    if not torch.cuda.is_available():
        yield tried(group, "GPU", _why_none, advice=_advice())
        return
    for number in range(torch.cuda.device_count()):
        yield tried(group, f"GPU {number}", partial(_described, number))


def trials(group: str) -> Iterator[Finding]:
    """A matrix product, bf16 and each attention kernel on the current GPU."""
    import torch

    if not torch.cuda.is_available():
        yield Finding(group, "CUDA", "not here", "torch sees no GPU")
        return
    advice = "update NVIDIA's driver, or install a version of torch that supports this GPU"
    yield tried(group, "CUDA", _product, advice=advice)
    yield tried(group, "bf16 on the GPU", partial(autocast, "cuda"), advice="use `precision='fp32'` or 'tf32'")
    for name, backend in _BACKENDS.items():
        yield tried(group, f"attention by {name}", partial(_attention, backend))


def autocast(kind: str) -> str:
    """A linear layer under bf16 autocast on a device of that kind, as ``precision='bf16'`` trains.

    Raises:
        NotRightError: its output is not bf16, or wrong.
    """
    import torch

    layer, x = torch.nn.Linear(64, 64).to(kind), torch.randn(64, 64, device=kind)
    with torch.autocast(kind, torch.bfloat16):
        y = layer(x)
    y.float().sum().backward()
    if y.dtype != torch.bfloat16:
        raise NotRightError(f"autocast gave {y.dtype}")
    # bf16 keeps 8 bits: values around 1 are off by 0.004, wrong ones by about 1
    _compare(y.float(), layer(x), 0.1)
    return "autocast, forward and backward"


def _why_none() -> str:
    """Raise the reason why torch sees no GPU; `NotHereError` if there just is none."""
    import torch

    present = _nvidia_is_here()
    if torch.version.cuda is None:
        if present:
            raise NotRightError("this torch is built without CUDA")
        raise NotHereError("none, and this torch is built without CUDA")
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        raise NotHereError("hidden by CUDA_VISIBLE_DEVICES")
    if present:
        torch.cuda.init()  # its error says what is wrong
    raise NotHereError("none")


def _nvidia_is_here() -> bool:
    return Path("/dev/nvidia0").exists() or shutil.which("nvidia-smi") is not None


def _advice() -> str:
    import torch

    return _CUDA_BUILD if torch.version.cuda is None else "check NVIDIA's driver with nvidia-smi"


def _described(number: int) -> str:
    import torch

    free, total = torch.cuda.mem_get_info(number)
    major, minor = torch.cuda.get_device_capability(number)
    name = torch.cuda.get_device_name(number)
    return f"{name}, {free / GB:.1f} of {total / GB:.1f} GB free, compute capability {major}.{minor}"


def _product() -> str:
    import torch

    x = torch.randn(64, 64)
    # float32 sums of 64 products, or tf32 if the user has enabled it
    _compare((x.cuda() @ x.cuda()).cpu(), x @ x, 0.1)
    return f"a matrix product on {torch.cuda.get_device_name()}"


def _attention(backend: str) -> str:
    """One kernel of `scaled_dot_product_attention`, causal and in bf16, against the plain computation in float32."""
    import torch
    import torch.nn.functional as F
    from torch.nn.attention import SDPBackend, sdpa_kernel

    q = torch.randn(2, 2, 64, 32, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    with sdpa_kernel(getattr(SDPBackend, backend)):
        y = F.scaled_dot_product_attention(q, q, q, is_causal=True)
        y.sum().backward()
    with sdpa_kernel(SDPBackend.MATH):
        x = q.detach().float()
        _compare(y.float(), F.scaled_dot_product_attention(x, x, x, is_causal=True), 0.1)
    return "bf16, forward and backward"


def _compare(given: Any, wanted: Any, most: float) -> None:
    off = (given - wanted).abs().max().item()
    if not off <= most:
        raise NotRightError(f"the result is wrong: off by {off:.2g}")
