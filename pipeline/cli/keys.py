"""Make a key pair for encrypted connections: NAME.key_secret stays on this machine, NAME.key is given away.

Whoever connects needs the public key of what it connects to; whatever is connected to needs those of all who
may (docs/remote.md).
"""

import argparse
from pathlib import Path

from pipeline.cli.output import print_json, say

HELP = "key pairs for encrypted connections"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    parser.add_argument("name", type=Path, metavar="NAME", help="of the files, a folder before it if need be")


def run(args: argparse.Namespace) -> int:
    """Make the two files."""
    from streamer.keys import load_public, make_key_files

    secret, public = make_key_files(args.name)
    say(f"{secret} is this machine's own: it never leaves it")
    say(f"{public} is for the others: give it to those who connect, or are connected to")
    print(load_public(public).decode())
    if args.json:
        print_json({"verb": args.verb, "ok": True, "secret": str(secret), "public": str(public)})
    return 0
