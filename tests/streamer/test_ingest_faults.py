"""Any mixture of faults: nothing that arrived whole is lost, and the account adds up."""

from collections.abc import Sequence
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401 - registers the filters
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamer.check import check_file
from streamer.dectris_v2 import DectrisV2Parser
from streamer.records import Frame, FrameStatus, SeriesEnd, SeriesKey, StreamMessage
from tests.streamer.ingest_run import KEY, Detector, frame_of, image_of, record, series_of, start_of

OTHER = SeriesKey(6, "stray")
N_IDS = 12

_EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["frame", "frame", "frame", "truncated", "garbage", "stray", "wrong shape"]),
        st.integers(0, N_IDS - 1),
    ),
    min_size=1,
    max_size=30,
)


def _message(kind: str, frame_id: int) -> bytes:
    frame = frame_of(frame_id, OTHER) if kind == "stray" else frame_of(frame_id)
    if kind == "wrong shape":
        frame = frame_of(frame_id, shape=(8, 8))
    whole = b"".join(Detector.v2_encoder().encode(frame))
    return {"truncated": whole[:-50], "garbage": whole[::-1]}.get(kind, whole)


def test_a_fault_of_the_parser_costs_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parse = DectrisV2Parser.parse

    def parse_or_fail(parser: DectrisV2Parser, parts: Sequence[memoryview]) -> StreamMessage:
        message = parse(parser, parts)
        if isinstance(message, Frame) and message.header.frame_id == 1:
            raise ZeroDivisionError("a fault of ours")
        return message

    monkeypatch.setattr(DectrisV2Parser, "parse", parse_or_fail)
    summary = record(tmp_path / "run.nxs", *series_of(range(3), 3))
    assert (summary["recorded"], summary["missing"]) == (2, 1)
    assert summary["bad_messages"] == {"bad message": 1}


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=_EVENTS)
def test_what_arrived_whole_is_recorded_and_the_rest_is_named(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[str, int]]
) -> None:
    path = tmp_path_factory.mktemp("faults") / "run.nxs"
    first = [frame_of(0)]  # settles the series' geometry
    messages = [_message(*event) for event in events]
    summary = record(path, start_of(N_IDS), *first, *messages, SeriesEnd(KEY))

    whole = {0} | {frame_id for kind, frame_id in events if kind == "frame"}
    with h5py.File(path) as file:
        stack, ledger = file["entry/stack"], file["entry/ledger"]
        assert set(stack["indices_image"][:].tolist()) == whole
        for row, frame_id in enumerate(stack["indices_image"][:]):
            np.testing.assert_array_equal(stack["intensity"][row], image_of(frame_id))
        status = ledger["status"][:]
        assert set(np.flatnonzero(status == FrameStatus.RECORDED).tolist()) == whole
        spoilt = {frame_id for kind, frame_id in events if kind == "wrong shape"} - whole
        assert spoilt <= set(np.flatnonzero(status == FrameStatus.DAMAGED).tolist())
    assert summary["recorded"] == len(whole)
    assert summary["lost"] == N_IDS - len(whole)
    assert summary["strays"] == sum(kind == "stray" for kind, _ in events)
    assert summary["bad_messages"].get("truncated message", 0) == sum(
        kind == "truncated" for kind, _ in events
    )
    report = check_file(path)
    assert report.problems == ()
    assert report.lost == summary["lost"]
