"""Stimulus channels: what devices push is checked, dated, and in the file beside the frames."""

from math import inf, nan
from pathlib import Path

import h5py
import msgpack
import numpy as np
import pytest
import zmq

from pipeline.control_port import ControlPort
from streamer.check import check_file
from streamer.clock import RunClock
from streamer.config import ChannelConfig, ControlConfig
from streamer.control import NextFile
from streamer.control_client import ask
from streamer.records import SeriesEnd
from streamer.stimuli import Batch, Inbox
from tests.streamer.ingest_run import KEY, TIMEOUT_S, frame_of, running, start_of, wait_for_rows

CHANNELS = (
    ChannelConfig(name="temperature", unit="K"),
    ChannelConfig(name="bias", unit="V", clock="foreign"),
)
NOW = 1_700_000_000.0


def taken(inbox: Inbox, *messages: object, now: float = NOW) -> Batch:
    for message in messages:
        inbox.take(msgpack.packb(message), now)
    return inbox.drain() or Batch([])


def test_a_sample_without_a_time_gets_that_of_its_arrival() -> None:
    batch = taken(Inbox(CHANNELS), {"name": "temperature", "unit": "K", "value": 300}, now=NOW)
    assert [(s.name, s.t, s.value) for s in batch.samples] == [("temperature", NOW, 300.0)]
    assert np.isnan(batch.samples[0].t_source)
    assert not batch.refused


@pytest.mark.parametrize(
    ("message", "kind", "named"),
    [
        ({"name": "pressure", "value": 1.0}, "unknown channel", "temperature, bias"),
        ({"name": "temperature", "value": nan}, "no number", "nan"),
        ({"name": "temperature", "value": inf}, "no number", "inf"),
        ({"name": "temperature", "value": "hot"}, "unreadable", "float"),
        ({"name": "temperature", "value": True}, "unreadable", "float"),
        ({"value": 1.0}, "unreadable", "name"),
        ({"name": "temperature", "value": 1.0, "colour": 1}, "unreadable", "colour"),
        ({"name": "temperature", "unit": "mK", "value": 1.0}, "wrong unit", "'K'"),
        ({"name": "temperature", "value": 1.0, "time": NOW - 3600}, "clock", "foreign"),
        ({"name": "temperature", "value": 1.0, "time": NOW + 60}, "clock", "+60.0 s"),
        ([{"name": "temperature", "value": 1.0}] * 1001, "too many at once", "1001"),
        (7, "unreadable", "not a sample"),
    ],
)
def test_what_is_wrong_is_counted_and_named_once(message: object, kind: str, named: str) -> None:
    batch = taken(Inbox(CHANNELS), message, message)
    assert batch.refused == {kind: 2}
    assert batch.samples == []
    assert len(batch.notes) == 1
    assert named in batch.notes[0]


def test_a_flood_is_cut_to_the_channels_rate() -> None:
    inbox = Inbox(CHANNELS)
    flood = [{"name": "temperature", "value": float(i)} for i in range(900)]
    batch = taken(inbox, flood, {"name": "bias", "value": 1.0})
    assert (len(batch.samples), batch.refused) == (201, {"flood": 700})
    later = taken(inbox, flood, now=NOW + 1.0)
    assert len(later.samples) == 100, "max_rate_hz"


def test_what_cannot_be_handed_on_is_kept_within_bounds() -> None:
    inbox = Inbox([ChannelConfig(name="bias", max_rate_hz=10_000.0)])
    for second in range(80):
        batch = taken(inbox, [{"name": "bias", "value": float(second)}] * 200, now=NOW + second)
        inbox.take_back(batch)
    batch = inbox.drain() or Batch([])
    assert len(batch.samples) == 10_000
    assert batch.samples[-1].value == 49.0
    assert batch.refused == {"flood": 6_000}


def test_a_foreign_clock_is_set_by_the_fastest_sample() -> None:
    inbox = Inbox(CHANNELS)
    delays = [0.30, 0.02, 0.50]
    for i, delay in enumerate(delays):  # a clock one day behind
        sample = {"name": "bias", "value": float(i), "time": NOW + i - 86_400.0}
        inbox.take(msgpack.packb(sample), NOW + i + delay)
    batch = inbox.drain()
    assert batch is not None
    np.testing.assert_allclose([s.t - NOW for s in batch.samples], [0.30, 1.02, 2.02], atol=1e-6)
    assert batch.samples[1].t_source == NOW + 1 - 86_400.0


def test_samples_are_in_every_file_beside_the_frames(tmp_path: Path) -> None:
    first, second = tmp_path / "run.nxs", tmp_path / "run-2.nxs"
    with (
        ControlPort(ControlConfig(), CHANNELS, RunClock.start()) as port,
        running(first, remote=port.remote, channel=CHANNELS) as (detector, run, _),
        zmq.Context() as context,
        context.socket(zmq.PUSH) as device,
    ):
        device.set(zmq.LINGER, 1000)
        device.connect(port.remote.stimuli)

        def push(path: Path, name: str, value: float, n_rows: int) -> None:
            device.send(msgpack.packb({"name": name, "value": value}))
            wait_for_rows(path, f"entry/channels/{name}/value", n_rows)

        device.send(msgpack.packb({"name": "temperature", "value": 300.0}))  # before there is a file
        detector.send(start_of(6), *(frame_of(i) for i in range(3)))
        wait_for_rows(first, "entry/channels/temperature/value", 1)
        device.send(msgpack.packb({"name": "pressure", "value": 1.0}))
        push(first, "temperature", 310.0, 2)
        push(first, "bias", -0.5, 1)
        wait_for_rows(first, "entry/ledger/frame_id", 3)
        assert ask(port.remote.control, NextFile(), TIMEOUT_S).ok
        push(second, "temperature", 320.0, 2)
        detector.send(*(frame_of(i) for i in range(3, 6)), SeriesEnd(KEY))
        summary = run.finish()
    assert summary["lost"] == 0
    assert summary["bad_samples"] == {"unknown channel": 1}
    assert any("pressure" in note for note in summary["notes"])
    assert values(first, "temperature") == [300.0, 310.0]
    assert values(second, "temperature") == [310.0, 320.0], "the last value is repeated"
    assert values(second, "bias") == [-0.5]
    with h5py.File(first) as file:
        channel = file["entry/channels/temperature"]
        assert channel["value"].attrs["units"] == "K"
        assert (np.diff(channel["time"][:]) > 0).all()
        assert channel["time"][1] > file["entry/ledger/t_received"][0]
        assert dict(
            zip(file["entry/process/bad_samples/label"], file["entry/process/bad_samples/count"], strict=True)
        ) == {b"unknown channel": 1}
    assert check_file(first).ok
    assert check_file(second).ok


def values(path: Path, name: str) -> list[float]:
    with h5py.File(path) as file:
        return [float(value) for value in file[f"entry/channels/{name}/value"]]
