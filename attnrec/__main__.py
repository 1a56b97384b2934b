"""``python -m attnrec`` is the command `attnrec`."""

import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    del sys.path[
        0
    ]  # the current folder, which `python -m` puts first: a statistics.py there would be taken for Python's

from attnrec.cli.main import main

if __name__ == "__main__":
    main()
