"""GPU kernels, which need torch and triton alone. Import it as ``attnrec.kernels``."""

if __name__ != "attnrec.kernels":
    raise ImportError("import this package as attnrec.kernels")
