"""``python -m attnrec`` is the command `attnrec`."""

from attnrec.cli.main import main

if __name__ == "__main__":
    main()
