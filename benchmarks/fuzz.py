"""Mutated messages against every parser: no crash, no hang, no allocation above the limits.

A session gives one parser twenty messages of a sound stream, some of them damaged (`benchmarks.mutations`).
Whatever comes of one must be a record or a `MessageError`; a frame must decode or raise one. Everything in a
session follows from its target and number, so that a finding can be repeated:

    python -m benchmarks.fuzz --seconds 600 --write
    python -m benchmarks.fuzz --target merlin --session 1234
"""

import argparse
import faulthandler
import json
import random
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np

from benchmarks.common import describe_machine, write_results
from benchmarks.mutations import mutate, mutate_parts
from streamer.compression import decode, encode
from streamer.config import IngestConfig
from streamer.errors import MessageError
from streamer.merlin_connection import MpxReader
from streamer.records import Compression, Frame, FrameHeader, SeriesEnd, SeriesKey, SeriesStart, StreamMessage
from streamer.sources import ZMQ_SCHEMES, Parser, Scheme, Source, make_encoder, make_parser
from tests.streamer.merlin_server import acquisition, frame

TARGETS = (*ZMQ_SCHEMES, Scheme.MERLIN)
LIMIT_BYTES = 1 << 16
MOST_ALLOCATED_BYTES = 32 * LIMIT_BYTES  # a message decoded into Python objects takes several times its size
MOST_CPU_S = 5.0  # of a session, which takes some milliseconds; of this thread, so not of a busy machine
HANG_S = 100.0  # of a session; then the stack is shown and the program ends
WATCH_S = 5.0  # how often the watch is set anew
N_MESSAGES = 20
DAMAGED_SHARE = 0.6
KEY = SeriesKey(1, "fuzz")
SHAPE = (24, 40)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that must not happen."""

    target: str
    session: int
    what: str


def run(
    target: Scheme, sessions: Iterator[int], seconds: float = float("inf")
) -> tuple[Counter[str], list[Finding]]:
    """Run sessions until there are no more, or the time is up; return what came of how many messages.

    Parameters
    ----------
    target : Scheme
    sessions : iterator of int
    seconds : float
        Wall-clock time [s].
    """
    outcomes: Counter[str] = Counter()
    findings: list[Finding] = []
    now = watched = time.monotonic()
    deadline = now + seconds
    faulthandler.dump_traceback_later(HANG_S, exit=True)
    tracemalloc.start()
    try:
        for session in sessions:
            if now - watched > WATCH_S:
                faulthandler.dump_traceback_later(HANG_S, exit=True)
                watched = now
            try:
                outcomes.update(_session(target, session))
            except Exception as error:
                findings.append(Finding(target, session, f"{type(error).__name__}: {error}"))
            now = time.monotonic()
            if now > deadline:
                break
    finally:
        faulthandler.cancel_dump_traceback_later()
        tracemalloc.stop()
    return outcomes, findings


def _session(target: Scheme, number: int) -> list[str]:
    rng = random.Random(f"{target} {number}")
    limits = IngestConfig(message_limit_bytes=LIMIT_BYTES, frame_limit_bytes=LIMIT_BYTES)
    parser = make_parser(Source(target, "127.0.0.1", 1), limits=limits)
    stream = _merlin_stream(rng) if target is Scheme.MERLIN else _damaged_messages(target, rng)
    started = time.thread_time()
    outcomes = [outcome for parts in stream for outcome in _feed(parser, parts)]
    cpu_s = time.thread_time() - started
    if cpu_s > MOST_CPU_S:
        raise RuntimeError(f"{len(outcomes)} messages took {cpu_s:.1f} s")
    return outcomes


def _feed(parser: Parser, parts: Sequence[bytes | bytearray]) -> list[str]:
    """Let a parser take one message; raise if that takes too much of anything."""
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    outcomes = [_outcome(parser, each) for each in parser.split([memoryview(part) for part in parts])]
    peak = tracemalloc.get_traced_memory()[1] - before
    if peak > MOST_ALLOCATED_BYTES:
        raise RuntimeError(f"a message of {sum(map(len, parts))} bytes made it allocate {peak} bytes")
    return outcomes


def _outcome(parser: Parser, parts: Sequence[memoryview]) -> str:
    try:
        message = parser.parse(parts)
        if isinstance(message, Frame):
            image = decode(message)
            if image.shape != message.header.shape or image.dtype != message.header.dtype:
                raise RuntimeError(f"a frame of {message.header} decodes to {image.shape} of {image.dtype}")
    except MessageError as error:
        return error.label
    return type(message).__name__


def _damaged_messages(target: Scheme, rng: random.Random) -> Iterator[list[bytes]]:
    sound = _sound_messages(target)
    others = [part for parts in sound for part in parts]
    for _ in range(N_MESSAGES):
        parts = rng.choice(sound)
        yield mutate_parts(parts, others, rng) if rng.random() < DAMAGED_SHARE else parts


def _merlin_stream(rng: random.Random) -> Iterator[list[bytearray]]:
    """Cut a damaged TCP stream, which arrives in pieces, into messages."""
    sound = _merlin_messages()
    messages = [rng.choice(sound) for _ in range(N_MESSAGES)]
    damaged = [mutate(m, sound, rng) if rng.random() < DAMAGED_SHARE else m for m in messages]
    stream, at = b"".join(damaged), 0

    def read(view: memoryview) -> int:
        nonlocal at
        piece = stream[at : at + min(len(view), rng.choice((1, 100, 100_000)))]
        view[: len(piece)] = piece
        at += len(piece)
        return len(piece)

    reader = MpxReader(read, LIMIT_BYTES)
    while (message := reader.next_message()) is not None:
        yield [message]


def _sound_messages(target: Scheme, known: "dict[Scheme, list[list[bytes]]]" = {}) -> list[list[bytes]]:  # noqa: B006 - a cache
    if target not in known:
        assert target in ZMQ_SCHEMES
        encoder = make_encoder(target, 1.7e9)
        known[target] = [[bytes(part) for part in encoder.encode(message)] for message in _series()]
    return known[target]


def _series() -> Iterator[StreamMessage]:
    extra = {"description": "EIGER", "nested": {"a": [1, 2.5, None, True], "b": "text"}}
    yield SeriesStart(KEY, 9, SHAPE, np.dtype("<u2"), "threshold_1", 0.2, 0.01, 60_000, b"", extra)
    for dtype in ("u1", "<u2", "<u4"):
        image = np.random.default_rng(1).poisson(0.5, SHAPE).astype(dtype)
        for n, compression in enumerate(Compression):
            header = FrameHeader(KEY, n, SHAPE, image.dtype, compression, 1.7e9 + n)
            yield Frame(header, memoryview(encode(image, compression)))
    yield SeriesEnd(KEY)


def _merlin_messages() -> list[bytes]:
    images = [np.random.default_rng(1).poisson(5, SHAPE).astype(dtype) for dtype in ("u1", "<u2", "<u4")]
    return [acquisition(3), *(frame(image, number + 1) for number, image in enumerate(images))]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="for all targets together")
    parser.add_argument("--target", choices=TARGETS, help="only this parser")
    parser.add_argument("--first", type=int, default=0, help="number of the first session")
    parser.add_argument("--session", type=int, help="repeat this session alone")
    parser.add_argument("--write", action="store_true", help="keep the report in results/fuzz-….json")
    chosen = parser.parse_args(arguments)
    machine = describe_machine()
    targets = (Scheme(chosen.target),) if chosen.target else TARGETS
    report, ok = {}, True
    for target in targets:
        sessions = count(chosen.first) if chosen.session is None else iter([chosen.session])
        outcomes, findings = run(target, sessions, chosen.seconds / len(targets))
        ok = ok and not findings
        report[target.value] = {
            "messages": outcomes.total(),
            "outcomes": dict(outcomes.most_common()),
            "findings": len(findings),
        }
        for finding in findings[:20]:
            print(f"{finding.target}, session {finding.session}: {finding.what}", file=sys.stderr)
    results = {"ok": ok, "seconds": chosen.seconds, "targets": report}
    if chosen.write:
        print(write_results("fuzz", {"machine": machine, **results}), file=sys.stderr)
    print(json.dumps(results, indent=1))
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
