"""What the kernels share: Triton functions, tile sizes, checks of arguments, and launching."""
