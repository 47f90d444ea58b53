"""Lets a DECTRIS detector take series for a run: sets it up, arms, triggers, and disarms it whatever happens.

States of the detector (SIMPLON API Reference)::

    na ──initialize──► idle ──arm──► ready ──trigger──► acquire ──► ready or idle
                        ▲──disarm────┘◄─────cancel─────────┘
"""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass

import zmq

from streamer.config import DetectorConfig, RunConfig, TriggerMode
from streamer.curve import client_keys
from streamer.errors import DetectorError, UsageError
from streamer.flag import SharedFlag
from streamer.simplon import Simplon
from streamer.sources import Scheme, open_receiver, parse_source, wait_reachable
from streamer.worker import Control

__all__ = ["expect_detector", "run_detector"]

_FORMATS = {Scheme.DECTRIS2: "cbor", Scheme.DECTRIS1: "legacy"}
_COMMAND_TIMEOUT_S = 120.0  # to initialise or arm a large detector
_MARGIN_S = 30.0  # beyond the exposure itself
_CHECK_S = 0.1
_STATE_INTERVAL_S = 0.5
_LEFTOVERS_MS = 1000


@dataclass(frozen=True, slots=True)
class _Series:
    """What the detector says it will take: images for each trigger, triggers, times [s]."""

    n_images: int
    n_triggers: int
    frame_time_s: float
    count_time_s: float

    def __str__(self) -> str:
        triggers = f"{self.n_triggers:,} times " if self.n_triggers > 1 else ""
        times = f"frame time {self.frame_time_s:g} s, count time {self.count_time_s:g} s"
        return f"{triggers}{self.n_images:,} images, {times}"


def expect_detector(config: RunConfig) -> None:
    """Check that the detector that is to be armed is one that can be.

    Raises
    ------
    UsageError
        If its address is none, the source is no detector's, or there are settings for a detector without one.
    """
    if not config.detector.arm:
        if config.detector != DetectorConfig():
            raise UsageError("settings for a detector need --arm http://HOST:PORT, its address")
        return
    _rest(config.detector)
    source = parse_source(config.source.address)
    if source.scheme not in _FORMATS:
        raise UsageError(
            f"--arm is for a DECTRIS detector's stream, dectris2:// or dectris1://, not {source}"
        )


def run_detector(control: Control, config: RunConfig, begin: SharedFlag) -> None:
    """Set the detector up, and take a series once `begin` is set: a target for `streamer.worker.Worker`.

    A continuous run (`IngestConfig.continuous`) has one series taken after the other until it is stopped.
    Ready, with the source's `address`, when the detector is set up and its stream can be reached.

    Raises
    ------
    DetectorError
        If the detector does not answer, refuses a setting, or is busy.
    SourceUnreachableError
        If its stream cannot be reached.
    """
    detector = _rest(config.detector)
    scheme = parse_source(config.source.address).scheme
    if _make_idle(detector, control.tell):
        _discard_leftovers(config)
    series = _set_up(detector, config.detector, _FORMATS[scheme])
    control.tell(f"detector {detector.url}: {series}")
    wait_reachable(parse_source(config.source.address), config.source.connect_timeout_s)
    control.ready(address=config.source.address)
    while not begin.wait(_CHECK_S) and not control.stopping():
        pass
    n_series = 0
    while not control.stopping():
        _take(detector, series, config.detector.trigger_mode, control)
        n_series += 1
        if not config.ingest.continuous:
            break
    control.finished({"series": n_series})


def _rest(config: DetectorConfig) -> Simplon:
    return Simplon(config.arm, config.api_version, config.timeout_s)


def _make_idle(detector: Simplon, say: Callable[[str], None]) -> bool:
    """Bring the detector into its idle state; return whether it was armed, by somebody else."""
    state = detector.state()
    if state in ("na", "error"):
        say(f"the detector's state is {state}: it is initialised")
        detector.command("initialize", _COMMAND_TIMEOUT_S)
    elif state == "ready":
        say("the detector was armed already: it is disarmed")
        detector.command("disarm", _COMMAND_TIMEOUT_S)
    elif state != "idle":
        raise DetectorError(f"{detector.url} is busy (state {state}): wait until it is idle, or disarm it")
    return state == "ready"


def _discard_leftovers(config: RunConfig) -> None:
    """Take the start and end of a series that was armed and never triggered off the stream."""
    source = parse_source(config.source.address)
    keys = client_keys(config.security.key, config.source.server_key)
    with zmq.Context() as context:
        with open_receiver(context, source, config.ingest, _LEFTOVERS_MS, keys) as receiver:
            while receiver.poll(_LEFTOVERS_MS):
                receiver.recv_multipart(copy=False)


def _set_up(detector: Simplon, config: DetectorConfig, stream_format: str) -> _Series:
    """Set what is configured, leave the rest, and return what the detector makes of it."""
    stream = {"mode": "enabled", "format": stream_format, "header_detail": config.header_detail.value}
    for name, setting in stream.items():
        detector.put("stream", name, setting)
    wanted = {
        "trigger_mode": config.trigger_mode.value,
        "nimages": config.images,
        "ntrigger": config.triggers,
        "count_time": config.count_time_s,
        "frame_time": config.frame_time_s,  # the last word, as the detector fits one to the other
    }
    for name, value in wanted.items():
        if value is not None:
            detector.put("detector", name, value)
    names = ("nimages", "ntrigger", "frame_time", "count_time")
    n_images, n_triggers, frame_time, count_time = (detector.get("detector", f"config/{n}") for n in names)
    return _Series(int(n_images), int(n_triggers), float(frame_time), float(count_time))


def _take(detector: Simplon, series: _Series, mode: TriggerMode, control: Control) -> None:
    """Take one series; the detector is disarmed afterwards, however it went."""
    detector.command("arm", _COMMAND_TIMEOUT_S)
    try:
        if mode is TriggerMode.INTS:
            _trigger(detector, series, control)
        else:
            _await_triggers(detector, control)
    finally:
        _disarm(detector, control)


def _trigger(detector: Simplon, series: _Series, control: Control) -> None:
    timeout_s = _MARGIN_S + 2 * series.n_images * series.frame_time_s
    for _ in range(series.n_triggers):
        if detector.command("trigger", timeout_s, control.stopping) is None:
            return


def _await_triggers(detector: Simplon, control: Control) -> None:
    """Wait until a detector that is triggered from outside has had all its triggers."""
    control.tell("the detector is armed and waits for its external trigger")
    next_look = 0.0
    while not control.stopping():
        if time.monotonic() >= next_look:
            next_look = time.monotonic() + _STATE_INTERVAL_S
            if detector.state() == "idle":
                return
        time.sleep(_CHECK_S)


def _disarm(detector: Simplon, control: Control) -> None:
    if control.stopping():
        with contextlib.suppress(DetectorError):  # where nothing is being taken any more
            detector.command("cancel")
    detector.command("disarm", _COMMAND_TIMEOUT_S)
