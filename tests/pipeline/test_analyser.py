"""The analyser from task to result over real sockets, with real OpenVINO and networks of known answers."""

import time
from math import isnan
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.tiling import MAX_SIDE_PX, tiles_of
from streamer.config import RecordConfig, SourceConfig, ViewConfig
from streamer.errors import BackendError, UsageError
from streamer.records import FrameResult
from tests.pipeline.analyser_run import PATIENCE_S, analyser_run, config_for
from tests.pipeline.tiny_networks import frame_with_columns, write_networks

SHAPE = (192, 256)
COLUMNS = [(30.0, 40.0, 2), (30.0, 90.5, 5), (70.25, 60.0, 8), (71.0, 140.0, 1)]


def image(
    columns: list[tuple[float, float, int]] = COLUMNS, shape: tuple[int, int] = SHAPE
) -> NDArray[np.uint16]:
    return frame_with_columns(shape, columns)


def expect_columns(
    result: FrameResult, columns: list[tuple[float, float, int]], within_px: float = 0.3
) -> None:
    """Each column once, in place and with its count."""
    assert len(result.columns) == len(columns)
    for y, x, count in columns:
        distance = np.hypot(result.columns["y"] - y, result.columns["x"] - x)
        assert distance.min() < within_px
        assert result.columns["count"][distance.argmin()] == count


def test_known_columns_come_back(tiny_folder: Path) -> None:
    with analyser_run(config_for(tiny_folder)) as run:
        run.send(image(), 17)
        result = run.result()
        assert (result.frame_id, result.key.series_id) == (17, 1)
        expect_columns(result, COLUMNS)
        assert result.total_atoms == pytest.approx(16, abs=1)
        assert 0 < result.total_atoms_std < 3
        assert (result.columns["probability"] > 0.4).all()
        assert (result.columns["detection"] > 0.5).all()
        times = [
            getattr(result, f"t_{n}") for n in ("received", "decoded", "batched", "analysed", "published")
        ]
        assert times == sorted(times)
        assert result.denoised is None
        assert result.atom_count is None


def test_it_introduces_itself_before_its_first_result(tiny_folder: Path) -> None:
    with analyser_run(config_for(tiny_folder)) as run:
        kind, ready = run.said.get(timeout=PATIENCE_S)
        assert (kind, ready["backend"]) == ("ready", "openvino")
        run.send(image(), 0)
        run.result()
        assert run.info is not None
        assert set(run.info.networks) == {"tiny_denoise.onnx", "tiny_heights.onnx"}


def test_many_frames_all_come_back_once(tiny_folder: Path) -> None:
    with analyser_run(config_for(tiny_folder, batch_frames=3)) as run:
        for i in range(20):
            run.send(image([(30.0, 40.0 + i, 1 + i % 8)]), i)
        results = [run.result() for _ in range(20)]
        assert sorted(r.frame_id for r in results) == list(range(20))
        for r in results:
            expect_columns(r, [(30.0, 40.0 + r.frame_id, 1 + r.frame_id % 8)])


def test_a_part_of_a_batch_does_not_wait_for_ever(tiny_folder: Path) -> None:
    with analyser_run(config_for(tiny_folder, batch_frames=8, max_wait_ms=30.0)) as run:
        for i in range(3):
            run.send(image(), i)
        assert {run.result().frame_id for _ in range(3)} == {0, 1, 2}


def test_a_full_batch_does_not_wait(tiny_folder: Path) -> None:
    with analyser_run(config_for(tiny_folder, batch_frames=2, max_wait_ms=3_600_000.0)) as run:
        for i in range(4):
            run.send(image(), i)
        assert {run.result().frame_id for _ in range(4)} == {0, 1, 2, 3}


def test_a_damaged_payload_is_named_and_the_next_frame_analysed(tiny_folder: Path) -> None:
    with analyser_run(config_for(tiny_folder)) as run:
        run.send(image(), 0, payload=b"\x00" * 100)
        run.send(image(), 1)
        failure = run.failure()
        assert failure.frame_id == 0
        assert failure.reason.startswith("damaged payload: frame 0")
        assert run.result().frame_id == 1


def test_garbage_instead_of_a_task_is_passed_over(tiny_folder: Path) -> None:
    with analyser_run(config_for(tiny_folder)) as run:
        run.send_parts([b"garbage"])
        run.send_parts([b"garbage", b"garbage"])
        run.send(image(), 1)
        assert run.result().frame_id == 1


def test_a_frame_too_small_is_named(tiny_folder: Path) -> None:
    with analyser_run(config_for(tiny_folder)) as run:
        run.send(image([], (16, 16)), 5)
        assert run.failure().reason.startswith("wrong geometry: a frame of 16 x 16 px")


def test_an_unknown_pixel_size_ends_the_run(tiny_folder: Path) -> None:
    with analyser_run(config_for(tiny_folder), sound=False) as run:
        run.send(image(), 0, pixel_size_A=None)
        error = run.error()
        assert isinstance(error, UsageError)
        assert "--pixel-size-A" in str(error)


def test_the_configured_pixel_size_goes_before_the_streams(tiny_folder: Path) -> None:
    config = msgspec.structs.replace(config_for(tiny_folder), source=SourceConfig(pixel_size_A=0.2))
    with analyser_run(config) as run:
        run.send(image(), 0, pixel_size_A=None)
        expect_columns(run.result(), COLUMNS)
        run.send(image(), 1, pixel_size_A=0.9)
        expect_columns(run.result(), COLUMNS)


def test_columns_are_in_pixels_of_the_frame_at_any_magnification(tiny_folder: Path) -> None:
    """At 0.13 Å a pixel the networks see a frame of 0.65 times the size, with atoms as wide as ever."""
    scale = 0.2 / 0.13
    columns = [(y * scale, x * scale, count) for y, x, count in COLUMNS]
    frame = frame_with_columns((300, 400), columns, sigma_px=4.0 * scale)
    with analyser_run(config_for(tiny_folder)) as run:
        run.send(frame, 0, pixel_size_A=0.13)
        expect_columns(run.result(), columns, within_px=0.5)


def test_the_networks_are_loaded_again_when_the_shape_changes(tiny_folder: Path) -> None:
    with analyser_run(config_for(tiny_folder, batch_frames=2)) as run:
        for i, shape in enumerate([SHAPE, SHAPE, SHAPE, (128, 200), (128, 200), SHAPE]):
            run.send(image([(30.0, 40.0 + i, 3)], shape), i, series=shape[0])
        results = {r.frame_id: r for r in (run.result() for _ in range(6))}
        for i, r in results.items():
            expect_columns(r, [(30.0, 40.0 + i, 3)])


def test_a_frame_larger_than_a_tile_is_put_together(tiny_folder: Path) -> None:
    shape = (160, MAX_SIDE_PX + 200)
    seam = tiles_of(shape)[0].x.core_stop
    columns = [(30.0, 40.0, 2), (30.0, seam - 1.0, 7), (30.0, shape[1] - 40.0, 5), (60.5, 700.0, 3)]
    config = config_for(tiny_folder)
    with analyser_run(config) as run:
        run.send(image(columns, shape), 0)
        expect_columns(run.result(), columns)
        view = run.show(image(columns, shape))
        assert view.denoised.shape == (80, shape[1] // 2)
        assert view.denoised[15, 20] > 100  # the first column's contrast
        assert view.denoised[15, (shape[1] - 40) // 2] > 100


def test_drift_is_measured_against_the_series_first_frame(tiny_folder: Path) -> None:
    moved = [(y + 4.5, x - 7.25, count) for y, x, count in COLUMNS]
    with analyser_run(config_for(tiny_folder)) as run:
        run.send(image(), 0)
        run.send(image(moved), 1)
        run.send(image(moved), 0, series=2)
        drifts = [run.result().drift_px for _ in range(3)]
        assert drifts[0] == (0.0, 0.0)
        assert drifts[1] == pytest.approx((4.5, -7.25), abs=0.3)
        assert drifts[2] == (0.0, 0.0)


def test_another_series_by_the_same_name_begins_anew(tiny_folder: Path) -> None:
    """Simulators, replays, and detectors that were restarted, call each series the same."""
    moved = [(y + 4.5, x - 7.25, count) for y, x, count in COLUMNS]
    with analyser_run(config_for(tiny_folder)) as run:
        run.send(image(), 0, number=1)
        run.send(image(moved), 1, number=2)
        run.send(image(moved), 2, number=2)
        results = [run.result() for _ in range(3)]
    np.testing.assert_allclose([result.drift_px for result in results], 0.0, atol=0.01)


def test_one_of_several_analysers_leaves_drift_and_tracks_to_the_follower(tiny_folder: Path) -> None:
    with analyser_run(config_for(tiny_folder, analysers=2)) as run:
        run.send(image(), 3)
        found = run.unfollowed()
    expect_columns(found.result, COLUMNS)
    assert (found.result.frame_id, found.seen.shape, found.network_shape) == (3, SHAPE, SHAPE)
    assert all(isnan(shift) for shift in found.result.drift_px)
    assert (found.result.columns["track_id"] == -1).all()
    assert found.binned.shape == (SHAPE[0] // 2, SHAPE[1] // 2)
    np.testing.assert_allclose(found.seen.probabilities.sum(axis=1), 1.0, rtol=1e-5)
    assert found.picture is None, "nobody looks"


def test_nothing_is_followed_apart_where_that_is_switched_off(tiny_folder: Path) -> None:
    with analyser_run(config_for(tiny_folder, analysers=2, follow=False)) as run:
        run.send(image(), 0)
        assert all(isnan(shift) for shift in run.result().drift_px)


def test_maps_come_with_every_nth_frame_only_if_asked(tiny_folder: Path) -> None:
    record = RecordConfig(path="somewhere.nxs", maps_every=3)
    with analyser_run(msgspec.structs.replace(config_for(tiny_folder), record=record)) as run:
        for i in range(4):
            run.send(image(), i)
        results = {r.frame_id: r for r in (run.result() for _ in range(4))}
    assert [results[i].denoised is not None for i in range(4)] == [True, False, False, True]
    denoised, atoms = results[3].denoised, results[3].atom_count
    assert denoised is not None
    assert atoms is not None
    assert denoised.shape == atoms.shape == SHAPE
    assert denoised[30, 40] == pytest.approx(2.2, abs=0.05)
    assert denoised[180, 10] == pytest.approx(1.0, abs=0.02)
    assert (atoms[30, 40], atoms[70, 60], atoms[180, 10]) == (2, 8, 0)


def test_windows_get_pictures(tiny_folder: Path) -> None:
    with analyser_run(msgspec.structs.replace(config_for(tiny_folder), view=ViewConfig(size_px=128))) as run:
        shown = run.show(image())
        assert (shown.header.frame_id, shown.header.bin_px) == (0, 2)
        assert shown.raw.shape == shown.denoised.shape == (96, 128)
        assert len(shown.columns) == len(COLUMNS)
        assert shown.header.mean_counts == pytest.approx(image().mean(), rel=1e-3)


def dark_spot() -> NDArray[np.uint16]:
    frame = image()
    frame[150:160, 100:110] = 0
    return frame


def test_a_backends_error_fails_its_frame_and_the_run_goes_on(tmp_path: Path) -> None:
    folder = write_networks(tmp_path, fragile=True)
    with analyser_run(config_for(folder)) as run:
        run.send(image(), 0)
        run.send(dark_spot(), 1)
        run.send(image(), 2)
        answers = {a.frame_id: a for a in (run.answer() for _ in range(3))}
        assert isinstance(answers[0], FrameResult)
        assert isinstance(answers[2], FrameResult)
        assert "NaN in denoised" in answers[1].reason  # type: ignore[union-attr]


def test_a_backend_that_fails_again_and_again_ends_the_run(tmp_path: Path) -> None:
    folder = write_networks(tmp_path, fragile=True)
    with analyser_run(config_for(folder), sound=False) as run:
        for i in range(8):
            run.send(dark_spot(), i)
        assert [run.failure().frame_id for _ in range(5)] == [0, 1, 2, 3, 4]
        assert isinstance(run.error(), BackendError)


def test_the_null_backend_answers_without_a_pixel_size(tiny_folder: Path) -> None:
    with analyser_run(config_for(tiny_folder, backend="null")) as run:
        run.send(image(), 0, pixel_size_A=None)
        assert len(run.result().columns) == 0


def test_missing_networks_end_the_run_before_it_is_ready(tmp_path: Path) -> None:
    with analyser_run(config_for(tmp_path), sound=False) as run:
        assert "no network tiny_denoise.onnx" in str(run.error())
        assert run.said.empty()


def test_it_ends_when_asked_although_nobody_takes_its_results(tiny_folder: Path) -> None:
    with analyser_run(config_for(tiny_folder)) as run:
        for i in range(30):
            run.send(image(), i)
        run.result()
        run.control.request_stop()
        started = time.monotonic()
        run.thread.join(PATIENCE_S)
        assert not run.thread.is_alive()
        assert time.monotonic() - started < PATIENCE_S / 2
        said = [run.said.get(timeout=1) for _ in range(2)]
    assert [kind for kind, _ in said] == ["ready", "finished"]
    assert said[1][1]["analysed"] >= 1
