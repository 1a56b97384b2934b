"""The command line, a file a command: parsing and printing only. Import it as ``attnrec.cli``."""

if __name__ != "attnrec.cli":
    raise ImportError("import this package as attnrec.cli")
