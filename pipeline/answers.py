"""What the analysis says of a frame whose networks' answer is complete."""

from math import nan

import numpy as np
from numpy.typing import NDArray

from pipeline.assembly import FrameAssembly
from pipeline.drift import DriftMeter
from pipeline.familiarity import Trained, terms_of
from pipeline.maps import atom_count_map, to_frame_grid
from pipeline.networks import Networks
from pipeline.preprocess import to_host
from streamer.clock import RunClock
from streamer.config import RunConfig
from streamer.records import FrameResult, SeriesKey

__all__ = ["Answers"]


class Answers:
    """Makes results, and remembers of each series what they need: its first frame, for the drift.

    Parameters
    ----------
    config : RunConfig
    clock : RunClock
        The run's.
    networks : Networks
        What they were trained for decides what is unfamiliar.
    """

    def __init__(self, config: RunConfig, clock: RunClock, networks: Networks) -> None:
        self._maps_every = config.record.maps_every if config.record.path else 0
        self._measures_drift = config.analysis.analysers == 1
        self._clock = clock
        self._trained = Trained.of(networks)
        self._judges = config.analysis.backend != "null"
        self._series: SeriesKey | None = None
        self._drift = DriftMeter()

    def answer(self, frame: FrameAssembly) -> FrameResult:
        """Return the result of a complete frame."""
        prepared, heights = frame.prepared, frame.heights()
        header = prepared.header
        drift_px = self._drift_px(header.key, frame)
        denoised, atoms = self._maps(frame, heights.table)
        now = self._clock.now()
        return FrameResult(
            frame_id=header.frame_id,
            key=header.key,
            columns=heights.table,
            total_atoms=heights.total_atoms,
            total_atoms_std=heights.total_atoms_std,
            t_received=prepared.t_received,
            t_analysed=now,
            t_published=now,
            drift_px=drift_px,
            ood_score=self._unfamiliarity(frame, heights.table),
            denoised=denoised,
            atom_count=atoms,
        )

    def _drift_px(self, key: SeriesKey, frame: FrameAssembly) -> tuple[float, float]:
        """Return the drift in pixels of the frame; several analysers would disagree on the first frame."""
        if not self._measures_drift:
            return nan, nan
        if key != self._series:
            self._series, self._drift = key, DriftMeter()
        y, x = self._drift.shift_px(frame.denoised, frame.prepared.xp)
        scale = frame.prepared.scale
        return y * scale[0], x * scale[1]

    def _unfamiliarity(self, frame: FrameAssembly, columns: NDArray[np.void]) -> float:
        if not self._judges:
            return nan
        return terms_of(frame.prepared, frame.denoised, frame.peaks, columns, self._trained).score

    def _maps(
        self, frame: FrameAssembly, columns: NDArray[np.void]
    ) -> tuple[NDArray[np.float16] | None, NDArray[np.float16] | None]:
        """Return the maps to be stored with this frame, in its own pixels, if it is one of every n-th."""
        header = frame.prepared.header
        if not self._maps_every or header.frame_id % self._maps_every:
            return None, None
        xp = frame.prepared.xp
        denoised = to_frame_grid(frame.denoised, header.shape, xp).astype(np.float16)
        return to_host(denoised, xp), atom_count_map(columns, header.shape, frame.prepared.pixel_size_A)
