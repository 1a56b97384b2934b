"""What the kernels share: parts in Triton's language, tile sizes, checks of arguments and how kernels are launched."""
