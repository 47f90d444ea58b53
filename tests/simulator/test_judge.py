"""A recorded run against its truth: what was written is what is compared."""

from itertools import islice
from pathlib import Path

import h5py
import numpy as np
import pytest

from simulator.demo_states import load_states
from simulator.judge import judge
from simulator.movie import Movie, MovieFrame, MovieSettings
from simulator.truth import TruthWriter, truth_path

N_FRAMES = 12


@pytest.fixture(scope="module")
def movie() -> Movie:
    return Movie(MovieSettings(size_px=256, state_frames=3), load_states())


def write_run(path: Path, movie: Movie, shift_px: float = 0.0, one_too_many: int = 0) -> Path:
    """Write a run whose analysis found the truth, results out of order, frame 5 not analysed."""
    frames = list(islice(movie, N_FRAMES))
    with TruthWriter(truth_path(path), movie) as truth:
        for frame in frames:
            truth.append(frame)
    analysed = [frame for frame in reversed(frames) if frame.index != 5]
    found = [result_of(movie, frame, shift_px, one_too_many) for frame in analysed]
    rows = np.concatenate(found)
    with h5py.File(path, "w") as file:
        for name in ("y", "x", "count", "probability"):
            file[f"entry/columns/{name}"] = rows[name]
        lengths = np.array([len(columns) for columns in found])
        file["entry/columns/first_row"] = np.cumsum(lengths) - lengths
        file["entry/summary/frame_id"] = [frame.index for frame in analysed]
        file["entry/summary/n_columns"] = lengths
    return truth_path(path)


def result_of(movie: Movie, frame: MovieFrame, shift_px: float, one_too_many: int) -> np.ndarray:
    true = movie.columns(frame.place)
    dtype = [("y", "f4"), ("x", "f4"), ("count", "u1"), ("probability", "f4")]
    found = np.zeros(len(true), dtype)
    found["y"], found["x"] = true["y"] + shift_px, true["x"]
    found["count"], found["probability"] = true["count"], 0.9
    found["count"][:one_too_many] += 1
    return found[::-1]  # in no particular order


def test_a_perfect_analysis_is_judged_perfect(movie: Movie, tmp_path: Path) -> None:
    truth = write_run(tmp_path / "run.nxs", movie)
    summary = judge(tmp_path / "run.nxs", truth).summary()
    assert summary["frames"] == N_FRAMES - 1
    assert summary["true_columns"] > 100 * (N_FRAMES - 1)
    for name in ("exact_share", "within_one_share"):
        assert summary[name] == 1.0
    for name in ("missed_share", "false_share", "total_atoms_error_share"):
        assert summary[name] == 0.0
    assert summary["position_rms_A"] < 1e-3
    assert summary["mean_probability"] == pytest.approx(0.9)


def test_wrong_counts_and_places_are_seen(movie: Movie, tmp_path: Path) -> None:
    truth = write_run(tmp_path / "run.nxs", movie, shift_px=2.0, one_too_many=4)
    accuracy = judge(tmp_path / "run.nxs", truth)
    assert accuracy.matched - accuracy.exact == 4 * (N_FRAMES - 1)
    assert accuracy.atoms_error == 4 * (N_FRAMES - 1)
    assert accuracy.summary()["position_rms_A"] == pytest.approx(2.0 * 0.2, abs=1e-3)
