"""What the analysis says of a frame whose particles are found and classified."""

from collections.abc import Callable
from math import nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.assembly import FrameAssembly
from pipeline.backends import NetworkOutput
from pipeline.familiarity import noise_range, noise_term
from pipeline.maps import to_frame_grid
from pipeline.particle_networks import ParticleNetworks
from pipeline.particles import FoundParticles, find_particles, ndimage_for
from pipeline.patches import cut_patches, in_all_orientations, mean_of_orientations, without_neighbours
from pipeline.prepare import PreparedFrame
from pipeline.preprocess import Array, to_host
from streamer.clock import Clock
from streamer.config import RunConfig
from streamer.errors import UsageError
from streamer.records import COLUMN_DTYPE, NO_PARTICLES, PARTICLE_DTYPE, FrameResult

__all__ = ["Classify", "ParticleAnswers", "particle_rows"]

Classify = Callable[[Any], NDArray[np.float32]]
"""From patches (n, 1, 128, 128) to logits (n, K): `pipeline.backends.Backend.classify`."""

_OF_COLUMNS = ("total_atoms", "n_columns", "region_atoms", "column_count")


class ParticleAnswers:
    """Makes results with particles and without columns.

    Parameters
    ----------
    config : RunConfig
    clock : Clock
        The run's.
    networks : ParticleNetworks
    classify : callable
        See `Classify`.

    Raises
    ------
    UsageError
        If a trigger watches columns.
    """

    def __init__(
        self, config: RunConfig, clock: Clock, networks: ParticleNetworks, classify: Classify
    ) -> None:
        _expect_no_columns_watched(config)
        self._maps_every = config.record.maps_every if config.record.path else 0
        self._size_nm = config.analysis.particle_size_nm
        self._judges = config.analysis.backend != "null"
        self._noise = noise_range(networks.dose_range_e_per_A2, networks.pixel_size_A)
        self._clock, self._networks, self._classify = clock, networks, classify
        self._ndimage: Any = None

    def find(self, output: NetworkOutput, n_slots: int, xp: Any) -> list[None]:
        """Find nothing yet: particles are looked for in whole frames, not in tiles."""
        return [None] * n_slots

    def answer(self, frame: FrameAssembly) -> FrameResult:
        """Return the result of a complete frame."""
        prepared = frame.prepared
        header = prepared.header
        return FrameResult(
            frame_id=header.frame_id,
            key=header.key,
            columns=np.empty(0, COLUMN_DTYPE),
            total_atoms=nan,
            total_atoms_std=nan,
            particles=self._particles(frame),
            t_received=prepared.t_received,
            t_analysed=frame.t_computed,
            t_published=self._clock.now(),
            drift_px=prepared.drift_px,
            ood_score=noise_term(prepared.noise, self._noise) if self._judges and self._noise else nan,
            denoised=self._map(frame),
            t_decoded=frame.t_decoded,
            t_batched=frame.t_batched,
        )

    def _particles(self, frame: FrameAssembly) -> NDArray[np.void]:
        prepared, xp = frame.prepared, frame.prepared.xp
        if self._ndimage is None:
            self._ndimage = ndimage_for(xp)
        sizes = prepared.pixel_size_A * prepared.scale[0], self._networks.pedestal_per_A, self._size_nm
        found = find_particles(frame.denoised, *sizes, xp, self._ndimage)
        if not len(found):
            return NO_PARTICLES
        logits = mean_of_orientations(self._classify(in_all_orientations(self._patches(frame, found), xp)))
        return particle_rows(found, logits, self._networks.shapes.unsure_below, prepared)

    def _patches(self, frame: FrameAssembly, found: FoundParticles) -> Array:
        prepared, binning = frame.prepared, self._networks.binning
        picture, xp = frame.denoised, prepared.xp
        if self._networks.shapes.patch_of == "frame":
            height, width = picture.shape
            return cut_patches(prepared.frame[0, :height, :width], found.y, found.x, binning, 0.0, xp)
        patches = cut_patches(picture, found.y, found.x, binning, xp=xp)
        return without_neighbours(patches, found, binning, xp=xp)

    def _map(self, frame: FrameAssembly) -> NDArray[np.float16] | None:
        """Return the restored frame in its own pixels, if it is one of every n-th to be stored."""
        header, xp = frame.prepared.header, frame.prepared.xp
        if not self._maps_every or header.frame_id % self._maps_every:
            return None
        stored: NDArray[np.float16] = to_host(
            to_frame_grid(frame.denoised, header.shape, xp).astype(np.float16), xp
        )
        return stored


def particle_rows(
    found: FoundParticles, logits: NDArray[np.float32], unsure_below: float, prepared: PreparedFrame
) -> NDArray[np.void]:
    """Return the table of a frame's particles, in its own pixels and in nm.

    Parameters
    ----------
    found : FoundParticles
        In pixels of the networks.
    logits : numpy.ndarray of float32, shape (n, K)
        Calibrated.
    unsure_below : float
        Probability below which no shape is said.
    prepared : PreparedFrame
        The frame they were found in.

    Returns
    -------
    numpy.ndarray of PARTICLE_DTYPE, shape (n,)
    """
    rows = np.zeros(len(found), PARTICLE_DTYPE)
    scale, pixel_nm = prepared.scale, prepared.pixel_size_A / 10
    picture_nm = pixel_nm * float(np.sqrt(scale[0] * scale[1]))
    rows["y"], rows["x"] = found.y * scale[0], found.x * scale[1]
    rows["centre"] = np.stack([rows["y"], rows["x"]], axis=1) * pixel_nm
    rows["size"] = np.sqrt(4 / np.pi * found.area) * picture_nm
    rows["area"], rows["axes"] = found.area * picture_nm**2, found.axes * picture_nm
    rows["touches_border"], rows["outline"] = found.touches_border, found.outline * np.array(scale)
    probabilities = _softmax(logits)
    best = probabilities.argmax(axis=1)
    rows["shape"] = np.where(probabilities.max(axis=1) < unsure_below, -1, best)
    rows["shape_probabilities"] = np.nan
    rows["shape_probabilities"][:, : logits.shape[1]] = probabilities
    return rows


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


def _expect_no_columns_watched(config: RunConfig) -> None:
    for trigger in config.trigger:
        if trigger.when in _OF_COLUMNS:
            raise UsageError(
                f"trigger {trigger.name!r} watches {trigger.when}, but with material"
                f" {config.analysis.material!r} particles are classified and no columns counted: remove it,"
                " or choose another material"
            )
