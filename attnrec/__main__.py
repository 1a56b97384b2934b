"""The command `attnrec`, which is also ``python -m attnrec``."""

import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    # `python -m` puts the current folder first, and a statistics.py there would be taken for Python's
    del sys.path[0]

import signal


def main() -> None:
    """Run the command line; Ctrl-C ends the program without a traceback from the beginning on."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # nothing is there yet that could say a word
    from attnrec.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
