"""The subscription: takes in what is sound, refuses the rest by name, never waits."""

import time
from pathlib import Path

import msgspec
import numpy as np
import pytest

from gui.feed import Arrivals, Feed
from pipeline.hub import ViewHub
from streamer.config import SecurityConfig
from streamer.curve import client_keys, own_keys
from streamer.errors import UsageError
from streamer.keys import make_key_files
from streamer.stimuli import CHANNELS_TOPIC, Batch, Sample, encode_batch
from streamer.triggers import EVENT_TOPIC, Event, encode_event
from streamer.window_link import View, encode_status, encode_view
from tests.gui.publisher import Particle, Publisher, make_status, make_view

PARTICLE = Particle(size=128, n_largest=3)
VIEW = make_view(PARTICLE, 1, size=64)


def take(feed: Feed, n: int) -> Arrivals:
    """Collect until `n` messages have been taken or refused."""
    collected = Arrivals()
    deadline = time.monotonic() + 10
    while len(collected.views) + len(collected.refused) + (collected.status is not None) < n:
        assert time.monotonic() < deadline
        arrived = feed.take()
        collected.views += arrived.views
        collected.refused += arrived.refused
        collected.status = arrived.status or collected.status
        time.sleep(0.002)
    return collected


def test_views_and_statuses_arrive_whole(publisher: Publisher) -> None:
    with Feed(publisher.address) as feed:
        publisher.wait_subscriber()
        publisher.send(VIEW)
        publisher.send(make_status(received=7))
        arrived = take(feed, 2)
        assert feed.connected
    assert arrived.status is not None
    assert arrived.status.received == 7
    np.testing.assert_array_equal(arrived.views[0].raw, VIEW.raw)
    np.testing.assert_array_equal(arrived.views[0].columns, VIEW.columns)


def test_an_encrypted_hub_lets_in_a_window_with_keys_and_tells_one_without(tmp_path: Path) -> None:
    for name in ("run", "office"):
        make_key_files(tmp_path / name)
    security = SecurityConfig(key=str(tmp_path / "run.key_secret"), clients=(str(tmp_path / "office.key"),))
    office = client_keys(str(tmp_path / "office.key_secret"), str(tmp_path / "run.key"))
    with ViewHub("tcp://127.0.0.1:0", security) as hub:
        address = hub.outer_address
        with (
            Feed(address, office) as feed,
            Feed(address, own_keys(security)) as own,
            Feed(address) as stranger,
        ):
            deadline = time.monotonic() + 20
            while not (feed.connected and own.connected and stranger.refusal):
                assert time.monotonic() < deadline
                for one in (feed, own, stranger):
                    one.take()
                time.sleep(0.01)
            assert not stranger.connected
            assert (feed.refusal, own.refusal) == ("", "")
            assert "it is encrypted" in stranger.refusal


def with_header(**fields: object) -> list[object]:
    return encode_view(
        View(msgspec.structs.replace(VIEW.header, **fields), VIEW.raw, VIEW.denoised, VIEW.columns)
    )


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([b"weather", b"rain"], "unknown topic"),
        ([b"view", b"\x93\x01"], "6 parts"),
        ([b"status", b"\xc1"], "RunStatus"),
        (with_header(view_height=63), "picture"),
        (with_header(height=10), "64 x 64 px"),
        (with_header(bin_px=0), "px"),
        (with_header(t_received=float("nan")), "no numbers"),
        (with_header(raw_high=float("inf")), "no numbers"),
        (with_header(total_atoms_std=float("inf")), "infinite"),
        (with_header(pixel_size_A=1e200), "pixels of 1e+200 Å"),
        (with_header(pixel_size_A=1e-200), "pixels of 1e-200 Å"),
        (with_header(frame_id=2**63), "frame 9223372036854775808"),
        (with_header(shapes=("x" * 100_000,)), "100000 characters"),
        ([EVENT_TOPIC, encode_event(Event("x" * 100_000, "", 1.0, "", 1, 1.0, 1.0))], "100000 characters"),
        ([CHANNELS_TOPIC, encode_batch(Batch([Sample("x" * 100_000, 1.0, 1.0)]))], "100000 characters"),
        (encode_status(make_status(control="tcp://[::1")), "tcp://HOST:PORT"),
        (encode_status(make_status(path="x" * 100_000)), "100000 characters"),
        (encode_status(make_status(t=float("nan"))), "without a time"),
        ([*encode_view(VIEW)[:4], bytes(7), b""], "bytes each"),
        ([*encode_view(VIEW)[:4], bytes(VIEW.columns.itemsize * 60_000), b""], "60000 columns"),
    ],
)
def test_damaged_messages_are_refused_and_the_next_is_taken(
    publisher: Publisher, parts: list[bytes], expected: str
) -> None:
    with Feed(publisher.address) as feed:
        publisher.wait_subscriber()
        publisher.send_parts(parts)
        publisher.send(VIEW)
        arrived = take(feed, 2)
        assert feed.n_refused == 1
    assert expected in arrived.refused[0]
    assert len(arrived.views) == 1


def test_columns_without_a_place_are_left_out(publisher: Publisher) -> None:
    columns = VIEW.columns.copy()
    columns["y"][0], columns["x"][1] = np.nan, np.inf
    with Feed(publisher.address) as feed:
        publisher.wait_subscriber()
        publisher.send(View(VIEW.header, VIEW.raw, VIEW.denoised, columns))
        (view,) = take(feed, 1).views
    np.testing.assert_array_equal(view.columns, VIEW.columns[2:])


def test_taking_from_silence_returns_at_once() -> None:
    with Feed("tcp://127.0.0.1:9") as feed:
        assert feed.take() == Arrivals()
        assert not feed.connected


@pytest.mark.parametrize("address", ["127.0.0.1:5555", "nothing", "tcp://"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="HOST:PORT"):
        Feed(address)
