"""A real publisher on a real socket: views and statuses of a lattice whose counts change in time."""

import argparse
import math
import time
from dataclasses import dataclass

import msgspec
import numpy as np
import zmq

from streamer.records import COLUMN_DTYPE
from streamer.window_link import RunStatus, View, ViewHeader, encode_status, encode_view

SPACING_PX = 26.0
PIXEL_SIZE_A = 0.12
STARTED = time.time() - 499.0


@dataclass
class Particle:
    """A wedge-shaped particle on a square lattice, seen along a zone axis."""

    size: int = 512
    n_largest: int = 10
    seed: int = 0

    def columns(self, frame_id: int) -> np.ndarray:
        """Columns of one frame: a particle, thick in the middle, whose surface columns come and go."""
        half = self.size / 2 - 0.5
        reach = int(half // SPACING_PX)
        index = np.arange(-reach, reach + 1)
        j, i = np.meshgrid(index, index, indexing="ij")
        angle = math.radians(12)
        y = half + SPACING_PX * (math.cos(angle) * j - math.sin(angle) * i)
        x = half + SPACING_PX * (math.sin(angle) * j + math.cos(angle) * i)
        radius = np.hypot(j, i * 0.9) / (0.78 * reach)
        thickness = self.n_largest * np.sqrt(np.clip(1 - radius**2, 0, None))
        flicker = np.random.default_rng(self.seed).random(radius.shape)
        wave = np.sin(2 * np.pi * (flicker + frame_id / (60 + 80 * flicker)))
        counts = np.round(thickness + np.where(flicker > 0.8, 0.9 * wave, 0)).astype(int)
        keep = counts > 0
        columns = np.zeros(keep.sum(), COLUMN_DTYPE)
        columns["y"], columns["x"], columns["count"] = y[keep], x[keep], counts[keep]
        sure = np.where(flicker[keep] > 0.9, 0.45, 0.97)
        columns["probability"] = sure
        columns["detection"] = 0.99
        columns["track_id"] = np.flatnonzero(keep.ravel())
        columns["fused_count"] = np.maximum(np.round(thickness)[keep], 1)
        columns["fused_probability"] = np.where(sure > 0.5, 0.99, 0.7)
        return columns

    def denoised(self, columns: np.ndarray, size: int) -> np.ndarray:
        """Picture of shape (size, size): a Gaussian per column, as bright as its count."""
        grid = np.arange(size) * (self.size / size)
        wy = np.exp(-((grid[:, None] - columns["y"]) ** 2) / 2 / 5.0**2)
        wx = np.exp(-((grid[:, None] - columns["x"]) ** 2) / 2 / 5.0**2)
        picture = 0.16 + (wy * (0.25 + 0.05 * columns["count"])) @ wx.T
        return np.clip(255 * picture, 0, 255).astype(np.uint8)


def make_view(
    particle: Particle, frame_id: int, *, size: int = 512, series_id: int = 1, t: float | None = None
) -> View:
    """Make the view of one frame; `size` is that of the pictures."""
    rng = np.random.default_rng(frame_id)
    columns = particle.columns(frame_id)
    drift = 3 * math.sin(frame_id / 70), frame_id * 0.01
    clean = particle.denoised(columns, size)
    noise = rng.standard_normal(clean.shape, dtype=np.float32) * 46
    raw = np.clip(clean.astype(np.float32) * 0.6 + 40 + noise, 0, 255).astype(np.uint8)
    now = time.time() if t is None else t
    spread = columns["probability"] * (1 - columns["probability"])
    header = ViewHeader(
        series_id=series_id, frame_id=frame_id, height=particle.size, width=particle.size, view_height=size,
        view_width=size, bin_px=max(1, particle.size // size), raw_low=0.0, raw_high=14.0, denoised_low=0.6,
        denoised_high=1.9, pixel_size_A=PIXEL_SIZE_A, t_detector=now - 0.011, t_received=now - 0.010,
        t_published=now, total_atoms=float(columns["count"].sum()) + rng.normal(0, 1.2),
        total_atoms_std=float(np.sqrt(spread.sum())) + 1, drift_y_px=drift[0], drift_x_px=drift[1],
        ood_score=0.12 + 0.05 * math.sin(frame_id / 40), mean_counts=5.2 + rng.normal(0, 0.01),
        fused_atoms=float(columns["fused_count"].sum()), fused_atoms_std=2.5,
    )  # fmt: skip
    return View(header, raw, clean, columns)


def make_status(**fields: object) -> RunStatus:
    """Make a status of a run that goes well; `fields` replace its values."""
    now = time.time()
    usual = RunStatus(
        state="running", source="dectris2://127.0.0.1:31001", series_id=1, n_planned=0, received=12_480,
        recorded=12_480, analysed=12_478, skipped=0, missing=0, damaged=0, bad_messages=0,
        received_per_s=25.0, recorded_per_s=25.0, analysed_per_s=24.9, latency_p50_ms=38.2,
        latency_p99_ms=61.0, path="/data/2026-05-04/ceria_0007.nxs", bytes_written=3_432_000_000,
        bytes_free=812_000_000_000, backend="openvino CPU", note="", t=now, t_started=STARTED,
        t_first=STARTED + 60.0,
    )  # fmt: skip
    return msgspec.structs.replace(usual, **fields)


class Publisher:
    """A bound PUB socket, as the view hub's outer side is."""

    def __init__(self, address: str = "tcp://127.0.0.1:0") -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.XPUB)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.SNDHWM, 64)
        self._socket.setsockopt(zmq.XPUB_VERBOSE, 1)
        self._socket.bind(address)
        self.address = self._socket.getsockopt(zmq.LAST_ENDPOINT).decode()

    def wait_subscriber(self, timeout_s: float = 10.0) -> None:
        """Wait until a window has subscribed."""
        deadline = time.monotonic() + timeout_s
        while self._socket.poll(max(0, int(1000 * (deadline - time.monotonic())))):
            if self._socket.recv()[:1] == b"\x01":
                return
        raise TimeoutError("nobody subscribed")

    def send(self, message: View | RunStatus) -> None:
        """Publish a view or a status."""
        self.send_parts(encode_view(message) if isinstance(message, View) else encode_status(message))

    def send_parts(self, parts: list[bytes]) -> None:
        """Publish anything, well-formed or not."""
        self._socket.send_multipart(parts)

    def close(self) -> None:
        self._socket.close(0)
        self._context.term()

    def __enter__(self) -> "Publisher":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def main() -> None:
    """Publish until interrupted, for trying the window by hand."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", default="tcp://127.0.0.1:5599")
    parser.add_argument("--fps", type=float, default=25.0)
    parser.add_argument("--size", type=int, default=512)
    args = parser.parse_args()
    particle = Particle()
    with Publisher(args.address) as publisher:
        print(publisher.address)
        for frame_id in range(10**9):
            publisher.send(make_view(particle, frame_id, size=args.size))
            if frame_id % 12 == 0:
                publisher.send(make_status(received=frame_id, recorded=frame_id, analysed=frame_id))
            time.sleep(1 / args.fps)


if __name__ == "__main__":
    main()
