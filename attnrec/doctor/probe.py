"""A minimal kernel, to see whether Triton's compiler works; needs only triton."""

import triton
import triton.language as tl


@triton.jit
def doubled_kernel(x_ptr, count, BLOCK: tl.constexpr):
    """Doubles [count] values in place."""
    places = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = places < count
    tl.store(x_ptr + places, 2 * tl.load(x_ptr + places, mask=inside), mask=inside)
