"""A whole run with real processes on particles: recorded, told, checked, and the same when it is repeated."""

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from pipeline.cli import main
from pipeline.plan import Companion, RunPlan
from pipeline.report import format_summary, summarise
from pipeline.supervisor import supervise
from streamer.check import check_file
from streamer.config import AnalysisConfig, IngestConfig, RecordConfig, RunConfig

from .run_parts import send_images
from .tiny_networks import PARTICLES, SHAPES, frame_with_discs

SHAPE = (512, 512)
OF_A_FRAME = ([(150.0, 150.0, 3.0)], [(200.0, 250.0, 6.0)], [(150.0, 150.0, 3.0), (160.0, 430.0, 2.5)], [])


@pytest.fixture(scope="module")
def recorded(
    tmp_path_factory: pytest.TempPathFactory, particle_folder: Path
) -> tuple[Path, dict[str, object]]:
    """Eight frames of known particles, recorded and analysed; the file and the run's summary."""
    folder = tmp_path_factory.mktemp("run")
    np.save(folder / "images.npy", np.stack([frame_with_discs(SHAPE, d) for d in OF_A_FRAME * 2]))
    config = RunConfig(
        record=RecordConfig(path=str(folder / "run.nxs")),
        analysis=AnalysisConfig(
            backend="openvino", material=PARTICLES, models=str(particle_folder), threads=1
        ),
        ingest=IngestConfig(result_timeout_s=20.0),
    )
    sender = Companion(send_images, (str(folder / "images.npy"),))
    outcome = supervise(RunPlan(config=config, say=lambda text: None, sender=sender))
    return folder / "run.nxs", summarise("live", outcome)


def test_the_summary_counts_particles_by_shape(recorded: tuple[Path, dict[str, object]]) -> None:
    _, summary = recorded
    assert summary["ok"], summary["problems"]
    assert summary["particles"] == {"small": 6, "large": 2, "unsure": 0}
    assert "8 found in 8 frames:   small 6   large 2\n" in format_summary(summary)


def test_the_file_has_them_and_is_whole(recorded: tuple[Path, dict[str, object]]) -> None:
    path, _ = recorded
    with h5py.File(path) as file:
        particles = file["entry/particles"]
        assert [name.decode() for name in particles.attrs["shapes"] if name] == list(SHAPES)
        expected = [(i, d) for i, discs in enumerate(OF_A_FRAME * 2) for d in discs]
        assert particles["frame_id"][:].tolist() == [i for i, _ in expected]
        np.testing.assert_allclose(particles["size"][:], [d[2] for _, d in expected], atol=0.25)
        nm = np.array([d[:2] for _, d in expected]) * 0.02
        np.testing.assert_allclose(particles["centre"][:], nm, atol=0.02)
        assert np.isnan(file["entry/summary/total_atoms"][:]).all()
    assert check_file(path).ok


def test_the_same_comes_out_when_it_is_repeated(
    recorded: tuple[Path, dict[str, object]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--compare` takes material and networks from the recorded run."""
    path, _ = recorded
    assert main(["replay", str(path), "--compare", "--headless", "--json"]) == 0
    compared = json.loads(capsys.readouterr().out.splitlines()[-1])["comparison"]
    assert (compared["same"], compared["particles"]) == (True, 8)


def test_an_archive_of_particles_is_analysed_again(
    recorded: tuple[Path, dict[str, object]], tmp_path: Path
) -> None:
    path, _ = recorded
    run = tmp_path / "run.nxs"
    shutil.copy(path, run)
    assert main(["reprocess", str(run), "--workers", "0"]) == 0
    again = tmp_path / "run-again.nxs"
    with h5py.File(again) as new, h5py.File(run) as old:
        for table in ("particles", "summary"):
            for name, values in old[f"entry/{table}"].items():
                np.testing.assert_array_equal(new[f"entry/{table}/{name}"][:], values[:], err_msg=name)
        assert list(new["entry/particles"].attrs["shapes"]) == list(old["entry/particles"].attrs["shapes"])
    assert check_file(again).ok
