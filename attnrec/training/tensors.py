"""Named tensors and plain values as the bytes of one safetensors file, and back, without pickle."""

from __future__ import annotations

import json
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

_VALUES = "values"  # name of the tensor that holds the plain values, as bytes of JSON


def to_bytes(tensors: dict[str, Tensor], values: dict[str, Any] | None = None) -> bytes:
    """Pack ``tensors`` on any device, and ``values`` for JSON; ValueError for anything that cannot be packed."""
    on_host: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise ValueError(f"{name} is a {type(tensor).__name__}, not a tensor")
        own = tensor.detach().cpu().contiguous()
        if own.untyped_storage().data_ptr() in seen:
            own = own.clone()  # the format does not allow two names to share memory
        seen.add(own.untyped_storage().data_ptr())
        on_host[name] = own
    if values is not None:
        on_host[_VALUES] = torch.frombuffer(bytearray(json.dumps(values).encode()), dtype=torch.uint8)
    return save(on_host)


def from_bytes(content: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Unpack tensors, on the CPU, and values; ValueError if the content is not such a file."""
    try:
        tensors = load(content)
        values = json.loads(tensors.pop(_VALUES).numpy().tobytes()) if _VALUES in tensors else {}
    except (SafetensorError, RecursionError) as error:
        raise ValueError(str(error)) from error
    if not isinstance(values, dict):
        raise ValueError("its values are not a JSON object")
    return tensors, values
