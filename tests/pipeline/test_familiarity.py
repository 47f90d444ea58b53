"""The unfamiliarity score: each term, and the shipped networks on images that are and are not ceria."""

from contextlib import closing
from itertools import islice

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from pipeline.assembly import FrameAssembly
from pipeline.backends import BatchShape, make_backend
from pipeline.familiarity import (
    PeakSums,
    hesitation,
    noise_of_doses,
    noise_term,
    residue,
    residue_term,
    unfamiliarity,
)
from pipeline.networks import find_networks
from pipeline.prepare import prepare
from tests.pipeline.test_prepare import TARGET_A, task

SHAPE = (256, 256)
DOSES = (30.0, 3000.0)


def counts(intensity: NDArray[np.float64], dose_e_per_A2: float = 300.0, seed: int = 1) -> NDArray[np.uint16]:
    """Frame with ideal counting of an intensity in units of the vacuum level."""
    mean = np.maximum(intensity, 0) * dose_e_per_A2 * TARGET_A**2
    return np.random.default_rng(seed).poisson(mean).astype(np.uint16)


def crystal(spacing_px: float = 16.0, amplitude: float = 0.6) -> NDArray[np.float64]:
    wave = np.cos(2 * np.pi * np.arange(SHAPE[0]) / spacing_px)
    return 1 + amplitude * wave[:, None] * wave


@pytest.mark.parametrize("dose", [30.0, 300.0, 3000.0])
def test_the_noise_of_training_doses_is_familiar(dose: float) -> None:
    noise = prepare(task(counts(np.ones(SHAPE), dose)), TARGET_A, TARGET_A).noise
    assert noise_term(noise, noise_of_doses(DOSES, TARGET_A)) == 0.0


def test_a_tenth_of_the_lowest_dose_is_foreign() -> None:
    noise = prepare(task(counts(np.ones(SHAPE), 3.0)), TARGET_A, TARGET_A).noise
    assert noise_term(noise, noise_of_doses(DOSES, TARGET_A)) > 0.9


@pytest.mark.parametrize("dose", [30.0, 300.0, 3000.0])
def test_a_denoiser_that_leaves_noise_only_has_no_residue(dose: float) -> None:
    truth = crystal()
    prepared = prepare(task(counts(truth, dose)), TARGET_A, TARGET_A)
    denoised = truth.astype(np.float32)
    assert residue(prepared, denoised) == pytest.approx(1.0, abs=0.15)
    assert residue_term(residue(prepared, denoised)) == 0.0


def test_structure_that_the_denoiser_left_behind_is_foreign() -> None:
    slope = np.linspace(0.5, 1.5, SHAPE[0])[:, None] * np.ones(SHAPE)
    prepared = prepare(task(counts(slope, 1000.0)), TARGET_A, TARGET_A)
    assert residue_term(residue(prepared, np.ones(SHAPE, np.float32))) == 1.0


def column_map(height: float, n: int = 8) -> NDArray[np.float32]:
    y, x = np.indices(SHAPE)
    offsets = (np.mod(y, 256 // n) - 128 // n, np.mod(x, 256 // n) - 128 // n)
    return (height * np.exp(-(offsets[0] ** 2 + offsets[1] ** 2) / 8)).astype(np.float32)


@pytest.mark.parametrize(("height", "expected"), [(1.0, 0.0), (0.6, 0.5), (0.3, 1.0)])
def test_faint_peaks_are_hesitation(height: float, expected: float) -> None:
    peaks = PeakSums()
    peaks.add(column_map(height))
    assert hesitation(peaks) == pytest.approx(expected, abs=0.05)


def test_a_map_without_peaks_is_no_hesitation() -> None:
    peaks = PeakSums()
    peaks.add(np.full(SHAPE, 0.02, np.float32))
    assert hesitation(peaks) == 0.0


def test_one_foreign_term_is_enough() -> None:
    truth = crystal()
    prepared = prepare(task(counts(truth)), TARGET_A, TARGET_A)
    peaks = PeakSums()
    peaks.add(column_map(1.0))
    denoised = truth.astype(np.float32)
    assert unfamiliarity(prepared, denoised, peaks, noise_of_doses(DOSES, TARGET_A)) < 0.1
    assert unfamiliarity(prepared, denoised, peaks, noise_of_doses((1e4, 1e5), TARGET_A)) == 1.0
    assert unfamiliarity(prepared, denoised, peaks, None) < 0.1


def shipped_scores(images: list[NDArray[np.uint16]]) -> list[float]:
    networks = find_networks(None, "ceria")
    scores = []
    with closing(make_backend("openvino", networks)) as backend:
        backend.load(BatchShape(1, *images[0].shape))
        for image in images:
            frame = FrameAssembly(prepare(task(image), TARGET_A, TARGET_A), TARGET_A, 0.5)
            backend.submit(frame.prepared.frame[np.newaxis])
            frame.put(frame.tiles[0], backend.collect(), 0)
            scores.append(unfamiliarity(frame.prepared, frame.denoised, frame.peaks, None))
    return scores


def test_the_shipped_networks_know_the_movie() -> None:
    simulator = pytest.importorskip("simulator.movie")
    states = pytest.importorskip("simulator.demo_states").load_states()
    movie = simulator.Movie(simulator.MovieSettings(dose_e_per_A2=1000.0), states)
    assert max(shipped_scores([frame.image for frame in islice(movie, 3)])) < 0.2


def test_the_shipped_networks_do_not_know_amorphous_contrast_or_slopes() -> None:
    noise = gaussian_filter(np.random.default_rng(1).normal(size=SHAPE), 8.0)
    amorphous = 1 + 0.3 * noise / noise.std()
    slope = np.linspace(0.2, 1.8, SHAPE[0])[:, None] * np.ones(SHAPE)
    assert min(shipped_scores([counts(amorphous), counts(slope)])) > 0.8
