"""The follower: where several analysers share a run, it measures drift and follows columns for all of them.

Unfollowed results come from ingest in the order in which their frames were handed on; results go back, and
pictures to the windows. It is what one analyser does between its networks' answer and its result, and what a
second analysis does after it, so that all three give the same values.
"""

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

import zmq
from threadpoolctl import threadpool_limits

from pipeline.following import Following
from pipeline.particle_networks import AnyNetworks, networks_of
from pipeline.station import Station
from pipeline.steady import Drifts
from pipeline.views import followed_view
from streamer.clock import Clock, RunClock
from streamer.config import AnalysisConfig, RunConfig
from streamer.errors import MessageError
from streamer.link import encode_failure, encode_result
from streamer.message_parts import Buffer
from streamer.records import FrameFailure, FrameResult
from streamer.unfollowed import Unfollowed, decode_unfollowed, name_of
from streamer.window_link import View, encode_view
from streamer.worker import Control

__all__ = ["ResultFollower", "run_follower"]

_POLL_MS = 100  # between two looks at whether the run is over
_LINGER_MS = 1000
_VIEW_QUEUE = 2
_RESULTS_QUEUE = 64

_log = logging.getLogger(__name__)


def run_follower(
    control: Control,
    config: RunConfig,
    clock: RunClock,
    ingest_address: str,
    view_address: str,
    number: int = 1,
) -> None:
    """Follow columns until `control` is asked to stop or the run is over; a child process's main function.

    Parameters
    ----------
    control : Control
        Gets ``ready`` once the process is known to ingest, and at the end ``finished`` with counters.
    config : RunConfig
    clock : RunClock
        The run's.
    ingest_address : str
        Where ingest takes analysers (DEALER here).
    view_address : str
        The view hub's inner address (PUB here).
    number : int
        Which of the run's followers this is, from 1.

    Raises
    ------
    BackendError
        If a network, or the calibration beside it, is missing or unfit.
    """
    networks = networks_of(config.analysis)
    follower = ResultFollower(config.analysis, networks, clock, number)
    with (
        threadpool_limits(1, "blas"),  # the cores are the networks'
        zmq.Context() as context,
        closing(Station(context, ingest_address, f"follower-{number}", _RESULTS_QUEUE)) as station,
        _view_socket(context, view_address) as windows,
    ):
        station.follow(dict(networks.sha256))
        control.ready()
        counts: Counter[str] = Counter()
        while not control.stopping() and not station.over:
            if parts := station.next_task(_POLL_MS):
                answer, picture = _answer(follower, parts, counts)
                if answer:
                    station.send(answer, control.stopping)
                if picture is not None:
                    windows.send_multipart(encode_view(picture))
        control.finished({**counts, "over": station.over})


class ResultFollower:
    """Finishes results, one after the other; begins anew with each series.

    Parameters
    ----------
    analysis : AnalysisConfig
    networks : Networks or ParticleNetworks
    clock : Clock
        The run's.
    number : int
        As for `run_follower`.
    """

    def __init__(
        self, analysis: AnalysisConfig, networks: AnyNetworks, clock: Clock, number: int = 1
    ) -> None:
        self._drifts = Drifts()
        self._following = Following(analysis, networks, number)
        self._clock = clock

    def finish(self, unfollowed: Unfollowed) -> tuple[FrameResult, View | None]:
        """Return the result with drift and tracks, and its picture, if there is one."""
        found, seen = unfollowed.result, unfollowed.seen
        (height, width), (h, w) = seen.shape, unfollowed.network_shape
        series = found.key, seen.series
        _, drift = self._drifts.of(series, unfollowed.binned, (height / h, width / w))
        y, x = drift.tolist()
        own = replace(found, columns=found.columns.copy())  # what came is a view, not to be written to
        followed = self._following.follow(own, replace(seen, drift_px=(y, x)))
        result = replace(followed, t_published=self._clock.now())
        picture = unfollowed.picture
        return result, None if picture is None else followed_view(picture, result)


def _answer(
    follower: ResultFollower, parts: list[memoryview], counts: Counter[str]
) -> tuple[list[Buffer], View | None]:
    """Return what ingest is told of a message, nothing if it names no frame, and the picture to be shown."""
    try:
        result, picture = follower.finish(decode_unfollowed(parts))
    except MessageError as error:
        _log.warning("an unfollowed result cannot be read: %s", error)
        counts["failed"] += 1
        return _failure(parts, error), None
    counts["followed"] += 1
    return encode_result(result), picture


def _failure(parts: list[memoryview], error: MessageError) -> list[Buffer]:
    try:
        key, frame_id = name_of(parts)
    except MessageError:
        return []
    return encode_failure(FrameFailure(frame_id, key, f"{error.label}: {error}"))


@contextmanager
def _view_socket(context: Any, address: str) -> Iterator[Any]:
    with context.socket(zmq.PUB) as socket:
        socket.set(zmq.SNDHWM, _VIEW_QUEUE)
        socket.set(zmq.LINGER, _LINGER_MS)
        socket.connect(address)
        yield socket
