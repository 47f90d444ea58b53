"""The window's end of the view socket: takes in what came, refuses what is damaged, never waits."""

import math
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec
import numpy as np
import zmq

from gui.particles import sound_particles
from streamer.closing import Closing
from streamer.connection import ConnectionWatch, set_reconnection
from streamer.curve import ClientKeys, connect_client
from streamer.errors import MessageError, MessageTooLargeError, UsageError
from streamer.stimuli import CHANNELS_TOPIC, Batch, decode_batch
from streamer.triggers import EVENT_TOPIC, Event, decode_event
from streamer.window_link import (
    HEARTBEAT_TOPIC,
    STATUS_TOPIC,
    VIEW_TOPIC,
    RunStatus,
    View,
    ViewHeader,
    decode_status,
    decode_view,
)

__all__ = ["Arrivals", "Feed"]

_MESSAGE_LIMIT_BYTES = 64 * 2**20
_QUEUE_MESSAGES = 32  # a window that cannot keep up loses pictures, nobody else does
_MAX_COLUMNS = 50_000
_LONGEST_TEXT = 4096
_SMALLEST_PIXEL_A, _LARGEST_PIXEL_A = 1e-9, 1e9  # what lies beyond has an area that is no number
_CONTROL = re.compile(r"(tcp://([\w.*-]+|\[[0-9a-fA-F:]+\]):\d{1,5})?", re.ASCII)


@dataclass(slots=True)
class Arrivals:
    """What one round brought in: views oldest first, the latest status, samples, events, what was refused."""

    views: list[View] = field(default_factory=list)
    status: RunStatus | None = None
    samples: list[Batch] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


class Feed(Closing):
    """A subscription to a run's view hub; reconnects by itself, for ever.

    Parameters
    ----------
    address : str
        ``tcp://HOST:PORT`` of the hub's outer side.
    keys : ClientKeys or None
        Where the hub is encrypted.

    Raises
    ------
    UsageError
        If the address is not one that ZeroMQ knows.
    """

    def __init__(self, address: str, keys: ClientKeys | None = None) -> None:
        self.address = address
        self.keys = keys
        self.n_refused = 0
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._connection = ConnectionWatch(self._socket)
        for option, value in (
            (zmq.LINGER, 0),
            (zmq.RCVHWM, _QUEUE_MESSAGES),
            (zmq.MAXMSGSIZE, _MESSAGE_LIMIT_BYTES),
        ):
            self._socket.setsockopt(option, value)
        set_reconnection(self._socket)
        self._socket.subscribe(b"")
        try:
            connect_client(self._socket, address, keys)
        except zmq.ZMQError as error:
            self.close()
            raise UsageError(
                f"cannot subscribe to {address!r} ({error}); expected tcp://HOST:PORT"
            ) from error

    @property
    def connected(self) -> bool:
        """Whether the connection to the hub stands."""
        return self._connection.n_peers > 0

    @property
    def refusal(self) -> str:
        """Why the hub does not let this window in; empty if it does, or has not said."""
        return self._connection.refusal

    def take(self, budget_s: float = 0.015) -> Arrivals:
        """Take in what has arrived, for at most `budget_s` of decoding; never waits."""
        arrivals = Arrivals()
        deadline = time.perf_counter() + budget_s
        self._connection.update()
        while time.perf_counter() < deadline:
            try:
                parts = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                break
            self._sort([memoryview(part.buffer) for part in parts], arrivals)
        return arrivals

    def _sort(self, parts: list[memoryview], arrivals: Arrivals) -> None:
        topic = bytes(parts[0][:16])
        try:
            if topic == VIEW_TOPIC:
                arrivals.views.append(_checked(decode_view(parts)))
            elif topic == STATUS_TOPIC:
                arrivals.status = _checked_status(decode_status(parts))
            elif topic == CHANNELS_TOPIC:
                arrivals.samples.append(_checked_samples(parts))
            elif topic == EVENT_TOPIC:
                arrivals.events.append(_checked_event(parts))
            elif topic != HEARTBEAT_TOPIC:
                raise MessageError(f"unknown topic {topic!r}")
        except MessageError as error:
            self.n_refused += 1
            arrivals.refused.append(str(error))

    def close(self) -> None:
        """Close the sockets; the feed cannot be used afterwards."""
        self._connection.close()
        self._socket.close(0)
        self._context.term()


def _checked(view: View) -> View:
    """Refuse what no camera can have made; leave out columns and particles without a finite place."""
    h = view.header
    if not (0 < h.view_height <= h.height and 0 < h.view_width <= h.width and 0 < h.bin_px):
        raise MessageError(
            f"view of {h.view_height} x {h.view_width} px of a {h.height} x {h.width} px frame"
        )
    if not _finite(h, "raw_low", "raw_high", "t_received", "t_published"):
        raise MessageError(f"view of frame {h.frame_id} has levels or times that are no numbers")
    if not 0 <= h.frame_id < 2**63:
        raise MessageError(f"view of frame {h.frame_id}")
    _expect_short("view", h.shapes)
    if any(isinstance(value, float) and math.isinf(value) for value in msgspec.structs.astuple(h)):
        raise MessageError(f"view of frame {h.frame_id} has infinite values")
    if h.pixel_size_A > 0 and not _SMALLEST_PIXEL_A < h.pixel_size_A < _LARGEST_PIXEL_A:
        raise MessageError(f"view of frame {h.frame_id} with pixels of {h.pixel_size_A:g} Å")
    if len(view.columns) > _MAX_COLUMNS:
        raise MessageTooLargeError(f"view of {len(view.columns)} columns, expected at most {_MAX_COLUMNS}")
    good = np.isfinite(view.columns["y"]) & np.isfinite(view.columns["x"])
    columns = view.columns if good.all() else view.columns[good]
    particles = sound_particles(view.particles) if len(view.particles) else view.particles
    if columns is view.columns and len(particles) == len(view.particles):
        return view
    return View(h, view.raw, view.denoised, columns, particles)


def _finite(header: ViewHeader, *names: str) -> bool:
    return all(math.isfinite(getattr(header, name)) for name in names)


def _checked_samples(parts: list[memoryview]) -> Batch:
    if len(parts) != 2:
        raise MessageError(f"samples have 2 parts, got {len(parts)}")
    batch = decode_batch(parts[1])
    _expect_short("samples", [sample.name for sample in batch.samples], batch.units.values())
    if not all(math.isfinite(sample.t) and math.isfinite(sample.value) for sample in batch.samples):
        raise MessageError("samples with times or values that are no numbers")
    return batch


def _checked_event(parts: list[memoryview]) -> Event:
    try:
        event = decode_event(parts[-1])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise MessageError(f"not an event: {error}") from error
    _expect_short("event", (event.trigger, event.text))
    return event


def _checked_status(status: RunStatus) -> RunStatus:
    if not all(math.isfinite(value) for value in (status.t, status.t_started)):
        raise MessageError("status without a time")
    fields = msgspec.structs.astuple(status)
    _expect_short("status", (v for v in fields if isinstance(v, str)), (o.address for o in status.tee))
    if not _CONTROL.fullmatch(status.control):
        raise MessageError(f"status with the control address {status.control!r}, expected tcp://HOST:PORT")
    return status


def _expect_short(what: str, *groups: Iterable[str]) -> None:
    longest = max((len(text) for group in groups for text in group), default=0)
    if longest > _LONGEST_TEXT:
        raise MessageTooLargeError(f"{what} with a text of {longest} characters, expected {_LONGEST_TEXT}")
