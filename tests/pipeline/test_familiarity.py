"""The unfamiliarity score: each term, and the shipped networks on images that are and are not ceria."""

from contextlib import closing
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from pipeline.assembly import FrameAssembly, find_in_batch
from pipeline.backends import BatchShape, make_backend
from pipeline.familiarity import (
    PeakSums,
    Trained,
    hesitation,
    noise_term,
    residue,
    residue_term,
    spacing_term,
    terms_of,
)
from pipeline.networks import Networks, find_networks
from pipeline.prepare import prepare
from streamer.records import COLUMN_DTYPE
from tests.pipeline.test_prepare import TARGET_A, task

SHAPE = (256, 256)
SPACINGS_A = ((3.31, 3.83), (2.71, 3.83))
TRAINED = Trained((0.1, 0.9), SPACINGS_A)


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
    assert noise_term(noise, TRAINED.noise) == 0.0


def test_a_tenth_of_the_lowest_dose_is_foreign() -> None:
    noise = prepare(task(counts(np.ones(SHAPE), 3.0)), TARGET_A, TARGET_A).noise
    assert noise_term(noise, TRAINED.noise) > 0.9


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


def columns_at(points_A: NDArray[np.float64], pixel_size_A: float = 0.2) -> NDArray[np.void]:
    """Columns at points (n, 2) with a little scatter."""
    points = points_A + np.random.default_rng(2).normal(0, 0.08, points_A.shape)
    columns = np.zeros(len(points), COLUMN_DTYPE)
    columns["y"], columns["x"] = points.T / pixel_size_A
    return columns


def ceria_110(scale: float = 1.0, n: int = 8) -> NDArray[np.float64]:
    """Cerium columns along [110]: a centred rectangle of 5.41 x 3.83 Å."""
    corners = np.stack(np.meshgrid(5.411 * np.arange(n), 3.826 * np.arange(n)), -1).reshape(-1, 2)
    return scale * np.concatenate([corners, corners + np.array([2.706, 1.913])])


def ceria_100(scale: float = 1.0, n: int = 12) -> NDArray[np.float64]:
    return scale * 2.7055 * np.stack(np.meshgrid(np.arange(n), np.arange(n)), -1).reshape(-1, 2)


@pytest.mark.parametrize("points", [ceria_110(), ceria_100(), ceria_110(1.03), ceria_110(n=4)])
def test_the_lattices_trained_on_are_familiar(points: NDArray[np.float64]) -> None:
    assert spacing_term(columns_at(points), 0.2, SPACINGS_A) == 0.0


def test_a_particle_that_is_mostly_edge_is_familiar() -> None:
    centred = ceria_110(n=6) - ceria_110(n=6).mean(0)
    small = centred[np.hypot(*centred.T) < 9.0]
    assert 20 <= len(small) <= 26
    assert spacing_term(columns_at(small), 0.2, SPACINGS_A) == 0.0
    assert spacing_term(columns_at(1.2 * small), 0.2, SPACINGS_A) > 0.9


@pytest.mark.parametrize("points", [ceria_110(0.8), ceria_110(1.25), ceria_100(1.22), ceria_100(0.85)])
def test_a_wrong_pixel_size_shows(points: NDArray[np.float64]) -> None:
    assert spacing_term(columns_at(points), 0.2, SPACINGS_A) > 0.9


def test_the_pixel_size_is_the_frames() -> None:
    assert spacing_term(columns_at(ceria_110(), pixel_size_A=0.1), 0.1, SPACINGS_A) == 0.0


def test_few_columns_and_unknown_crystals_are_not_judged() -> None:
    assert spacing_term(columns_at(ceria_110(0.8))[:19], 0.2, SPACINGS_A) == 0.0
    assert spacing_term(columns_at(ceria_110(0.8)), 0.2, ()) == 0.0


def test_one_foreign_term_is_enough() -> None:
    truth = crystal()
    prepared = prepare(task(counts(truth)), TARGET_A, TARGET_A)
    peaks = PeakSums()
    peaks.add(column_map(1.0))
    denoised, none = truth.astype(np.float32), columns_at(np.zeros((0, 2)))
    assert terms_of(prepared, denoised, peaks, none, TRAINED).score < 0.1
    assert terms_of(prepared, denoised, peaks, none, Trained((0.01, 0.05), ())).score == 1.0
    assert terms_of(prepared, denoised, peaks, none, Trained(None, ())).score < 0.1
    assert terms_of(prepared, denoised, peaks, columns_at(ceria_110(1.3)), TRAINED).score == 1.0


def test_what_was_trained_on_is_read_from_the_networks(tiny_networks: Networks) -> None:
    trained = Trained.of(find_networks(None, "ceria"))
    assert trained.noise is not None
    assert trained.noise[0] < 1 / np.sqrt(300 * 0.04) < trained.noise[1]
    np.testing.assert_allclose(trained.spacings_A, SPACINGS_A, atol=0.01)
    assert Trained.of(tiny_networks) == Trained(None, ())


def test_gold_has_the_pattern_of_ceria_at_three_quarters_of_its_size(tiny_networks: Networks) -> None:
    metadata = {"material": "Au", "zone_axes": "[110],[100]", "pixel_size_A": "0.2"}
    header = replace(tiny_networks.heights.header, metadata=metadata)
    gold = replace(tiny_networks, heights=replace(tiny_networks.heights, header=header))
    trained = Trained.of(gold)
    for points in (ceria_110(4.078 / 5.411), ceria_100(4.078 / 5.411)):
        assert spacing_term(columns_at(points), 0.2, trained.spacings_A) == 0.0
        assert spacing_term(columns_at(points), 0.2, SPACINGS_A) > 0.9
    for points in (ceria_110(), ceria_100()):
        assert spacing_term(columns_at(points), 0.2, trained.spacings_A) > 0.9


def shipped_scores(images: list[NDArray[np.uint16]]) -> list[float]:
    networks = find_networks(None, "ceria")
    trained = Trained.of(networks)
    scores = []
    with closing(make_backend("openvino", networks)) as backend:
        backend.load(BatchShape(1, *images[0].shape))
        for image in images:
            frame = FrameAssembly(prepare(task(image), TARGET_A, TARGET_A))
            backend.submit(frame.prepared.frame[np.newaxis])
            answer = backend.collect()
            frame.put(frame.tiles[0], answer, 0, find_in_batch(answer, 1, TARGET_A, 0.5, np)[0])
            table = frame.heights().table
            scores.append(terms_of(frame.prepared, frame.denoised, frame.peaks, table, trained).score)
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
