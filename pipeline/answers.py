"""What the analysis says of a frame whose networks' answer is complete."""

from dataclasses import replace
from math import nan
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from pipeline.assembly import FrameAssembly, find_in_batch
from pipeline.backends import Backend, NetworkOutput
from pipeline.columns import ColumnHeights
from pipeline.familiarity import Trained, terms_of
from pipeline.following import Following
from pipeline.maps import atom_count_map, to_frame_grid
from pipeline.networks import Networks
from pipeline.particle_answers import ParticleAnswers
from pipeline.particle_networks import AnyNetworks, ParticleNetworks
from pipeline.preprocess import to_host
from pipeline.steady import binned_frame
from streamer.clock import Clock
from streamer.config import RunConfig
from streamer.records import FrameResult
from streamer.unfollowed import Seen, Unfollowed
from streamer.window_link import View

__all__ = ["Answers", "make_answers", "seen_in", "unfollowed_of"]


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
        self._following = Following(analysis, networks, number) if analysis.alone else None
        self._scale_A, self._threshold = networks.pixel_size_A, analysis.detection_threshold
        self._clock = clock
        self._trained = Trained.of(networks)
        self._judges = config.analysis.backend != "null"

    def find(self, output: NetworkOutput, n_slots: int, xp: ModuleType) -> list[ColumnHeights]:
        """Find the columns in the first `n_slots` places of a batch, while `output` may still be read."""
        return find_in_batch(output, n_slots, self._scale_A, self._threshold, xp)

    def answer(self, frame: FrameAssembly) -> FrameResult:
        """Return the result of a complete frame."""
        prepared, heights = frame.prepared, frame.heights()
        header = prepared.header
        denoised, atoms = self._maps(frame, heights.table)
        unfamiliarity = self._unfamiliarity(frame, heights.table)
        result = FrameResult(
            frame_id=header.frame_id,
            key=header.key,
            columns=heights.table,
            total_atoms=heights.total_atoms,
            total_atoms_std=heights.total_atoms_std,
            t_received=prepared.t_received,
            t_analysed=frame.t_computed,
            t_published=self._clock.now(),
            drift_px=prepared.drift_px,
            ood_score=unfamiliarity,
            denoised=denoised,
            atom_count=atoms,
            t_decoded=frame.t_decoded,
            t_batched=frame.t_batched,
        )
        if self._following is None:
            return result
        followed = self._following.follow(result, seen_in(frame))
        return replace(followed, t_published=self._clock.now())

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


def seen_in(frame: FrameAssembly) -> Seen:
    """Return what following needs of a complete frame besides its result."""
    prepared = frame.prepared
    return Seen(
        frame.probabilities(),
        prepared.header.shape,
        prepared.pixel_size_A,
        prepared.noise,
        prepared.drift_px,
        prepared.series,
    )


def unfollowed_of(frame: FrameAssembly, result: FrameResult, picture: View | None) -> Unfollowed:
    """Return a complete frame's result with what another process needs to follow its columns."""
    prepared = frame.prepared
    binned = to_host(binned_frame(prepared), prepared.xp)
    return Unfollowed(result, seen_in(frame), prepared.network_shape, binned, picture)
