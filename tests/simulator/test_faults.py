"""Each fault does to the messages what its name says, to the frames it says, and nothing to the others."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cli.options import FRAME_FAULTS, SERIES_FAULTS
from simulator.faults import NO_FAULTS, FaultKind, FaultPlan, Injected, Outgoing, inject, parse_faults
from streamer.compression import decode
from streamer.errors import MessageError, PayloadError, TruncatedMessageError, UsageError
from streamer.records import Compression, Frame, SeriesEnd, SeriesStart, StreamMessage
from streamer.sources import ZMQ_SCHEMES, Scheme, Source, make_encoder, make_parser
from tests.streamer.frames import KEY, make_frame, make_image

IMAGE = make_image((40, 30))
FRAMES = [make_frame(IMAGE, frame_id=n, t=float(n)) for n in range(5)]
SERIES: list[StreamMessage] = [SeriesStart(KEY, 5, IMAGE.shape, IMAGE.dtype), *FRAMES, SeriesEnd(KEY)]
SCHEMES = ZMQ_SCHEMES


def send(
    plan: FaultPlan, scheme: Scheme = Scheme.DECTRIS2, series: list[StreamMessage] = SERIES
) -> list[Outgoing]:
    return list(inject(series, make_encoder(scheme, 0.0).encode, plan, []))


def receive(outgoing: list[Outgoing], scheme: Scheme = Scheme.DECTRIS2) -> list[StreamMessage | MessageError]:
    parser = make_parser(Source(scheme, "127.0.0.1", 1))
    received: list[StreamMessage | MessageError] = []
    for message in outgoing:
        try:
            parsed = parser.parse([memoryview(part) for part in message.parts])
        except MessageError as error:
            received.append(error)
        else:
            assert parsed is not None
            received.append(parsed)
    return received


def ids(received: list[StreamMessage | MessageError]) -> list[object]:
    """Return the frames' ids, and the types of all that is no frame."""
    return [m.header.frame_id if isinstance(m, Frame) else type(m) for m in received]


def at(kind: FaultKind, *frames: int) -> FaultPlan:
    return FaultPlan(frames={kind: frozenset(frames)})


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        (NO_FAULTS, [SeriesStart, 0, 1, 2, 3, 4, SeriesEnd]),
        (at(FaultKind.DROP, 1, 4), [SeriesStart, 0, 2, 3, SeriesEnd]),
        (at(FaultKind.DUPLICATE, 1), [SeriesStart, 0, 1, 1, 2, 3, 4, SeriesEnd]),
        (at(FaultKind.REORDER, 1), [SeriesStart, 0, 2, 1, 3, 4, SeriesEnd]),
        (at(FaultKind.REORDER, 1, 2), [SeriesStart, 0, 3, 1, 2, 4, SeriesEnd]),
        (at(FaultKind.REORDER, 4), [SeriesStart, 0, 1, 2, 3, 4, SeriesEnd]),
        (at(FaultKind.DELAY, 0), [SeriesStart, 1, 2, 3, 4, 0, SeriesEnd]),
        (replace(at(FaultKind.DELAY, 0), delay_frames=2), [SeriesStart, 1, 2, 0, 3, 4, SeriesEnd]),
        (replace(at(FaultKind.DELAY, 0, 1), delay_frames=2), [SeriesStart, 2, 0, 3, 1, 4, SeriesEnd]),
        (at(FaultKind.BURST, 1), [SeriesStart, 0, 1, 2, 3, 4, SeriesEnd]),
        (at(FaultKind.DISCONNECT, 1), [SeriesStart, 0, 1, 2, 3, 4, SeriesEnd]),
        (at(FaultKind.TWIN, 3), [SeriesStart, 0, 1, 2, SeriesStart, 0, 3, 1, 4, SeriesEnd, SeriesEnd]),
        (at(FaultKind.TRUNCATE, 1), [SeriesStart, 0, TruncatedMessageError, 2, 3, 4, SeriesEnd]),
        (at(FaultKind.SIZE, 1), [SeriesStart, 0, PayloadError, 2, 3, 4, SeriesEnd]),
        (at(FaultKind.SHAPE, 1), [SeriesStart, 0, 1, 2, 3, 4, SeriesEnd]),
        (at(FaultKind.STRAY, 1), [SeriesStart, 0, 1, 1, 2, 3, 4, SeriesEnd]),
        (FaultPlan(series=frozenset({FaultKind.NO_START})), [0, 1, 2, 3, 4, SeriesEnd]),
        (FaultPlan(series=frozenset({FaultKind.NO_END})), [SeriesStart, 0, 1, 2, 3, 4]),
    ],
)
def test_what_arrives(plan: FaultPlan, expected: list[object], scheme: Scheme) -> None:
    assert ids(receive(send(plan, scheme), scheme)) == expected


@pytest.mark.parametrize("scheme", SCHEMES)
def test_garbage_comes_before_the_frame(scheme: Scheme) -> None:
    received = receive(send(at(FaultKind.GARBAGE, 2), scheme), scheme)
    assert isinstance(received[3], MessageError)
    assert ids(received[:3] + received[4:]) == [SeriesStart, 0, 1, 2, 3, 4, SeriesEnd]


def test_a_stray_frame_belongs_to_another_series() -> None:
    stray, own = receive(send(at(FaultKind.STRAY, 2)))[3:5]
    assert isinstance(stray, Frame)
    assert isinstance(own, Frame)
    assert (own.header.key, own.header.frame_id) == (KEY, 2)
    assert stray.header.key.series_id != KEY.series_id
    assert stray.header.key.unique_id != KEY.unique_id


@pytest.mark.parametrize("kind", [FaultKind.SHAPE, FaultKind.DTYPE])
@pytest.mark.parametrize("compression", list(Compression))
def test_another_geometry_is_sound_in_itself(kind: FaultKind, compression: Compression) -> None:
    frame = receive(send(at(kind, 0), series=[make_frame(IMAGE, compression)]))[0]
    assert isinstance(frame, Frame)
    expected = ((20, 30), np.dtype("<u2")) if kind is FaultKind.SHAPE else ((40, 30), np.dtype("u1"))
    assert (frame.header.shape, frame.header.dtype) == expected
    assert not decode(frame).any()


@pytest.mark.parametrize("compression", [Compression.BSLZ4, Compression.LZ4])
def test_a_corrupt_payload_passes_the_parser_and_fails_to_decode(compression: Compression) -> None:
    frame = receive(send(at(FaultKind.CORRUPT, 0), series=[make_frame(IMAGE, compression)]))[0]
    assert isinstance(frame, Frame)
    with pytest.raises(PayloadError):
        decode(frame)


@pytest.mark.parametrize("kind", [FaultKind.CORRUPT, FaultKind.SIZE])
def test_uncompressed_pixels_can_only_have_the_wrong_length(kind: FaultKind) -> None:
    (error,) = receive(send(at(kind, 0), series=[make_frame(IMAGE, Compression.NONE)]))
    assert isinstance(error, PayloadError)


def test_a_stall_delays_its_frame_alone() -> None:
    outgoing = send(replace(at(FaultKind.STALL, 2), stall_s=1.5))
    assert [(m.frame_id, m.delay_s) for m in outgoing if m.delay_s] == [(2, 1.5)]


def test_a_burst_comes_all_at_once() -> None:
    plan = replace(at(FaultKind.BURST, 1), burst_frames=3)
    taken: list[int] = []

    def counted() -> Iterator[StreamMessage]:
        for n, message in enumerate(SERIES):
            taken.append(n)
            yield message

    sent = [
        (m.frame_id, len(taken))
        for m in inject(counted(), make_encoder(Scheme.DECTRIS2, 0.0).encode, plan, [])
    ]
    assert sent[1:6] == [(0, 2), (1, 5), (2, 5), (3, 5), (4, 6)], "frames 1 and 2 wait for frame 3"


def test_what_was_injected_is_told() -> None:
    injected: list[Injected] = []
    plan = parse_faults("drop@1+3,truncate@2,no-end")
    list(inject(SERIES, make_encoder(Scheme.DECTRIS2, 0.0).encode, plan, injected))
    assert injected == [
        Injected(FaultKind.DROP, 1),
        Injected(FaultKind.TRUNCATE, 2),
        Injected(FaultKind.DROP, 3),
        Injected(FaultKind.NO_END, None),
    ]


def test_rates_are_kept_and_repeatable() -> None:
    plan = parse_faults("drop=0.1,duplicate=0.2", seed=3)
    hits = [plan.hit(n) for n in range(10_000)]
    counts = Counter(hits)
    assert 900 < counts[FaultKind.DROP] < 1100
    assert 1650 < counts[FaultKind.DUPLICATE] < 1950  # a dropped frame is not sent twice
    assert hits == [parse_faults("duplicate=0.2,drop=0.1", seed=3).hit(n) for n in range(10_000)]
    assert hits != [parse_faults("drop=0.1,duplicate=0.2", seed=4).hit(n) for n in range(10_000)]


def test_the_text_of_a_plan() -> None:
    plan = parse_faults(" drop=0.01, truncate@3+8,no-start,no-end ,", seed=5)
    assert plan.rates == {FaultKind.DROP: 0.01}
    assert plan.frames == {FaultKind.TRUNCATE: frozenset({3, 8})}
    assert plan.series == {FaultKind.NO_START, FaultKind.NO_END}
    assert plan.seed == 5
    assert parse_faults("") == NO_FAULTS


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("lose=0.1", "unknown fault 'lose': expected one of drop, duplicate"),
        ("drop", "fault 'drop': expected drop=PROBABILITY or drop@FRAME"),
        ("drop=2", "'drop=2': expected a probability from 0 to 1"),
        ("drop=nan", "expected a probability"),
        ("drop=much", "expected a probability"),
        ("drop@", "expected frame ids"),
        ("drop@-1", "expected frame ids"),
        ("no-end=1", "fault 'no-end=1': expected no-end alone"),
    ],
)
def test_a_wrong_text_is_explained(text: str, error: str) -> None:
    with pytest.raises(UsageError, match=error):
        parse_faults(text)


@given(st.integers(0, 2**32), st.floats(0, 1))
def test_every_frame_that_is_not_hit_arrives_whole(seed: int, rate: float) -> None:
    kinds = [kind for kind in FaultKind if kind not in (FaultKind.NO_START, FaultKind.NO_END)]
    plan = FaultPlan(rates=dict.fromkeys(kinds, rate / 10), seed=seed)
    received = receive(send(plan))
    for frame in FRAMES:
        if plan.hit(frame.header.frame_id) is None:
            assert received.count(frame) == 1


def test_the_help_names_every_fault() -> None:
    named = re.findall(r"[a-z-]+", f"{FRAME_FAULTS}, {SERIES_FAULTS}")
    assert sorted(set(named) - {"or"}) == sorted(FaultKind)
