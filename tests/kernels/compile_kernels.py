"""Compiles kernel configurations for GPUs without one, and prints what each takes; run by `test_compile.py`.

python tests/kernels/compile_kernels.py          # one JSON object a line
"""

from __future__ import annotations

import importlib
import itertools
import json
import os
import re
import subprocess
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

ARCHITECTURES = (80, 90)
LENGTHS = (32, 64, 200)  # one of each class that `choose_tiles` tells apart
TYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}
KERNELS = {
    "causal_attention": ("forward", "dq", "dk_dv"),
    "awr_attention": ("first_pass", "first_pass_dq", "first_pass_dk_dv", "dw"),
}


def configurations() -> list[dict[str, Any]]:
    """Every choice of tiles for every width and type, with and without dropout; packed rows, the precisions of float32
    and the switches of the refinement where tiles are largest. Queries, values and refinement have one width."""
    import torch

    from attnrec.kernels.shared.tiles import WIDTHS, choose_tiles

    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    kernels = [(folder, kernel) for folder, names in KERNELS.items() for kernel in names]
    for (folder, kernel), length, width, dtype in itertools.product(kernels, LENGTHS, WIDTHS, TYPES):
        base: dict[str, Any] = {
            "folder": folder,
            "kernel": kernel,
            "width": width,
            "dtype": dtype,
            "padded": True,
            "dropout": False,
        }
        base |= {"precision": "ieee", "values": True, "normalize": True}
        variants = [base]
        if dtype != "fp16" or (length == LENGTHS[-1] and width == 64):
            variants.append(base | {"dropout": True})
        if length == LENGTHS[-1] and width == 64:
            variants.append(base | {"padded": False})
            if dtype == "fp32":
                variants += [base | {"precision": precision} for precision in ("tf32", "tf32x3")]
            if folder == "awr_attention" and kernel != "dw":
                variants += [base | {"values": False}, base | {"normalize": False}]
        for variant in variants:
            tiles = choose_tiles(kernel, length, width, getattr(torch, TYPES[dtype]), variant["precision"])
            variant |= asdict(tiles)
            found[tuple(variant.values())] = variant
    return [configuration | {"arch": arch} for configuration in found.values() for arch in ARCHITECTURES]


def compile_one(configuration: dict[str, Any]) -> dict[str, Any]:
    """Shared memory, registers and stack (where spills go) of one configuration."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    c = configuration
    module = importlib.import_module(f"attnrec.kernels.{c['folder']}.triton")
    kernel = getattr(module, f"{c['kernel']}_kernel")
    constants = _constants(c, kernel.arg_names)
    signature = {name: _type_of(name, c["dtype"], constants) for name in kernel.arg_names}
    aligned = {
        (place,): [["tt.divisibility", 16]]
        for place, name in enumerate(kernel.arg_names)
        if name.endswith(("_ptr", "_batch", "_head", "_row")) and not name.startswith("rows_")
    }
    compiled = triton.compile(
        ASTSource(kernel, signature, constants, aligned),
        target=GPUTarget("cuda", c["arch"], 32),
        options={"num_warps": c["num_warps"], "num_stages": c["num_stages"]},
    )
    return c | {"shared": compiled.metadata.shared} | resource_usage(compiled.asm["cubin"])


def _constants(c: dict[str, Any], arguments: list[str]) -> dict[str, Any]:
    """Compile-time arguments; a stride of 1 becomes one at a launch, too."""
    known = {
        "D": c["width"],
        "E": c["width"],
        "R": c["width"],
        "BLOCK_M": c["block_m"],
        "BLOCK_N": c["block_n"],
        "VALUES": c["values"],
        "NORMALIZE": c["normalize"],
        "PADDED": c["padded"],
        "DROPOUT": c["dropout"],
        "PRECISION": c["precision"],
        "UPCAST": False,
    }
    if c["padded"]:
        known["rows_row"] = 1
    return {name: value for name, value in known.items() if name in arguments}


def _type_of(name: str, dtype: str, constants: dict[str, Any]) -> str:
    if name in constants:
        return "constexpr"
    if name in ("starts_ptr", "lengths_ptr"):
        return "*i32"
    if name in ("lse_ptr", "delta_ptr", "rms_ptr", "along_ptr", "factor_ptr", "dw_ptr"):
        return "*fp32"
    if name.endswith("_ptr"):
        return f"*{dtype}"
    return "fp32" if name in ("scale", "rescale", "inverse_width") else "i32"


def resource_usage(cubin: bytes) -> dict[str, int]:
    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        shown = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+)", shown)
    assert found, shown
    return {"registers": int(found[1]), "stack": int(found[2])}


def main() -> None:
    with ProcessPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for result in pool.map(compile_one, configurations(), chunksize=4):
            print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
