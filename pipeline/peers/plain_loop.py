"""The loop that most laboratories write: receive, decompress, normalise, run both networks, find peaks.

One thread, one frame after the other; nothing is recorded, nothing checked, nothing shown. It imports only
packages, as such a script would. The networks run in OpenVINO.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import cbor2
import numpy as np
import zmq
from dectris.compression import decompress
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter

Networks = Callable[[NDArray[np.float32]], tuple[NDArray[np.float32], ...]]


def image_of(tag: cbor2.CBORTag) -> NDArray[Any]:
    """Read an image as DECTRIS's example client does: a multi-dimensional, typed, compressed array."""
    shape, typed = tag.value
    payload = typed.value
    if isinstance(payload, cbor2.CBORTag):
        algorithm, size, body = payload.value
        payload = decompress(body, algorithm, elem_size=size)
    return np.frombuffer(payload, "<u2").reshape(shape)


def in_openvino(paths: list[str], side: int) -> Networks:
    """Compile the networks with OpenVINO's defaults."""
    import openvino as ov

    core = ov.Core()
    compiled = []
    for path in paths:
        model = core.read_model(path)
        model.reshape([1, 2, side, side])
        compiled.append(core.compile_model(model, "CPU", {"PERFORMANCE_HINT": "LATENCY"}))

    def run(frame: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        return tuple(output for network in compiled for output in network(frame).values())

    return run


def columns_of(outputs: tuple[NDArray[np.float32], ...]) -> int:
    """Return how many columns there are: local maxima of the column map with their most probable counts."""
    _, probability, logits = outputs
    peaks = (maximum_filter(probability[0, 0], 9) == probability[0, 0]) & (probability[0, 0] > 0.5)
    step = probability.shape[-1] // logits.shape[-1]
    y, x = np.nonzero(peaks)
    counts = logits[0][:, y // step, x // step].argmax(axis=0)
    return len(counts)


def main(address: str, side: int, n_frames: int, paths: list[str]) -> None:
    """Receive a series and print how fast it went, from the second quarter on."""
    networks = in_openvino(paths, side)
    networks(np.zeros((1, 2, side, side), np.float32))
    socket = zmq.Context().socket(zmq.PULL)
    socket.connect(address)
    print("listening", flush=True)
    times: list[float] = []
    while len(times) < n_frames:
        message = cbor2.loads(socket.recv())
        if message["type"] != "image":
            continue
        image = image_of(next(iter(message["data"].values()))).astype(np.float32)
        normalised = (image - image.mean()) / (image.std() + 1e-6)
        columns_of(
            networks(np.stack([normalised, np.full_like(image, 0.5)])[None])
        )  # and a guess of the noise
        times.append(time.perf_counter())
    first = n_frames // 4
    took = times[-1] - times[first]
    print(json.dumps({"frames": n_frames - 1 - first, "seconds": took}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1].replace("dectris2://", "tcp://"), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
