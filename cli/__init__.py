"""The command line, one file per command: only parsing and printing. Import it as ``attnrec.cli``."""

if __name__ != "attnrec.cli":
    raise ImportError("import this package as attnrec.cli")
