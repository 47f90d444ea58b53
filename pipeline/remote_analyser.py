"""An analyser on this machine for a run on another: it asks what to do, loads its networks, and joins."""

import os
import socket
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import msgspec
import zmq

from pipeline.analyser import analyse, results_queue
from pipeline.station import RemoteWindows, Station
from streamer.config import RunConfig
from streamer.curve import ClientKeys
from streamer.errors import MessageError, RunError, SourceRefusedError, SourceUnreachableError, UsageError
from streamer.joining import AskTime, Hello, Refused, Time, Welcome, decode_from_ingest
from streamer.worker import Control

__all__ = ["RemoteWork", "analyse_remotely", "expect_address"]

_CHECK_S = 0.1
_PROBE_S = 0.1
_QUESTIONS = 5  # about the time, of which the fastest answer counts


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteWork:
    """Whose frames are analysed, and what is otherwise here than there.

    Attributes
    ----------
    address : str
        ``tcp://HOST:PORT``, as the run has printed it.
    keys : ClientKeys or None
        Where the run is encrypted.
    timeout_s : float
        How long to wait for the run, and for its answers.
    changes : dict
        Fields of `AnalysisConfig` that are this machine's own: backend, precision, threads …
    """

    address: str
    keys: ClientKeys | None
    timeout_s: float
    changes: dict[str, Any]


def expect_address(address: str) -> tuple[str, int]:
    """Return host and port of ``tcp://HOST:PORT``.

    Raises
    ------
    UsageError
        If it is none.
    """
    try:
        parts = urlsplit(address)
        if parts.scheme == "tcp" and parts.hostname and parts.port and not parts.path:
            return parts.hostname, parts.port
    except ValueError:
        pass
    raise UsageError(f"{address!r} is no address of a run: expected tcp://HOST:PORT, as it has printed it")


def analyse_remotely(control: Control, work: RemoteWork, say: Callable[[str], None]) -> dict[str, Any]:
    """Analyse frames of a run until it is over, or `control` is asked to stop.

    Returns
    -------
    dict
        Counters, the engine, and why it ended.

    Raises
    ------
    SourceUnreachableError
        If nothing answers at the address, or the run vanishes.
    SourceRefusedError
        If its keys do not fit, or it is no address for analysers.
    RunError
        If the run does not want this analyser.
    BackendError
        If an engine or a network is missing or unfit.
    """
    _wait_reachable(work, control.stopping)
    name = f"{socket.gethostname()}:{os.getpid()}"
    queue = results_queue(RunConfig()) * max(1, work.changes.get("batch_frames") or 1)
    with (
        zmq.Context() as context,
        closing(Station(context, work.address, name, queue, work.keys, remote=True)) as station,
    ):
        _wait_admitted(station, work, control.stopping)
        welcome = _introduce(station, work, Hello(name), control.stopping)
        config = _config_of(welcome, work)
        for _ in range(_QUESTIONS):
            _set_clock(station, work, control.stopping)
        say(f"a run at {work.address} has work: loading the networks")
        told: dict[str, Any] = {}
        loading = Control(_Stop(control.stopping), lambda message: _note_ready(message, told, say))
        windows = RemoteWindows(station, config.view.rate_hz)
        counts = analyse(loading, config, station.clock, station, windows, welcome.number)
        station.leave("it was stopped")
        return {**told, **counts, "ended_by": station.over or "stopped on request"}


class _Stop:
    """An event that asks a function, for `Control`."""

    def __init__(self, stopping: Callable[[], bool]) -> None:
        self.is_set = stopping


def _note_ready(message: tuple[str, Any], told: dict[str, Any], say: Callable[[str], None]) -> None:
    kind, value = message
    if kind == "ready":
        told.update(value)
        say(f"analysing with {value['backend']} ({value['device']}, {value['precision']})")


def _wait_reachable(work: RemoteWork, stopping: Callable[[], bool]) -> None:
    """Wait until something accepts TCP connections; ZeroMQ itself waits for ever without a word."""
    place, deadline = expect_address(work.address), time.monotonic() + work.timeout_s
    while not stopping():
        try:
            socket.create_connection(place, timeout=max(deadline - time.monotonic(), 0.05)).close()
            return
        except OSError as error:
            if isinstance(error, socket.gaierror) or time.monotonic() + _PROBE_S > deadline:
                raise SourceUnreachableError(
                    f"nothing answers at {work.address} ({error.strerror or error}): is the run going, with"
                    " --remote-analysers, and the port right?"
                ) from error
        time.sleep(_PROBE_S)


def _wait_admitted(station: Station, work: RemoteWork, stopping: Callable[[], bool]) -> None:
    """Wait for ZeroMQ's handshake, and say what is wrong with it."""
    deadline = time.monotonic() + work.timeout_s
    while not station.watch.n_joined and not stopping():
        station.watch.wait(_CHECK_S)
        if station.watch.refusal:
            raise SourceRefusedError(f"{work.address} refuses the connection: {station.watch.refusal}")
        if time.monotonic() > deadline:
            raise SourceRefusedError(
                f"{work.address} did not shake hands within {work.timeout_s:g} s: is it a run's address?"
            )


def _introduce(station: Station, work: RemoteWork, hello: Hello, stopping: Callable[[], bool]) -> Welcome:
    station.ask(hello)
    answer = _answer(station, work, stopping)
    if isinstance(answer, Refused):
        raise RunError(f"the run at {work.address} does not take this analyser: {answer.reason}")
    if not isinstance(answer, Welcome):
        raise _no_place_for_analysers(work)
    return answer


def _set_clock(station: Station, work: RemoteWork, stopping: Callable[[], bool]) -> None:
    station.ask(AskTime(time.perf_counter()))
    answer = _answer(station, work, stopping)
    if isinstance(answer, Time):
        station.clock.take(answer.asked, answer.t, time.perf_counter())


def _answer(station: Station, work: RemoteWork, stopping: Callable[[], bool]) -> Any:
    deadline = time.monotonic() + work.timeout_s
    while time.monotonic() < deadline and not stopping():
        if not station.poll(_CHECK_S):
            continue
        parts = station.receive()
        try:
            return decode_from_ingest(parts[-1])
        except MessageError as error:
            raise _no_place_for_analysers(work) from error
    if stopping():
        raise KeyboardInterrupt
    raise _no_place_for_analysers(work)


def _no_place_for_analysers(work: RemoteWork) -> SourceRefusedError:
    return SourceRefusedError(
        f"what answers at {work.address} does not hand out frames: give the address that the run prints for"
        " --remote-analysers"
    )


def _config_of(welcome: Welcome, work: RemoteWork) -> RunConfig:
    """Return the run's configuration with what is this machine's own."""
    try:
        config = msgspec.toml.decode(welcome.configuration, type=RunConfig)
        changes = {name: value for name, value in work.changes.items() if value is not None}
        analysis = msgspec.convert({**msgspec.to_builtins(config.analysis), **changes}, type(config.analysis))
    except msgspec.MsgspecError as error:
        raise UsageError(f"wrong option, or a run of another version: {error}") from error
    return msgspec.structs.replace(config, analysis=analysis)
