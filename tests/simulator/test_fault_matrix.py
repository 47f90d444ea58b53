"""Every fault the simulator can inject, in every format, against a live recording.

What the ledger says afterwards is exactly what was injected: no frame is missing without a name, and no frame
that was left alone is lost.
"""

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 - registers the filters
import numpy as np
import pytest

from simulator.faults import FaultKind, FaultPlan, Injected
from simulator.sender import SenderSettings, SentCounts, send_stream
from streamer.check import check_file
from streamer.config import AnalysisConfig, IngestConfig, RecordConfig, RunConfig, SourceConfig
from streamer.records import Compression, FrameStatus
from streamer.sources import ZMQ_SCHEMES, Scheme
from tests.streamer.ingest_run import TIMEOUT_S, IngestRun, image_of

N = 12
HIT = (3, 8)
SCHEMES = ZMQ_SCHEMES
DAMAGED, MISSING, RECORDED = FrameStatus.DAMAGED, FrameStatus.MISSING, FrameStatus.RECORDED
SETTINGS = SenderSettings(rate_hz=200.0, n_planned=N)


@dataclass(frozen=True)
class Expected:
    """What a fault must leave behind.

    `named` gives the status and the beginning of the reason of every frame that is not plainly recorded;
    `undecoded` the frames that are recorded as they came and do not decode; `counters` what the run counted
    besides frames.
    """

    named: Mapping[int, tuple[FrameStatus, str]] = field(default_factory=dict)
    undecoded: tuple[int, ...] = ()
    counters: Mapping[str, int] = field(default_factory=dict)
    bad_messages: int = 0


def _each(status: FrameStatus, reason: str) -> dict[int, tuple[FrameStatus, str]]:
    return dict.fromkeys(HIT, (status, reason))


NOTHING = Expected()
MATRIX = {
    FaultKind.DROP: Expected(_each(MISSING, "")),
    FaultKind.DUPLICATE: Expected(counters={"duplicates": 2}),
    FaultKind.REORDER: Expected(_each(RECORDED, "came late")),
    FaultKind.DELAY: Expected(_each(RECORDED, "came late")),
    FaultKind.TRUNCATE: Expected(_each(DAMAGED, "truncated message"), bad_messages=2),
    FaultKind.CORRUPT: Expected(undecoded=HIT),
    FaultKind.SIZE: Expected(_each(DAMAGED, "damaged payload"), bad_messages=2),
    FaultKind.SHAPE: Expected(_each(DAMAGED, "wrong geometry"), bad_messages=2),
    FaultKind.DTYPE: Expected(_each(DAMAGED, "wrong geometry"), bad_messages=2),
    FaultKind.GARBAGE: Expected(bad_messages=2),
    FaultKind.STRAY: Expected(counters={"strays": 2}),
    FaultKind.STALL: NOTHING,
    FaultKind.BURST: NOTHING,
    FaultKind.DISCONNECT: NOTHING,
}
OF_THE_SERIES = {FaultKind.NO_START, FaultKind.NO_END, FaultKind.TWIN}


def plan_of(kind: FaultKind) -> FaultPlan:
    return FaultPlan(frames={kind: frozenset(HIT)}, stall_s=0.2, delay_frames=3, burst_frames=4)


def record(
    path: Path, settings: SenderSettings, images: Any = None, **limits: Any
) -> tuple[dict[str, Any], SentCounts]:
    """Let the simulator send a series, and ingest record it, until both have ended."""
    images = [image_of(i) for i in range(N)] if images is None else images
    with sending(settings, images) as (address, sent):
        config = RunConfig(
            source=SourceConfig(address=address),
            ingest=IngestConfig(**{"end_timeout_s": 0.5, **limits}),
            record=RecordConfig(path=str(path)),
            analysis=AnalysisConfig(enabled=False),
        )
        run = IngestRun(config)
        try:
            return run.finish(), sent.result(TIMEOUT_S)
        finally:
            run.control.request_stop()


@contextmanager
def sending(settings: SenderSettings, images: Any) -> Iterator[tuple[str, "Future[SentCounts]"]]:
    bound: Future[str] = Future()
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(send_stream, images, settings, stop.is_set, bound.set_result)
        try:
            endpoint = bound.result(TIMEOUT_S)
            yield f"{settings.scheme}://{endpoint.removeprefix('tcp://')}", sent
        finally:
            stop.set()


def named(path: Path) -> dict[int, tuple[FrameStatus, str]]:
    """Return what the ledger says of every frame that is not plainly recorded."""
    with h5py.File(path) as file:
        ledger = file["entry/ledger"]
        rows = zip(ledger["frame_id"][:], ledger["status"][:], ledger["reason"][:], strict=True)
        return {
            int(frame_id): (FrameStatus(status), reason.decode())
            for frame_id, status, reason in rows
            if status != RECORDED or reason
        }


def expect_pixels(path: Path, frame_ids: list[int], but: tuple[int, ...] = (), offset: int = 0) -> None:
    """The stack holds these frames, bit for bit."""
    with h5py.File(path) as file:
        stack = file["entry/stack"]
        stored = stack["indices_image"][:].tolist()
        assert sorted(stored) == frame_ids
        for row, frame_id in enumerate(stored):
            if frame_id not in but:
                np.testing.assert_array_equal(stack["intensity"][row], image_of(frame_id + offset))


def expect_nothing_else(path: Path, summary: Mapping[str, Any], expected: Expected) -> None:
    said = named(path)
    assert {i: (status, reason[: len(expected.named[i][1])]) for i, (status, reason) in said.items()} == dict(
        expected.named
    )
    lost = [i for i, (status, _) in expected.named.items() if status is not RECORDED]
    expect_pixels(path, [i for i in range(N) if i not in lost], expected.undecoded)
    counted = {name: summary[name] for name in ("duplicates", "strays", "unrecorded")}
    assert counted == {"duplicates": 0, "strays": 0, "unrecorded": 0, **expected.counters}
    assert sum(summary["bad_messages"].values()) == expected.bad_messages
    assert (summary["received"] + summary["missing"], summary["lost"]) == (N, len(lost))
    report = check_file(path)
    assert report.lost == len(lost) + len(expected.undecoded)
    assert [p.partition(":")[0] for p in report.problems] == [f"frame {i}" for i in expected.undecoded]


def test_the_matrix_is_complete() -> None:
    assert MATRIX.keys() | OF_THE_SERIES == set(FaultKind)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("kind", MATRIX)
def test_the_ledger_names_what_was_injected_and_nothing_else(
    kind: FaultKind, scheme: Scheme, tmp_path: Path
) -> None:
    path = tmp_path / "run.nxs"
    summary, sent = record(path, replace(SETTINGS, scheme=scheme, faults=plan_of(kind)))
    assert sent.injected == tuple(Injected(kind, frame_id) for frame_id in HIT)
    expect_nothing_else(path, summary, MATRIX[kind])


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("kind", [FaultKind.CORRUPT, FaultKind.SIZE])
def test_a_wrong_length_of_uncompressed_pixels_is_named_on_arrival(
    kind: FaultKind, scheme: Scheme, tmp_path: Path
) -> None:
    path = tmp_path / "run.nxs"
    plain = replace(SETTINGS, scheme=scheme, faults=plan_of(kind), compression=Compression.NONE)
    summary, _ = record(path, plain)
    expect_nothing_else(path, summary, MATRIX[FaultKind.SIZE])


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("kind", [FaultKind.NO_START, FaultKind.NO_END])
def test_a_series_without_a_beginning_or_an_end_is_recorded_whole(
    kind: FaultKind, scheme: Scheme, tmp_path: Path
) -> None:
    faults = FaultPlan(series=frozenset({kind}))
    summary, sent = record(tmp_path / "run.nxs", replace(SETTINGS, scheme=scheme, faults=faults))
    assert sent.injected == (Injected(kind, None),)
    name = "run-nostart.nxs" if kind is FaultKind.NO_START else "run.nxs"
    assert summary["paths"] == [str(tmp_path / name)]
    expect_nothing_else(tmp_path / name, summary, NOTHING)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("planned", [N, 0])
def test_of_two_series_at_once_the_later_is_kept_and_what_the_first_loses_is_named(
    scheme: Scheme, planned: int, tmp_path: Path
) -> None:
    first = 5
    faults = FaultPlan(frames={FaultKind.TWIN: frozenset({first})})
    settings = replace(SETTINGS, scheme=scheme, faults=faults, n_planned=planned)
    summary, _ = record(tmp_path / "run.nxs", settings)
    expect_pixels(tmp_path / "run.nxs", list(range(first)))
    expect_pixels(tmp_path / "run-2.nxs", list(range(N - first)), offset=first)
    reason = (MISSING, "planned, not here when another series began")
    assert named(tmp_path / "run.nxs") == dict.fromkeys(range(first, planned), reason)
    assert named(tmp_path / "run-2.nxs") == {}
    assert summary["strays"] == N - first + 1, "the first series' other frames, and its end"
    assert summary["lost"] == N - first, "whether they were planned or not"
    assert summary["unrecorded"] == (0 if planned else N - first)
    assert check_file(tmp_path / "run-2.nxs").ok
    assert check_file(tmp_path / "run.nxs").problems == ()


class Cable:
    """A TCP connection to the sender that can be cut: what is in it then is gone."""

    def __init__(self, target: tuple[str, int], cut_after_bytes: int) -> None:
        self._target, self._cut_after_bytes = target, cut_after_bytes
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._ends: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._serve)]
        self._threads[0].start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._threads[0].join(TIMEOUT_S)  # so that no connection is made after the cut
        self._cut()
        for thread in self._threads:
            thread.join(TIMEOUT_S)

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._server.accept()
                self._ends.append(near)  # at once: the sender may be gone, and then it is closed all the same
                far = socket.create_connection(self._target)
                self._ends.append(far)
                limit, self._cut_after_bytes = self._cut_after_bytes, 1 << 60  # only the first one is cut
                for one, other, limit_bytes in ((near, far, 1 << 60), (far, near, limit)):
                    self._threads.append(threading.Thread(target=self._copy, args=(one, other, limit_bytes)))
                    self._threads[-1].start()

    def _copy(self, one: socket.socket, other: socket.socket, limit_bytes: int) -> None:
        with contextlib.suppress(OSError):
            while limit_bytes > 0 and (data := one.recv(8192)):
                other.sendall(data)
                limit_bytes -= len(data)
            self._cut()

    def _cut(self) -> None:
        while self._ends:  # one by one: more may be added meanwhile
            with contextlib.suppress(OSError), self._ends.pop() as end:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # no goodbye
                end.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_was_on_the_way_when_the_cable_was_pulled_is_named_missing(
    scheme: Scheme, tmp_path: Path
) -> None:
    n_frames, path = 400, tmp_path / "run.nxs"
    settings = SenderSettings(scheme=scheme, n_planned=n_frames, rate_hz=1000.0, linger_s=1.0)
    with sending(settings, [image_of(i % N) for i in range(n_frames)]) as (address, _):
        cable = Cable(("127.0.0.1", int(address.rpartition(":")[2])), cut_after_bytes=60_000)
        config = RunConfig(
            source=SourceConfig(address=f"{scheme}://127.0.0.1:{cable.port}"),
            ingest=IngestConfig(end_timeout_s=0.5),
            record=RecordConfig(path=str(path)),
            analysis=AnalysisConfig(enabled=False),
        )
        run = IngestRun(config)
        try:
            summary = run.finish()
        finally:
            run.control.request_stop()
            cable.close()
    said = named(path)
    assert all(status is MISSING for status, _ in said.values())
    assert summary["recorded"] + len(said) == n_frames
    assert summary["lost"] == summary["missing"] == check_file(path).lost == len(said)
    assert summary["recorded"] > 10
    with h5py.File(path) as file:
        stack = file["entry/stack"]
        for row, frame_id in enumerate(stack["indices_image"][:]):
            np.testing.assert_array_equal(stack["intensity"][row], image_of(frame_id % N))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_all_faults_together(scheme: Scheme, tmp_path: Path) -> None:
    """Many frames, every kind of fault at random: each frame ends as the fault that hit it says."""
    n_frames, path = 300, tmp_path / "run.nxs"
    rates = {kind: 0.02 for kind in MATRIX if kind not in (FaultKind.DISCONNECT, FaultKind.STALL)}
    faults = FaultPlan(rates, {FaultKind.DISCONNECT: frozenset({150})}, seed=1, stall_s=0.2)
    images = [image_of(i) for i in range(n_frames)]
    settings = SenderSettings(scheme=scheme, n_planned=n_frames, faults=faults)
    summary, sent = record(path, settings, images)

    hit = {injected.frame_id: injected.kind for injected in sent.injected}
    assert set(hit.values()) == set(rates) | {FaultKind.DISCONNECT}
    spoilt = {frame_id: MATRIX[kind] for frame_id, kind in hit.items() if frame_id is not None}
    expected = {i: want.named[HIT[0]] for i, want in spoilt.items() if want.named}
    said = named(path)
    lost = {i: status for i, (status, _) in said.items() if status is not RECORDED}
    assert lost == {i: status for i, (status, _) in expected.items() if status is not RECORDED}
    late = {i for i, (status, _) in said.items() if status is RECORDED}
    kinds_late = (FaultKind.REORDER, FaultKind.DELAY)
    assert late <= {i for i, kind in hit.items() if kind in kinds_late}, "none that ran in turn came late"
    undecoded = [i for i, kind in hit.items() if kind is FaultKind.CORRUPT]
    report = check_file(path)
    assert report.lost == len(lost) + len(undecoded)
    assert (summary["received"] + summary["missing"], summary["lost"]) == (n_frames, len(lost))
    assert summary["strays"] == sum(kind is FaultKind.STRAY for kind in hit.values())
    assert summary["duplicates"] == sum(kind is FaultKind.DUPLICATE for kind in hit.values())
