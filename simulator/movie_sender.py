"""The movie as a stream, from a process of its own: what a demonstration takes for its detector."""

from collections.abc import Callable, Generator
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from simulator.demo_states import load_states
from simulator.movie import Movie, MovieSettings
from simulator.sender import SenderSettings, send_stream
from simulator.truth import TruthWriter
from streamer.flag import SharedFlag
from streamer.worker import Control

__all__ = ["MovieStream", "run_movie", "stream_movie"]

_BEGIN_CHECK_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class MovieStream:
    """What is sent: a movie of `n_frames` (0: without end), and where its truth goes (empty: nowhere)."""

    movie: MovieSettings = field(default_factory=MovieSettings)
    sending: SenderSettings = field(default_factory=SenderSettings)
    n_frames: int = 0
    truth: str = ""


def run_movie(control: Control, stream: MovieStream, begin: SharedFlag) -> None:
    """Send a movie once `begin` is set: a target for `streamer.worker.Worker`.

    Ready, with the source's `address`, as soon as it is bound and its images are computed; the summary is
    `simulator.sender.SentCounts` as a dictionary.
    """

    def wait() -> None:
        while not begin.wait(_BEGIN_CHECK_S):
            if control.stopping():
                raise _NeverBegan

    try:
        control.finished(stream_movie(control, stream, wait))
    except _NeverBegan:
        control.finished({"frames": 0})


def stream_movie(
    control: Control, stream: MovieStream, wait: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Send a movie from this process; returns the counts. `wait` is called before the first frame."""
    movie = Movie(stream.movie, load_states(stream.movie.material))
    pixel_size_A, about = movie.states.pixel_size_A, _about(stream)
    sending = replace(stream.sending, n_planned=stream.n_frames, pixel_size_A=pixel_size_A, extra=about)

    def bound(endpoint: str) -> None:
        control.ready(address=f"{sending.scheme}://{endpoint.removeprefix('tcp://')}")
        wait()

    with closing(_frames(movie, stream)) as frames:
        return asdict(send_stream(frames, sending, control.stopping, bound))


class _NeverBegan(Exception):
    """The end was asked for before the first frame."""


def _frames(movie: Movie, stream: MovieStream) -> Generator[NDArray[Any]]:
    """Film, and write the truth down; its file is made with the first frame."""
    with TruthWriter(Path(stream.truth), movie) if stream.truth else nullcontext() as truth:
        for frame in islice(movie, stream.n_frames or None):
            if truth is not None:
                truth.append(frame)
            yield frame.image


def _about(stream: MovieStream) -> dict[str, Any]:
    return {"detector_description": "atomstream simulator", "movie": asdict(stream.movie)}
