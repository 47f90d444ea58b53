"""Send a command to a running analysis.

Write a note into its file, switch recording off and on, go on in the next file, keep all frames around this
moment, or end the run.
"""

import argparse
from typing import TYPE_CHECKING

from pipeline.cli.options import add_client_keys, seconds
from pipeline.cli.output import print_json
from streamer.errors import RunError, UsageError

if TYPE_CHECKING:
    from streamer.control import Request

HELP = "note, recording on and off, next file, keep, stop: commands to a running analysis"

_ACTIONS = ("note", "record", "pause", "next-file", "keep", "stop", "status")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    parser.add_argument("address", metavar="tcp://HOST:PORT", help="as the run has printed it")
    parser.add_argument(
        "action", metavar="ACTION",
        help="note TEXT: write it into the file; record, pause: recording on, off; next-file;"
        " keep: all frames around now; stop; status",
    )  # fmt: skip
    parser.add_argument("text", nargs="*", metavar="TEXT", help="of a note")
    parser.add_argument("--age-s", type=float, metavar="S", help="how long ago what is noted was")
    parser.add_argument(
        "--timeout-s", type=seconds, default=5.0, metavar="S", help="wait so long for an answer"
    )
    add_client_keys(parser)


def run(args: argparse.Namespace) -> int:
    """Ask, and print the answer."""
    import msgspec

    from streamer.control_client import ask
    from streamer.curve import client_keys

    request = _request(args)
    keys = client_keys(args.key or "", args.server_key or "")
    reply = ask(args.address, request, args.timeout_s, keys)
    if not reply.ok:
        raise RunError(f"the run has refused: {reply.error}")
    if args.json:
        print_json({"verb": args.verb, **msgspec.to_builtins(reply)})
    else:
        state = "recording to" if reply.recording else "not recording;"
        frame = f", frame {reply.frame_id}" if reply.frame_id >= 0 else ""
        print(f"{args.action}: done{frame}" + (f"; {state} {reply.path}" if reply.path else ""))
    return 0


def _request(args: argparse.Namespace) -> "Request":
    from streamer.control import Keep, NextFile, Note, Query, Record, Stop, decode_request, encode
    from streamer.errors import MessageError

    simple: dict[str, Request] = {
        "record": Record(True), "pause": Record(False), "next-file": NextFile(), "keep": Keep(),
        "stop": Stop(), "status": Query(),
    }  # fmt: skip
    if args.action != "note" and args.age_s is not None:
        raise UsageError(f"--age-s is for a note: leave it out of {args.action}")
    if args.action in simple and not args.text:
        return simple[args.action]
    if args.action != "note" or not args.text:
        what = " ".join([args.action, *args.text])
        raise UsageError(f"{what!r}: expected note TEXT, or one of {', '.join(_ACTIONS[1:])}")
    try:
        return decode_request(encode(Note(" ".join(args.text), args.age_s or 0.0)))
    except MessageError as error:
        raise UsageError(str(error)) from error
