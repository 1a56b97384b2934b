"""Vanilla causal attention in the ways that torch offers, for comparison in benchmarks; they cannot be trained.

| name | what it is | layout |
|---|---|---|
| `torch:mask` | `scaled_dot_product_attention` with a boolean mask [B, 1, T, T] | padded |
| `torch:math`, `flash`, `efficient`, `cudnn` | the same with is_causal=True, only by that kernel of torch | padded |
| `torch:flex` | FlexAttention, compiled, with a block mask that leaves padding out | padded |
| `torch:nested` | `scaled_dot_product_attention` on jagged nested tensors | packed |
| `torch:varlen` | `torch.nn.attention.varlen`, FlashAttention for different lengths (torch 2.10) | packed |

Padded: one rectangle [B, H, T, D] with every history at the left end, where real items need no mask but the causal one.
A benchmark converts inputs to the competitor's own layout before it measures, as its users would already have them.
"""

from __future__ import annotations

import inspect
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from attnrec.attention.packing import Packing, make_packing, pack, pad
from attnrec.core.errors import InputError, nearest

PREFIX = "torch:"


class Competitor(ABC):
    """One way of computing softmax(causal(q k^T / sqrt(D))) v for one batch.

    Args:
        packing: the layout of the batch.
    """

    setup_seconds: float | None = None
    """How long it took to prepare for this batch; None if there was nothing to prepare."""

    def __init__(self, packing: Packing) -> None:
        self.lengths = torch.cat([group.ctx.lengths for group in packing.groups])

    @abstractmethod
    def arrange(self, x: Tensor) -> Tensor:
        """Packed rows [N, H, D] in the competitor's own layout."""

    @abstractmethod
    def mix(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """The output in that layout, from inputs in that layout; only this is measured."""

    @abstractmethod
    def restore(self, out: Tensor) -> Tensor:
        """The inverse of `arrange`."""

    def forward_packed(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Packed rows [N, H, D] to packed rows [N, H, D], like an operator."""
        return self.restore(self.mix(*(self.arrange(x) for x in (q, k, v))))


class _Padded(Competitor):
    """Takes one rectangle [B, H, T, D], histories at the left end."""

    def __init__(self, packing: Packing) -> None:
        super().__init__(packing)
        lengths = self.lengths.cpu().numpy()
        (self.group,) = make_packing(lengths, int(lengths.max()), device=self.lengths.device).groups

    def arrange(self, x: Tensor) -> Tensor:
        return pad(x, self.group, start=True)

    def restore(self, out: Tensor) -> Tensor:
        return pack(out, self.group, start=True)


class MaskedAttention(_Padded):
    """Attention with a mask; torch chooses one of the kernels that take one."""

    def __init__(self, packing: Packing) -> None:
        super().__init__(packing)
        slots = torch.arange(self.group.ctx.width, device=self.lengths.device)
        self.mask = (slots <= slots[:, None]) & (slots < self.lengths[:, None, None, None])

    def mix(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=self.mask)


class CausalAttention(_Padded):
    """Attention by one of torch's kernels only."""

    def __init__(self, packing: Packing, backend: SDPBackend) -> None:
        super().__init__(packing)
        self.backend = backend

    def mix(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        with sdpa_kernel(self.backend):
            try:
                return F.scaled_dot_product_attention(q, k, v, is_causal=True)
            except RuntimeError as error:
                if "vailable kernel" not in str(error) and "viable backend" not in str(error):
                    raise
                kind, dtype = self.backend.name.lower().replace("_", " "), str(q.dtype).removeprefix("torch.")
                message = f"torch has no {kind} kernel for this in {dtype} on {q.device.type}"
                raise InputError(message) from error


class FlexAttention(_Padded):
    """FlexAttention; it skips blocks of queries or keys that are all padding."""

    def __init__(self, packing: Packing) -> None:
        from torch.nn.attention.flex_attention import create_block_mask, flex_attention

        super().__init__(packing)
        lengths = self.lengths

        def visible(b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
            return (j <= i) & (i < lengths[b])

        width = self.group.ctx.width
        began = time.perf_counter()
        block_mask = create_block_mask(visible, len(lengths), None, width, width, device=lengths.device.type)
        if lengths.is_cuda:
            torch.cuda.synchronize()
        self.setup_seconds = time.perf_counter() - began
        torch.compiler.reset()  # every batch has its own mask, and torch gives up after a few recompilations
        self.attend: Callable[..., Any] = partial(torch.compile(flex_attention, dynamic=False), block_mask=block_mask)

    def mix(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return self.attend(q, k, v)


class _Packed(Competitor):
    """Takes packed rows [N, H, D]."""

    def __init__(self, packing: Packing) -> None:
        super().__init__(packing)
        if not self.lengths.is_cuda:
            raise InputError("torch computes this only on an NVIDIA GPU")
        self.ends = F.pad(self.lengths.cumsum(0), (1, 0))
        self.shortest, self.longest = (int(extreme) for extreme in self.lengths.aminmax())

    def arrange(self, x: Tensor) -> Tensor:
        return x

    def restore(self, out: Tensor) -> Tensor:
        return out


class NestedAttention(_Packed):
    """Jagged nested tensors; torch chooses the kernel."""

    def mix(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out: Any = F.scaled_dot_product_attention(self._jagged(q), self._jagged(k), self._jagged(v), is_causal=True)
        return out.transpose(1, 2).values()

    def _jagged(self, x: Tensor) -> Tensor:
        """[N, H, D] to [B, H, jagged, D]; passing the extreme lengths saves torch a GPU sync."""
        nested = torch.nested.nested_tensor_from_jagged(x, self.ends, min_seqlen=self.shortest, max_seqlen=self.longest)
        return nested.transpose(1, 2)


class VarlenAttention(_Packed):
    """torch's FlashAttention for packed rows."""

    def __init__(self, packing: Packing) -> None:
        super().__init__(packing)
        try:
            from torch.nn.attention.varlen import varlen_attn
        except ImportError:
            raise InputError(f"torch {torch.__version__} has no torch.nn.attention.varlen (since 2.10)") from None
        # torch 2.10 asks for is_causal, later versions for a window
        windowed = "window_size" in inspect.signature(varlen_attn).parameters
        causal: dict[str, Any] = {"window_size": (-1, 0)} if windowed else {"is_causal": True}
        ends = self.ends.to(torch.int32)
        self.attend: Callable[..., Any] = partial(
            varlen_attn, cu_seq_q=ends, cu_seq_k=ends, max_q=self.longest, max_k=self.longest, **causal
        )

    def mix(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return self.attend(q, k, v)


COMPETITORS: dict[str, Callable[[Packing], Competitor]] = {
    "torch:mask": MaskedAttention,
    "torch:math": partial(CausalAttention, backend=SDPBackend.MATH),
    "torch:flash": partial(CausalAttention, backend=SDPBackend.FLASH_ATTENTION),
    "torch:efficient": partial(CausalAttention, backend=SDPBackend.EFFICIENT_ATTENTION),
    "torch:cudnn": partial(CausalAttention, backend=SDPBackend.CUDNN_ATTENTION),
    "torch:flex": FlexAttention,
    "torch:nested": NestedAttention,
    "torch:varlen": VarlenAttention,
}


def is_competitor(name: str) -> bool:
    """Whether ``name`` asks for a competitor; InputError with the nearest names if there is no such competitor."""
    if not name.startswith(PREFIX):
        return False
    if name not in COMPETITORS:
        raise InputError(f"unknown competitor {name!r}{nearest(name, list(COMPETITORS))}")
    return True
