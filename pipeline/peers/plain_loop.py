"""The loop that most laboratories write: receive, decompress, normalise, run both networks, find peaks.

One thread, one frame after the other; nothing is recorded, nothing checked, nothing shown. The networks run
in OpenVINO, or in PyTorch, on a GPU where it finds one. It imports only packages, as such a script would; but
for what reads ONNX files into PyTorch, which can only write them.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
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


def in_torch(paths: list[str], side: int) -> Networks:
    """Read the networks into PyTorch: eager, float32."""
    import onnx
    import torch

    from pipeline.backends.torch_operators import read_graph

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    names = [tuple(output.name for output in onnx.load(path).graph.output) for path in paths]
    graphs = [read_graph(Path(path), device, outputs) for path, outputs in zip(paths, names, strict=True)]

    def run(frame: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        with torch.inference_mode():
            tensor = torch.from_numpy(frame).to(device)
            return tuple(output.cpu().numpy() for graph in graphs for output in graph(tensor))

    return run


ENGINES = {"openvino": in_openvino, "torch": in_torch}


def columns_of(outputs: tuple[NDArray[np.float32], ...]) -> int:
    """Return how many columns there are: local maxima of the column map with their most probable counts."""
    _, probability, logits = outputs
    peaks = (maximum_filter(probability[0, 0], 9) == probability[0, 0]) & (probability[0, 0] > 0.5)
    step = probability.shape[-1] // logits.shape[-1]
    y, x = np.nonzero(peaks)
    counts = logits[0][:, y // step, x // step].argmax(axis=0)
    return len(counts)


def main(address: str, side: int, n_frames: int, engine: str, paths: list[str]) -> None:
    """Receive a series and print how fast it went, from the second quarter on."""
    networks = ENGINES[engine](paths, side)
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
    where, side_px, frames, *rest = sys.argv[1:]
    main(where.replace("dectris2://", "tcp://"), int(side_px), int(frames), rest[0], rest[1:])
