"""What following adds to results: one class for the analyser, the follower of several, and a second analysis.

Frame by frame, in the order in which they were handed on. Each series begins anew. A frame whose noise is far
from all that the networks have seen says nothing: with the beam blanked, they find columns in dark counts.
"""

from dataclasses import replace

from pipeline.calibration import TrackingCalibration, calibration_for
from pipeline.familiarity import noise_range, noise_term
from pipeline.follower import Followed, Follower
from pipeline.particle_networks import AnyNetworks, ParticleNetworks
from streamer.config import AnalysisConfig
from streamer.records import TRACKS_OF_AN_ANALYSER, FrameResult, SeriesKey
from streamer.unfollowed import Seen

__all__ = ["Following"]

_UNSEEN = 0.5  # of `noise_term`: the dose is below a third of the lowest that the networks were trained on


class Following:
    """Follows the columns of a run; particles, and columns where it is switched off, are not followed.

    Parameters
    ----------
    analysis : AnalysisConfig
    networks : Networks or ParticleNetworks
        Beside them lies how counts are fused.
    number : int
        Which of the run's analysers, or followers, this is, from 1.

    Raises
    ------
    BackendError
        If columns are followed, and the calibration beside the networks is none.
    """

    def __init__(self, analysis: AnalysisConfig, networks: AnyNetworks, number: int = 1) -> None:
        self._follows = analysis.follow and analysis.backend != "null"
        self._average_frames = analysis.average_frames
        self._first_id = (number - 1) * TRACKS_OF_AN_ANALYSER
        self._series: tuple[SeriesKey, int] | None = None
        self._follower: Follower | None = None
        if isinstance(networks, ParticleNetworks):
            self._follows = False
        else:
            self._calibration = calibration_for(networks) if self._follows else TrackingCalibration()
            self._max_count = networks.max_count
            self._noise = noise_range(networks.dose_range_e_per_A2, networks.pixel_size_A)

    def follow(self, result: FrameResult, seen: Seen) -> FrameResult:
        """Return a result with what following its columns says, which is written into their table too."""
        if not self._follows:
            return replace(result, drift_px=seen.drift_px)
        followed = self._followed(self._follower_of(result.key, seen), result, seen)
        result.columns["track_id"] = followed.track_id
        result.columns["fused_count"] = followed.count
        result.columns["fused_probability"] = followed.probability
        return replace(
            result,
            drift_px=followed.drift_px,
            fused_atoms=followed.atoms,
            fused_atoms_std=followed.atoms_std,
            changes=followed.changes,
        )

    def _followed(self, follower: Follower, result: FrameResult, seen: Seen) -> Followed:
        model = self._calibration.at(seen.noise).for_average_of(self._average_frames)
        if self._noise and noise_term(seen.noise, self._noise) >= _UNSEEN:
            return follower.pass_over(len(result.columns), seen.drift_px, model)
        return follower.follow(result.columns, seen.probabilities, seen.drift_px, seen.shape, model)

    def _follower_of(self, key: SeriesKey, seen: Seen) -> Follower:
        if (key, seen.series) != self._series:
            self._series, self._follower = (key, seen.series), None
        if self._follower is None:
            self._follower = Follower(
                self._max_count, seen.pixel_size_A, self._first_id, self._average_frames - 1
            )
        return self._follower
