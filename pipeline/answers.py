"""What the analysis says of a frame whose networks' answer is complete."""

from dataclasses import replace
from math import nan
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.assembly import FrameAssembly, find_in_batch
from pipeline.backends import Backend, NetworkOutput
from pipeline.calibration import calibration_for
from pipeline.columns import ColumnHeights
from pipeline.familiarity import Trained, terms_of
from pipeline.follower import Followed, Follower
from pipeline.maps import atom_count_map, to_frame_grid
from pipeline.networks import Networks
from pipeline.particle_answers import ParticleAnswers
from pipeline.particle_networks import AnyNetworks, ParticleNetworks
from pipeline.prepare import PreparedFrame
from pipeline.preprocess import to_host
from streamer.clock import Clock
from streamer.config import RunConfig
from streamer.records import FrameResult, SeriesKey

__all__ = ["TRACKS_OF_AN_ANALYSER", "Answers", "make_answers"]

TRACKS_OF_AN_ANALYSER = 1_000_000_000
"""An analyser that replaces another begins anew, with ids from here on: no id of a run means two columns."""


def make_answers(
    config: RunConfig, clock: Clock, networks: AnyNetworks, backend: Backend, number: int
) -> "Answers | ParticleAnswers":
    """Return what makes results of the answers of these networks; see `Answers` and `ParticleAnswers`."""
    if isinstance(networks, ParticleNetworks):
        return ParticleAnswers(config, clock, networks, backend.classify)
    return Answers(config, clock, networks, number)


class Answers:
    """Makes results, and remembers of each series what they need: the columns that are followed.

    Parameters
    ----------
    config : RunConfig
    clock : Clock
        The run's.
    networks : Networks
        What they were trained for decides what is unfamiliar; beside them lies how counts are fused.
    number : int
        Which of the run's analysers this is, from 1.

    Raises
    ------
    BackendError
        If the calibration beside the networks is none.
    """

    def __init__(self, config: RunConfig, clock: Clock, networks: Networks, number: int = 1) -> None:
        self._maps_every = config.record.maps_every if config.record.path else 0
        analysis = config.analysis
        self._follows = analysis.follow and analysis.alone and analysis.backend != "null"
        self._average_frames = analysis.average_frames
        self._calibration = calibration_for(networks)
        self._first_id = (number - 1) * TRACKS_OF_AN_ANALYSER
        self._max_count = networks.max_count
        self._scale_A, self._threshold = networks.pixel_size_A, analysis.detection_threshold
        self._clock = clock
        self._trained = Trained.of(networks)
        self._judges = config.analysis.backend != "null"
        self._series: SeriesKey | None = None
        self._follower: Follower | None = None

    def find(self, output: NetworkOutput, n_slots: int, xp: ModuleType) -> list[ColumnHeights]:
        """Find the columns in the first `n_slots` places of a batch, while `output` may still be read."""
        return find_in_batch(output, n_slots, self._scale_A, self._threshold, xp)

    def answer(self, frame: FrameAssembly) -> FrameResult:
        """Return the result of a complete frame."""
        prepared, heights = frame.prepared, frame.heights()
        header = prepared.header
        self._begin_series(header.key)
        followed = self._followed(prepared, heights)
        denoised, atoms = self._maps(frame, heights.table)
        return FrameResult(
            frame_id=header.frame_id,
            key=header.key,
            columns=heights.table,
            total_atoms=heights.total_atoms,
            total_atoms_std=heights.total_atoms_std,
            t_received=prepared.t_received,
            t_analysed=frame.t_computed,
            t_published=self._clock.now(),
            drift_px=followed.drift_px if followed else prepared.drift_px,
            ood_score=self._unfamiliarity(frame, heights.table),
            denoised=denoised,
            atom_count=atoms,
            t_decoded=frame.t_decoded,
            t_batched=frame.t_batched,
            **_fused(followed),
        )

    def follow(self, result: FrameResult, prepared: PreparedFrame, heights: ColumnHeights) -> FrameResult:
        """Return a result that was made without following, with what following its columns says.

        `heights` are the result's columns; what is found out is written into their table.
        """
        self._begin_series(result.key)
        followed = self._followed(prepared, heights)
        drift_px = followed.drift_px if followed else prepared.drift_px
        return replace(result, drift_px=drift_px, **_fused(followed))

    def _begin_series(self, key: SeriesKey) -> None:
        if key != self._series:
            self._series, self._follower = key, None

    def _followed(self, prepared: PreparedFrame, heights: ColumnHeights) -> Followed | None:
        """Follow the frame's columns, and write into their table what came out."""
        if not self._follows:
            return None
        if self._follower is None:
            self._follower = Follower(
                self._max_count, prepared.pixel_size_A, self._first_id, self._average_frames - 1
            )
        model = self._calibration.at(prepared.noise).for_average_of(self._average_frames)
        followed = self._follower.follow(
            heights.table, heights.probabilities, prepared.drift_px, prepared.header.shape, model
        )
        heights.table["track_id"] = followed.track_id
        heights.table["fused_count"] = followed.count
        heights.table["fused_probability"] = followed.probability
        return followed

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


def _fused(followed: Followed | None) -> dict[str, Any]:
    if followed is None:
        return {}
    return {
        "fused_atoms": followed.atoms,
        "fused_atoms_std": followed.atoms_std,
        "changes": followed.changes,
    }
