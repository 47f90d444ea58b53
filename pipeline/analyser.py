"""The analyser: frames from ingest in, results back to ingest, pictures to windows.

One thread does everything but the networks. While the backend computes one batch and holds another, the next
is received, decoded and prepared; as soon as an answer is there that batch is started, and only then is the
finished one looked through (for columns, or particles) and its results sent. A frame that cannot be analysed
becomes a `FrameFailure` that says why.
"""

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from math import ceil
from typing import Any, Protocol

import zmq
from threadpoolctl import threadpool_limits

from pipeline.answers import Answers, make_answers, unfollowed_of
from pipeline.assembly import FrameAssembly
from pipeline.backends import Backend, NetworkOutput, start_backend
from pipeline.batching import BatchQueue
from pipeline.engine import Engine, Slot
from pipeline.intake import Incoming, Intake
from pipeline.particle_answers import ParticleAnswers
from pipeline.particle_networks import AnyNetworks, networks_of
from pipeline.prepare import prepare
from pipeline.station import Station
from pipeline.steady import Steadier
from pipeline.views import make_view
from pipeline.warm_up import expected_tile, warm_up
from pipeline.windows import Windows
from streamer import link, window_link
from streamer.clock import Clock, RunClock
from streamer.config import RunConfig
from streamer.errors import BackendError, DeviceLostError, MessageError, UsageError
from streamer.message_parts import Buffer
from streamer.records import AnalyserInfo, FrameFailure, FrameHeader, FrameResult
from streamer.unfollowed import encode_unfollowed
from streamer.worker import Control

__all__ = ["Pictures", "analyse", "results_queue", "run_analyser"]

_POLL_S = 0.1  # between two looks at whether the run is over
_GLANCE_S = 0.001  # between two looks at a batch that is being computed
_LINGER_MS = 1000
_VIEW_QUEUE = 2
_FAILED_BATCHES = 5  # in a row, after which the engine is taken to be broken

_log = logging.getLogger(__name__)


def run_analyser(
    control: Control,
    config: RunConfig,
    clock: RunClock,
    ingest_address: str,
    view_address: str,
    number: int = 1,
) -> None:
    """Analyse frames of this machine until `control` is asked to stop; a child process's main function.

    Parameters
    ----------
    control : Control
        Gets ``ready`` with what `AnalyserInfo` holds once the networks are loaded and warm, and at the end
        ``finished`` with counters.
    config : RunConfig
    clock : RunClock
        The run's.
    ingest_address : str
        Where ingest hands frames on and takes results back (DEALER here).
    view_address : str
        The view hub's inner address (XPUB here).
    number : int
        Which of the run's analysers this is, from 1: a replacement counts on.

    Raises
    ------
    BackendError, UsageError
        See `analyse`.
    """
    with (
        zmq.Context() as context,
        closing(Station(context, ingest_address, f"analyser-{number}", results_queue(config))) as station,
        _view_socket(context, view_address) as view,
    ):
        windows = Windows(view, config.view.rate_hz)
        control.finished(analyse(control, config, clock, station, windows, number))


def results_queue(config: RunConfig) -> int:
    """Return how many answers may be on their way to ingest."""
    return 2 * max(2, config.analysis.batch_frames)


class Pictures(Protocol):
    """Where pictures go: windows reached through the hub, or through ingest on another machine."""

    def want_picture(self, now_s: float) -> bool:
        """Whether somebody looks and a picture is due; if so, the next is due later."""

    def show(self, view: window_link.View) -> None:
        """Publish a picture, dropped where it is not taken."""


def analyse(
    control: Control,
    config: RunConfig,
    clock: Clock,
    station: Station,
    windows: Pictures,
    number: int = 1,
) -> dict[str, Any]:
    """Load the networks, join, and analyse until `control` is asked to stop or the run is over.

    Parameters
    ----------
    control : Control
        Told when the networks are loaded, with what `AnalyserInfo` holds.
    config : RunConfig
    clock : Clock
        The run's.
    station : Station
        The connection to ingest.
    windows : Pictures
    number : int
        As for `run_analyser`.

    Returns
    -------
    dict
        Counters, and ``over``: why ingest says the run is over, empty where the end was asked for otherwise.

    Raises
    ------
    BackendError
        If an engine or a network is missing or unfit, or fails on several batches in a row.
    UsageError
        If neither the stream nor the configuration says what a pixel's size is.
    """
    networks = networks_of(config.analysis)
    engines: list[Engine] = []  # the one of the backend that was tried last

    def load(backend: Backend) -> AnalyserInfo:
        engines[:] = [Engine(backend, config.analysis.batch_frames, networks.channels)]
        info = engines[0].load(expected_tile(config, networks))
        warm_up(engines[0], make_answers(config, clock, networks, backend, number), config, networks)
        return info

    backend, info = start_backend(config.analysis, networks, load, number)
    with (
        threadpool_limits(1, "blas"),  # threads of small products would fight the networks' for the cores
        closing(backend),
    ):
        engine = engines[0]
        answers = make_answers(config, clock, networks, backend, number)
        analyser = _Analyser(control, config, clock, station, windows, engine, networks, answers)
        info = replace(info, shapes=networks.shape_names)
        station.join(2 * config.analysis.batch_frames, link.encode_analyser(info))
        control.ready(**asdict(info))
        analyser.run()
        return analyser.summary()


@contextmanager
def _view_socket(context: Any, address: str) -> Iterator[Any]:
    with context.socket(zmq.XPUB) as socket:
        socket.set(zmq.RCVHWM, _VIEW_QUEUE)
        socket.set(zmq.SNDHWM, _VIEW_QUEUE)
        socket.set(zmq.LINGER, _LINGER_MS)
        socket.connect(address)
        yield socket


class _Analyser:
    """The loop between the sockets and the engine."""

    def __init__(
        self,
        control: Control,
        config: RunConfig,
        clock: Clock,
        station: Station,
        windows: Pictures,
        engine: Engine,
        networks: AnyNetworks,
        answers: Answers | ParticleAnswers,
    ) -> None:
        self._control, self._config, self._clock = control, config, clock
        self._station, self._engine, self._networks = station, engine, networks
        analysis = config.analysis
        threads = analysis.decode_threads or engine.device.decoders
        self._intake = Intake(station.next_task, engine.device, threads)
        self._queue: BatchQueue[Slot] = BatchQueue(analysis.batch_frames, analysis.max_wait_ms / 1000)
        self._answers = answers
        # Of several analysers each would measure against another first frame: the follower does.
        self._steadier = Steadier.of(analysis) if analysis.alone else None
        self._publish_frame = self._send_unfollowed if analysis.followed_apart else self._send_result
        self._windows = windows
        self._failed_batches = 0
        self._counts: Counter[str] = Counter()

    def run(self) -> None:
        """Work until the end is asked for; what is then on its way is nobody's any more."""
        with closing(self._intake):
            while not self._control.stopping() and not self._station.over:
                self._receive()
                self._advance()

    def summary(self) -> dict[str, Any]:
        """Return counters for the run's summary, and why ingest says the run is over, if it does."""
        return {**self._counts, "network_loads": self._engine.loads, "over": self._station.over}

    def send(self, parts: list[Buffer]) -> None:
        """Send to ingest; waits while its queue is full, until the run is over."""
        self._station.send(parts, self._control.stopping)

    def _receive(self) -> None:
        """Fetch and prepare frames until a batch is full or due, or, while one is computed, none is there."""
        while not self._queue.full and (incoming := self._intake.next(self._patience_ms())):
            self._take(incoming)

    def _patience_ms(self) -> int:
        if self._engine.full or self._engine.ready or self._control.stopping():
            return 0
        patience_s = min(_POLL_S, self._queue.closes_in_s(self._clock.now()))
        return ceil(1000 * (min(patience_s, _GLANCE_S) if self._engine.busy else patience_s))

    def _take(self, incoming: Incoming) -> None:
        task = incoming.task
        if isinstance(task, MessageError):
            self._counts["strange_tasks"] += 1
            _log.warning("a task from ingest cannot be read: %s", task)
            return
        try:
            sizes_A = self._pixel_size_A(task), self._networks.pixel_size_A
            with self._engine.device.guard("preparing a frame"):
                prepared = prepare(task, *sizes_A, self._engine.device, incoming.pixels)
                if self._steadier is not None:
                    prepared = self._steadier.steady(prepared)
        except MessageError as error:
            self._fail(task.frame.header, f"{error.label}: {error}")
            return
        except BackendError as error:
            self._fail(task.frame.header, f"backend: {error}")
            self._count_failure(error)
            return
        frame = FrameAssembly(prepared)
        frame.t_decoded = self._clock.now()
        for tile in frame.tiles:
            self._queue.add(Slot(frame, tile), tile.shape, frame.t_decoded)

    def _pixel_size_A(self, task: link.Task) -> float:
        size = self._config.source.pixel_size_A or task.pixel_size_A
        if size is None and self._config.analysis.backend != "null":
            raise UsageError(
                "the stream does not say how large a pixel is at the specimen, and the networks cannot count"
                " atoms without it: give it with --pixel-size-A"
            )
        return size or self._networks.pixel_size_A

    def _advance(self) -> None:
        """Start the next batch if it is due and there is room; else finish the oldest, start, then publish.

        While there is room nothing waits for the oldest: a frame that comes meanwhile is computed beside it.
        Loading the networks for another shape needs an idle engine and ends the validity of its answers.
        """
        due = self._queue.closes_in_s(self._clock.now()) == 0
        fits = due and self._engine.fits(self._queue.next_shape)
        if fits and not self._engine.full:
            self._start(self._queue.take())
        elif self._engine.busy and (due or self._engine.full or self._engine.ready):
            done, answer = self._engine.finish()
            t_computed = self._clock.now()
            if fits:
                self._start(self._queue.take())
            self._publish(done, answer, t_computed)
        elif due:
            self._start(self._queue.take())

    def _start(self, slots: list[Slot]) -> None:
        now = self._clock.now()
        for slot in slots:
            slot.frame.t_batched = now
        try:
            self._engine.start(slots)
        except BackendError as error:
            self._give_up(slots, error)

    def _give_up(self, slots: list[Slot], error: BackendError) -> None:
        """Fail a batch's frames."""
        for frame in {id(slot.frame): slot.frame for slot in slots if not slot.frame.failed}.values():
            frame.failed = True
            self._fail(frame.prepared.header, f"backend: {error}")
        self._count_failure(error)

    def _count_failure(self, error: BackendError) -> None:
        """Go on after a batch was given up; not after too many in a row, nor without a GPU."""
        self._failed_batches += 1
        self._counts["failed_batches"] += 1
        if self._counts["failed_batches"] <= _FAILED_BATCHES:  # the ledger names every frame
            _log.warning("%s", error)
        if self._failed_batches >= _FAILED_BATCHES or isinstance(error, DeviceLostError):
            raise error

    def _fail(self, header: FrameHeader, reason: str) -> None:
        self._counts["failed"] += 1
        self.send(link.encode_failure(FrameFailure.of(header, reason)))

    def _publish(self, slots: list[Slot], answer: NetworkOutput | BackendError, t_computed: float) -> None:
        if isinstance(answer, BackendError):
            self._give_up(slots, answer)
            return
        try:
            with self._engine.device.guard("reading an answer"):
                self._publish_all(slots, answer, t_computed)
        except BackendError as error:
            self._give_up([slot for slot in slots if not slot.frame.published], error)
            return
        self._failed_batches = 0
        self._counts["batches"] += 1

    def _publish_all(self, slots: list[Slot], answer: NetworkOutput, t_computed: float) -> None:
        found = self._answers.find(answer, len(slots), self._engine.device.xp)
        for place, slot in enumerate(slots):
            slot.frame.t_computed = t_computed
            if not slot.frame.failed and slot.frame.put(slot.tile, answer, place, found[place]):
                self._publish_frame(slot.frame)

    def _send_result(self, frame: FrameAssembly) -> None:
        """Send a complete frame's result, then its picture if one is due: save first, show second."""
        result = self._answers.answer(frame)
        self.send(link.encode_result(result))
        self._note_published(frame)
        if self._windows.want_picture(self._clock.now()):
            self._windows.show(self._view(frame, result))

    def _send_unfollowed(self, frame: FrameAssembly) -> None:
        """Send a complete frame's result, and its picture if one is due, for the follower to finish."""
        result = self._answers.answer(frame)
        wanted = self._windows.want_picture(self._clock.now())
        picture = self._view(frame, result) if wanted else None
        self.send(encode_unfollowed(unfollowed_of(frame, result, picture)))
        self._note_published(frame)

    def _note_published(self, frame: FrameAssembly) -> None:
        self._counts["analysed"] += 1
        frame.published = True

    def _view(self, frame: FrameAssembly, result: FrameResult) -> window_link.View:
        size_px = self._config.view.size_px
        return make_view(frame.prepared, frame.denoised, result, size_px, self._networks.shape_names)
