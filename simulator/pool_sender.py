"""Sends a few frames of the movie over and over, made beforehand: a source that costs nothing."""

import itertools
from collections.abc import Iterator
from dataclasses import asdict, replace

from simulator.demo_states import load_states
from simulator.movie import Movie
from simulator.movie_sender import MovieStream
from simulator.sender import EncodedFrame, encode_frame, send_stream
from streamer.flag import SharedFlag
from streamer.worker import Control

__all__ = ["pool_of", "run_pool"]

_BEGIN_CHECK_S = 0.05


def pool_of(stream: MovieStream, n_frames: int) -> tuple[list[EncodedFrame], float]:
    """Film and compress the movie's first frames; return them with the size of their pixels [Å]."""
    movie = Movie(stream.movie, load_states(stream.movie.material))
    frames = itertools.islice(movie, n_frames)
    return [encode_frame(f.image, stream.sending.compression) for f in frames], movie.states.pixel_size_A


def run_pool(control: Control, stream: MovieStream, n_pool: int, begin: SharedFlag) -> None:
    """Send `stream.n_frames` frames out of `n_pool` once `begin` is set: a target for a `Worker`.

    Ready, with the source's `address`, as soon as it is bound and its frames are made; the summary is
    `simulator.sender.SentCounts` as a dictionary.
    """
    pool, pixel_size_A = pool_of(stream, n_pool)
    sending = replace(stream.sending, n_planned=stream.n_frames, pixel_size_A=pixel_size_A)

    def bound(endpoint: str) -> None:
        control.ready(address=f"{sending.scheme}://{endpoint.removeprefix('tcp://')}")
        while not begin.wait(_BEGIN_CHECK_S) and not control.stopping():
            pass

    def frames() -> Iterator[EncodedFrame]:
        return itertools.islice(itertools.cycle(pool), stream.n_frames)

    control.finished(asdict(send_stream(frames(), sending, control.stopping, bound)))
