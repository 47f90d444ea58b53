"""The simulated movie: its physics, its truth, its determinism."""

import re
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import maximum_filter

from simulator.demo_states import load_states
from simulator.movie import Movie, MovieSettings, Place, settings_for
from simulator.optics import Optics, image_intensity
from simulator.truth import TruthWriter, read_truth, truth_path
from streamer.errors import RecordingError, UsageError

CENTRED = Place(state=4, drift_px=(0.0, 0.0), overfocus_A=60.0)


@pytest.fixture(scope="module")
def movie() -> Movie:
    return Movie(MovieSettings(size_px=320, state_frames=2), load_states())


@pytest.fixture(scope="module")
def gold() -> Movie:
    return Movie(settings_for("gold-columns", size_px=320, state_frames=2), load_states("gold-columns"))


def images(movie: Movie, count: int) -> list[np.ndarray]:
    return [frame.image for frame in islice(movie, count)]


def test_a_movie_is_the_same_every_time_it_is_played(movie: Movie) -> None:
    again = Movie(movie.settings, movie.states)
    for first, replayed, other in zip(images(movie, 5), images(movie, 5), images(again, 5), strict=True):
        np.testing.assert_array_equal(first, replayed)
        np.testing.assert_array_equal(first, other)


def test_another_seed_is_another_movie(movie: Movie) -> None:
    other = Movie(MovieSettings(size_px=320, state_frames=2, seed=2), movie.states)
    assert not np.array_equal(images(movie, 1)[0], images(other, 1)[0])
    places = [[frame.place for frame in islice(m, 10)] for m in (movie, other)]
    assert places[0] != places[1]


def test_frames_have_the_dose_that_was_asked_for(movie: Movie) -> None:
    frame = next(iter(movie)).image
    corner = frame[:32, :32].astype(float)  # vacuum
    expected = 300.0 * 0.2**2
    assert frame.dtype == np.uint16
    assert corner.mean() == pytest.approx(expected, abs=4 * np.sqrt(expected / corner.size))
    assert corner.var() == pytest.approx(expected, rel=0.2)


def test_an_integrating_detector_has_gain_and_lag(movie: Movie) -> None:
    slow = Movie(MovieSettings(size_px=320, detector="integrating"), movie.states)
    first, second = (image[:96, :].astype(float) for image in images(slow, 3)[1:])
    assert first.mean() == pytest.approx(12.0 * 40.0, rel=0.02)
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] > 0.2


def test_the_field_outside_the_particle_is_vacuum(movie: Movie) -> None:
    field = movie.intensity(CENTRED)
    assert field.shape == (320, 320)
    np.testing.assert_allclose(field[:40], 1.0, atol=1e-6)
    assert field.max() > 2.0


def test_true_columns_lie_on_the_bright_spots(movie: Movie) -> None:
    field = movie.intensity(CENTRED)
    columns = movie.columns(CENTRED)
    tall = columns[columns["count"] >= 3]
    spots = np.argwhere((maximum_filter(field, 7) == field) & (field > 1.2))
    places = np.stack([tall["y"], tall["x"]], axis=-1)
    distance = np.linalg.norm(places[:, None] - spots[None], axis=-1).min(axis=1)
    assert len(tall) > 80
    assert np.quantile(distance, 0.95) < 1.5  # px


def test_columns_of_gold_are_found_by_eye_and_brighten_with_their_count(gold: Movie) -> None:
    """Up to six atoms; taller columns fade, but are not taken for short ones."""
    usual = Place(0, (0.0, 0.0), gold.settings.overfocus_A)
    field, columns = gold.intensity(usual), gold.columns(usual)
    peaks = maximum_filter(field, 5)[np.rint(columns["y"]).astype(int), np.rint(columns["x"]).astype(int)]
    by_count = [np.median(peaks[columns["count"] == count]) for count in range(1, 11)]
    assert by_count[0] > 1.2
    assert np.all(np.diff(by_count[:6]) > 0)
    assert min(by_count[6:]) > by_count[3]
    spots = np.argwhere((maximum_filter(field, 7) == field) & (field > 1.2))
    distance = np.linalg.norm(np.stack([columns["y"], columns["x"]], -1)[:, None] - spots, axis=-1).min(1)
    assert np.quantile(distance, 0.95) < 1.5  # px


def test_golds_focus_stays_where_the_networks_have_learned(gold: Movie) -> None:
    foci_A = [frame.place.overfocus_A for frame in islice(gold, 400)]
    assert len(set(foci_A)) > 1
    assert min(foci_A) >= 50.0
    assert max(foci_A) <= 90.0


def test_the_movie_of_a_material_begins_with_its_usual_settings() -> None:
    assert settings_for("ceria", seed=3) == MovieSettings(seed=3)
    assert settings_for("gold-columns", overfocus_A=50.0).overfocus_A == 50.0


@pytest.mark.parametrize("drift", [(3.0, -5.0), (0.25, 0.0), (-7.75, 4.5)])
def test_drift_moves_picture_and_truth_alike(movie: Movie, drift: tuple[float, float]) -> None:
    moved = Place(CENTRED.state, drift, CENTRED.overfocus_A)
    still, shifted = (np.fft.fft2(movie.intensity(place) - 1.0) for place in (CENTRED, moved))
    gy, gx = np.fft.fftfreq(320)[:, None], np.fft.fftfreq(320)[None, :]
    expected = still * np.exp(-2j * np.pi * (gy * drift[0] + gx * drift[1]))
    band = (abs(gy) < 0.45) & (abs(gx) < 0.45)
    assert abs(shifted - expected)[band].max() < 2e-3 * abs(expected)[band].max()
    np.testing.assert_allclose(movie.columns(moved)["y"] - movie.columns(CENTRED)["y"], drift[0], atol=1e-4)
    np.testing.assert_allclose(movie.columns(moved)["x"] - movie.columns(CENTRED)["x"], drift[1], atol=1e-4)


def test_the_picture_is_the_image_that_the_optics_make_at_the_frames_focus(movie: Movie) -> None:
    foci = {frame.place.overfocus_A for frame in islice(movie, 400)}
    assert len(foci) >= 3
    for focus in foci:
        exact = image_intensity(
            movie.states.waves[4], movie.states.pixel_size_A, Optics(overfocus_A=focus), np
        )
        inner = slice(movie.margin_px + 20, movie.margin_px + exact.shape[0] - 20)
        drawn = movie.intensity(Place(4, (0.0, 0.0), focus))[inner, inner]
        np.testing.assert_allclose(drawn, exact[20:-20, 20:-20], atol=1e-4)


def test_columns_gain_and_lose_atoms_while_the_rest_stays(movie: Movie) -> None:
    counts = []
    for state in (0, 1):
        columns = movie.columns(Place(state, (0.0, 0.0), 60.0))
        counts.append(dict(zip(columns["column_id"].tolist(), columns["count"].tolist(), strict=True)))
    change = {c: counts[1].get(c, 0) - counts[0].get(c, 0) for c in counts[0] | counts[1]}
    assert max(change.values()) >= 1
    assert min(change.values()) <= -1
    assert sum(value != 0 for value in change.values()) <= 6


def test_states_are_played_forth_and_back_without_end(movie: Movie) -> None:
    states = [frame.place.state for frame in islice(movie, 0, 2 * 40, 2)]
    last = len(movie.states.waves) - 1
    assert states == [*range(last + 1), *range(last - 1, -1, -1), 1][:40]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"material": "gold"}, "no movie of gold, expected ceria or gold-columns"),
        ({"size_px": 240}, "at least 256 px"),
        ({"size_px": 500}, "multiple of 16"),
        ({"detector": "film"}, "counting, integrating"),
        ({"dose_e_per_A2": 0.0}, "more than 0"),
        ({"dose_e_per_A2": float("inf")}, "at most 1.5e+06"),
        ({"dose_e_per_A2": float("nan")}, "more than 0"),
        ({"seed": -1}, "0 or more"),
    ],
)
def test_settings_that_cannot_be_filmed_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        MovieSettings(**change)  # type: ignore[arg-type]


def test_the_truth_file_holds_what_every_frame_shows(movie: Movie, tmp_path: Path) -> None:
    path = truth_path(tmp_path / "run.nxs")
    frames = list(islice(movie, 300))
    with TruthWriter(path, movie) as writer:
        for frame in frames:
            writer.append(frame)
    truth = read_truth(path)
    assert path.name == "run.truth.h5"
    assert len(truth.frames) == 300
    for frame in frames[::37]:
        stored = truth.columns_of(frame.index)
        assert stored is not None
        shown = movie.columns(frame.place)
        np.testing.assert_array_equal(stored["count"], shown["count"])
        np.testing.assert_allclose(stored["y"], shown["y"], atol=1e-3)
        np.testing.assert_allclose(stored["x"], shown["x"], atol=1e-3)
    assert truth.columns_of(300) is None


def test_a_truth_file_is_never_overwritten(movie: Movie, tmp_path: Path) -> None:
    path = tmp_path / "run.truth.h5"
    path.write_bytes(b"precious")
    with pytest.raises(RecordingError, match="cannot create"):
        TruthWriter(path, movie)
    assert path.read_bytes() == b"precious"
