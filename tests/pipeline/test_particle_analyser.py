"""Particles from task to result over real sockets, with real OpenVINO and networks of known answers."""

from math import isnan
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from pipeline.tiling import MAX_SIDE_PX, tiles_of
from streamer.config import AnalysisConfig, RecordConfig, RunConfig, TriggerConfig, ViewConfig
from streamer.errors import BackendError, UsageError
from streamer.records import FrameResult
from tests.pipeline.analyser_run import analyser_run
from tests.pipeline.tiny_networks import (
    PARTICLES,
    SHAPES,
    frame_with_discs,
    write_networks,
    write_particle_networks,
)

SHAPE = (800, 768)
DISCS = [(120.0, 110.0, 3.0), (200.0, 560.5, 6.0)]  # farther apart than a patch reaches


def config_for(folder: Path, **analysis: Any) -> RunConfig:
    options = {"material": PARTICLES, "models": str(folder), "threads": 1, **analysis}
    return RunConfig(analysis=AnalysisConfig(**options))


def expect_discs(
    result: FrameResult, discs: list[tuple[float, float, float]], pixel_size_A: float = 0.2
) -> None:
    """Each particle once: in place, of its size within 0.25 nm, and rightly classified."""
    assert len(result.particles) == len(discs)
    for y, x, diameter in discs:
        distance = np.hypot(result.particles["y"] - y, result.particles["x"] - x)
        found = result.particles[distance.argmin()]
        assert distance.min() < 0.5
        np.testing.assert_allclose(found["centre"], np.array([y, x]) * pixel_size_A / 10, atol=0.02)
        assert found["size"] == pytest.approx(diameter, abs=0.25)
        assert found["axes"] == pytest.approx([diameter, diameter], abs=0.25)
        assert found["area"] == pytest.approx(np.pi / 4 * found["size"] ** 2, rel=1e-3)
        assert SHAPES[found["shape"]] == ("large" if diameter > 4.5 else "small")


def test_known_particles_come_back(particle_folder: Path) -> None:
    with analyser_run(config_for(particle_folder)) as run:
        run.send(frame_with_discs(SHAPE, DISCS), 17)
        result = run.result()
    assert (result.frame_id, len(result.columns)) == (17, 0)
    assert isnan(result.total_atoms)
    expect_discs(result, DISCS)
    probabilities = result.particles["shape_probabilities"]
    np.testing.assert_allclose(np.nansum(probabilities, axis=1), 1.0, rtol=1e-5)
    assert np.isnan(probabilities[:, len(SHAPES) :]).all()
    assert not result.particles["touches_border"].any()


def test_the_outline_runs_along_the_particles_edge(particle_folder: Path) -> None:
    with analyser_run(config_for(particle_folder)) as run:
        run.send(frame_with_discs(SHAPE, DISCS), 0)
        particles = run.result().particles
    for y, x, diameter in DISCS:
        outline = particles["outline"][np.abs(particles["x"] - x).argmin()]
        radius_nm = np.hypot(*(outline - (y, x)).T) * 0.02
        np.testing.assert_allclose(radius_nm, diameter / 2, atol=0.16)


@pytest.mark.parametrize("patch_of", ["restored", "frame"])
def test_patches_are_cut_from_the_picture_the_network_was_trained_on(tmp_path: Path, patch_of: str) -> None:
    """Of the other picture the shape network would see the whole patch differ from its level."""
    folder = write_particle_networks(tmp_path, patch_of)
    with analyser_run(config_for(folder)) as run:
        run.send(frame_with_discs(SHAPE, DISCS), 0)
        expect_discs(run.result(), DISCS)


def test_a_particle_between_two_shapes_is_unsure(particle_folder: Path) -> None:
    with analyser_run(config_for(particle_folder)) as run:
        run.send(frame_with_discs(SHAPE, [(300.0, 300.0, 4.5)]), 0)
        (found,) = run.result().particles
    assert found["shape"] == -1
    assert found["shape_probabilities"][:2] == pytest.approx([0.5, 0.5], abs=0.25)


def test_a_particle_cut_by_the_edge_says_so(particle_folder: Path) -> None:
    with analyser_run(config_for(particle_folder)) as run:
        run.send(frame_with_discs(SHAPE, [(450.0, 10.0, 4.0), DISCS[0]]), 0)
        particles = run.result().particles
    assert particles["touches_border"].sum() == 1
    assert particles["x"][particles["touches_border"] > 0] < 100


def test_vacuum_has_no_particles(particle_folder: Path) -> None:
    noisy = np.random.default_rng(5).poisson(100, SHAPE).astype(np.uint16)
    with analyser_run(config_for(particle_folder)) as run:
        run.send(noisy, 0)
        run.send(frame_with_discs(SHAPE, []), 1)
        assert [len(run.result().particles) for _ in range(2)] == [0, 0]


def test_what_is_smaller_or_larger_than_configured_is_passed_over(particle_folder: Path) -> None:
    with analyser_run(config_for(particle_folder, particle_size_nm=(2.0, 4.0))) as run:
        run.send(frame_with_discs(SHAPE, DISCS), 0)
        expect_discs(run.result(), DISCS[:1])


def test_places_are_in_pixels_of_the_frame_at_any_magnification(particle_folder: Path) -> None:
    """At 0.31 Å a pixel the network sees a frame of 1.55 times the size."""
    discs = [(120.0, 90.0, 3.0), (180.0, 370.0, 6.0)]
    with analyser_run(config_for(particle_folder)) as run:
        run.send(frame_with_discs((620, 480), discs, pixel_size_A=0.31), 0, pixel_size_A=0.31)
        expect_discs(run.result(), discs, 0.31)


def test_a_particle_on_a_seam_of_tiles_is_one(particle_folder: Path) -> None:
    shape = (480, MAX_SIDE_PX + 200)
    seam = float(tiles_of(shape)[0].x.core_stop)
    discs = [(120.0, seam, 4.0), (110.0, 200.0, 3.0)]
    with analyser_run(config_for(particle_folder)) as run:
        run.send(frame_with_discs(shape, discs), 0)
        expect_discs(run.result(), discs)


def test_batches_keep_particles_with_their_frames(particle_folder: Path) -> None:
    with analyser_run(config_for(particle_folder, batch_frames=3)) as run:
        for i in range(7):
            run.send(frame_with_discs((512, 512), [(150.0, 150.0 + 30 * i, 3.0)]), i)
        results = [run.result() for _ in range(7)]
    assert sorted(r.frame_id for r in results) == list(range(7))
    for r in results:
        expect_discs(r, [(150.0, 150.0 + 30 * r.frame_id, 3.0)])


def test_windows_and_the_file_are_told_the_shapes(particle_folder: Path) -> None:
    config = msgspec.structs.replace(config_for(particle_folder), view=ViewConfig(size_px=128))
    with analyser_run(config) as run:
        shown = run.show(frame_with_discs(SHAPE, DISCS))
        assert run.info is not None
        assert run.info.shapes == shown.header.shapes == SHAPES
        assert set(run.info.networks) == {f"{PARTICLES}_restore.onnx", f"{PARTICLES}_shapes.onnx"}
        assert len(shown.particles) == len(DISCS)
        assert len(shown.columns) == 0


def test_the_restored_picture_is_the_map_that_is_stored(particle_folder: Path) -> None:
    record = RecordConfig(path="somewhere.nxs", maps_every=2)
    with analyser_run(msgspec.structs.replace(config_for(particle_folder), record=record)) as run:
        for i in range(2):
            run.send(frame_with_discs(SHAPE, DISCS), i)
        first, second = (run.result() for _ in range(2))
    assert first.denoised is not None
    assert first.denoised[120, 110] == pytest.approx(1.1, abs=0.03)
    assert first.atom_count is second.denoised is None


def test_a_trigger_on_columns_is_refused_before_the_run(particle_folder: Path) -> None:
    trigger = TriggerConfig(name="loss", when="total_atoms", below=100)
    config = msgspec.structs.replace(config_for(particle_folder), trigger=(trigger,))
    with analyser_run(config, sound=False) as run:
        error = run.error()
    assert isinstance(error, UsageError)
    assert "'loss' watches total_atoms, but with material 'tinygold'" in str(error)


def test_the_null_backend_finds_none(particle_folder: Path) -> None:
    with analyser_run(config_for(particle_folder, backend="null")) as run:
        run.send(frame_with_discs(SHAPE, DISCS), 0, pixel_size_A=None)
        assert len(run.result().particles) == 0


def test_networks_of_both_kinds_are_refused(tmp_path: Path) -> None:
    write_particle_networks(tmp_path)
    write_networks(tmp_path)
    for task in ("denoise", "heights"):
        (tmp_path / f"tiny_{task}.onnx").rename(tmp_path / f"{PARTICLES}_{task}.onnx")
    with analyser_run(config_for(tmp_path), sound=False) as run:
        assert isinstance(run.error(), BackendError)


def test_a_neighbour_is_no_part_of_a_particle(particle_folder: Path) -> None:
    """Both are small; together in one patch they would be large."""
    discs = [(200.0, 200.0, 3.2), (200.0, 400.0, 3.2), (350.0, 300.0, 3.0)]
    with analyser_run(config_for(particle_folder)) as run:
        run.send(frame_with_discs(SHAPE, discs), 0)
        expect_discs(run.result(), discs)
