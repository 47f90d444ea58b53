"""``python -m gui ADDRESS``: the window alone."""

import argparse
import sys

from gui.app import run
from streamer.errors import UsageError


def main() -> int:
    """Read the command line and show the window."""
    parser = argparse.ArgumentParser(prog="python -m gui", description=__doc__)
    parser.add_argument("address", help="tcp://HOST:PORT of a running analysis, or a result file")
    try:
        return run(parser.parse_args().address)
    except UsageError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
