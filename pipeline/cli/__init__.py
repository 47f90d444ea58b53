"""The command line, ``atomstream VERB …``: one file a verb.

A verb's module is imported at every start, so it imports nothing heavy at its top; what it needs, it imports
when it runs. Simulator, window and training are imported by name (`pipeline.cli.parts`), since the packages
below must not know them.

Exit status: 0 if nothing was lost against the policy, 2 for bad usage, 1 otherwise. Expected errors are one
line on stderr. With ``--json`` the last line on stdout is one JSON object, also after an error.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import NoReturn

from pipeline.cli.output import print_json, say
from streamer.errors import AtomstreamError, UsageError

__all__ = ["entry_point", "main", "make_parser"]

VERBS = (
    "demo",
    "live",
    "record",
    "simulate",
    "replay",
    "check",
    "reprocess",
    "report",
    "gui",
    "analyse",
    "tell",
    "tee",
    "keys",
    "channels",
    "bench",
    "train",
    "evaluate",
    "export",
)
"""In the order of the help; each is a module here with ``HELP``, ``add_arguments`` and ``run``."""


def entry_point() -> NoReturn:
    """Run the command that the shell was given."""
    sys.exit(main(sys.argv[1:]))


def main(argv: Sequence[str]) -> int:
    """Run a command and return its exit status; `argv` is without the program's name."""
    try:
        args = make_parser().parse_args(argv)
        status = int(args.run(args))
        sys.stdout.flush()
        return status
    except SystemExit as end:  # --help and --version
        return int(end.code or 0)
    except UsageError as error:
        return _failed(str(error), 2, argv)
    except AtomstreamError as error:
        return _failed(str(error), 1, argv)
    except PermissionError as error:
        return _failed(f"no permission to use {error.filename or error}", 2, argv)
    except BrokenPipeError:  # whoever read our output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return _failed("interrupted", 1, argv)


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of the whole command line."""
    parser = _Parser(
        prog="atomstream",
        description="Live atom counting for in-situ transmission electron microscopy.",
        epilog="atomstream VERB --help tells more about each verb.",
    )
    parser.add_argument("--version", action="version", version=f"atomstream {_version()}")
    verbs = parser.add_subparsers(metavar="VERB", required=True, dest="verb")
    for name in VERBS:
        verb = import_module(f"pipeline.cli.{name}")
        subparser = verbs.add_parser(name, help=verb.HELP, description=verb.__doc__)
        verb.add_arguments(subparser)
        subparser.add_argument("--json", action="store_true", help="end with one line of JSON on stdout")
        subparser.set_defaults(run=verb.run)
    return parser


class _Parser(argparse.ArgumentParser):
    """Reports wrong options like every other error of the program, in one line."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help")


def _version() -> str:
    try:
        return version("atomstream")
    except PackageNotFoundError:
        return "(not installed)"


def _failed(message: str, status: int, argv: Sequence[str]) -> int:
    say(" ".join(message.split()))
    if "--json" in argv:
        print_json({"ok": False, "error": message})
    return status
