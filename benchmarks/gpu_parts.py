"""What `benchmarks.gpu` measures of one loaded backend."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from pipeline.backends import Backend
from pipeline.networks import Networks
from training.network_cost import network_cost

__all__ = ["ceilings", "engine_alone", "one_by_one", "pipelined", "rate", "roofline"]

WARM_UP = 20
_SIDE = 8192  # of the matrices whose product is timed: 1.1 TFLOP, milliseconds on a large GPU
_SIDE_ON_CPU = 512
_REPEATS = 10


def pipelined(backend: Backend, batch: Any) -> Callable[[], None]:
    """Return a call that collects one batch and starts the next, so that two are in flight."""
    backend.submit(batch)

    def step() -> None:
        backend.submit(batch)
        backend.collect()

    return step


def one_by_one(backend: Backend, batch: Any) -> Callable[[], None]:
    """Return a call that starts a batch and waits for it."""

    def step() -> None:
        backend.submit(batch)
        backend.collect()

    return step


def engine_alone(backend: Any) -> Callable[[], None] | None:
    """Return a call that runs both networks once and waits; None if the backend has no graph to launch."""
    turns = getattr(backend, "_turns", None)
    if turns and (graph := getattr(turns[0], "graph", None)) is not None:
        stream = backend._compute  # noqa: SLF001  the benchmark looks inside

        def step() -> None:
            graph.launch(stream)
            stream.synchronize()

        return step
    answer = getattr(backend, "_answer", None)
    if (graph := getattr(answer, "_graph", None)) is None:
        return None
    torch, stream = answer._torch, answer._stream  # noqa: SLF001

    def replay() -> None:
        with torch.cuda.stream(stream):
            graph.replay()
        stream.synchronize()

    return replay


def rate(step: Callable[[], None], batch_frames: int, seconds: float) -> dict[str, float]:
    """Return frames a second and percentiles of the time of a batch [ms]."""
    for _ in range(max(1, min(WARM_UP, round(WARM_UP * seconds)))):
        step()
    times_ms = np.array(list(_timed(step, seconds)))
    p50, p99, p999 = np.percentile(times_ms, (50, 99, 99.9))
    return {
        "frames_per_s": len(times_ms) * batch_frames / (times_ms.sum() / 1000),
        "p50_ms": float(p50), "p99_ms": float(p99), "p99.9_ms": float(p999), "batches": len(times_ms),
    }  # fmt: skip


def _timed(step: Callable[[], None], seconds: float) -> Iterator[float]:
    end = time.perf_counter() + seconds
    while (started := time.perf_counter()) < end:
        step()
        yield 1000 * (time.perf_counter() - started)


def ceilings(backend: Any) -> dict[str, float]:
    """Return what the device was seen to do: a matrix product [TFLOP/s] and a copy, read and write [GB/s].

    In the precision of the networks on a GPU (float16, or PyTorch's); in float32 by NumPy elsewhere. Where
    clocks depend on the load this is a better ceiling than a data sheet's.
    """
    if (torch := getattr(getattr(backend, "_answer", None), "_torch", None)) is not None:
        make = lambda n: torch.ones((n, n), dtype=torch.float16, device=backend._device)  # noqa: E731, SLF001
        return _ceilings(make, torch.matmul, lambda a: a.clone(), torch.cuda.synchronize, _SIDE)
    xp = backend.device.xp
    if xp is np:
        return _ceilings(lambda n: np.ones((n, n), np.float32), np.matmul, np.copy, _nothing, _SIDE_ON_CPU)
    wait = xp.cuda.get_current_stream().synchronize
    return _ceilings(lambda n: xp.ones((n, n), xp.float16), xp.matmul, xp.copy, wait, _SIDE)


def _nothing() -> None:
    """Wait for nothing: NumPy returns when it is done."""


def _ceilings(make: Any, multiply: Any, copy: Any, wait: Callable[[], Any], side: int) -> dict[str, float]:
    matrix = make(side)
    product_s = _seconds(lambda: multiply(matrix, matrix), wait)
    n_bytes = matrix.nbytes
    return {
        "TFLOP_per_s": 2 * side**3 / product_s / 1e12,
        "GB_per_s": 2 * n_bytes / _seconds(lambda: copy(matrix), wait) / 1e9,
    }


def _seconds(action: Callable[[], Any], wait: Callable[[], Any]) -> float:
    """Return the time of one of several in a row, after one to warm up."""
    action()
    wait()
    started = time.perf_counter()
    for _ in range(_REPEATS):
        action()
    wait()
    return (time.perf_counter() - started) / _REPEATS


def roofline(
    networks: Networks, shape: tuple[int, ...], frames_per_s: float, most: dict[str, float]
) -> dict[str, float]:
    """Return what the networks cost a frame, what that is a second, and which share of the device's most.

    The bound is the ceiling that this many operations a byte can reach. An engine that fuses layers moves
    less than is counted, so its share may exceed 1 where the memory is the bound.
    """
    cost = [network_cost(f.path, *shape) for f in (networks.denoise, networks.heights)]
    flops, values = (sum(part) for part in zip(*cost, strict=True))
    n_bytes = 2 * values
    bound = min(most["TFLOP_per_s"], most["GB_per_s"] * flops / n_bytes / 1000)
    return {
        "GFLOP_per_frame": flops / 1e9,
        "half_precision_MB_per_frame": n_bytes / 1e6,
        "FLOP_per_byte": flops / n_bytes,
        "TFLOP_per_s": flops * frames_per_s / 1e12,
        "GB_per_s": n_bytes * frames_per_s / 1e9,
        "bound_TFLOP_per_s": bound,
        "share_of_bound": flops * frames_per_s / 1e12 / bound,
    }
