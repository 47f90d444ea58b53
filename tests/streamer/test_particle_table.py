"""Particles in a result file: each under its own frame, named, readable while it is written, and optional."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from pipeline.compare import compare, format_comparison, read_results
from streamer.check import check_file, repair
from streamer.config import AnalysisConfig, RecordConfig
from streamer.records import AnalyserInfo, FrameResult
from streamer.result_tables import open_result, read_tables
from tests.streamer.ingest_run import particles_of, result_of, running, series_of, wait_for_rows

SHAPES = ("cube", "octahedron", "Marks decahedron")
INFO = AnalyserInfo("openvino", networks={"gold_shapes.onnx": "ab" * 32}, shapes=SHAPES)
ANALYSE = AnalysisConfig(queue_frames=20)
N = 9


def record_particles(path: Path, introduced: bool = True, **changes: Any) -> None:
    """Record nine analysed frames, their results in another order."""
    with running(path, ANALYSE) as (detector, run, analyser):
        end = analyser()
        if introduced:
            end.introduce(INFO)
        detector.send(*series_of(range(N), N))
        tasks = [end.next_task() for _ in range(N)]
        for i in (4, 0, 8, 2, 1, 7, 3, 6, 5):
            end.answer(result_of(tasks[i], **changes))
        run.finish()


def rows_of(file: h5py.File, name: str, frame_id: int) -> np.ndarray[Any, Any]:
    """The rows of one frame as docs/file-format.md tells a reader to find them."""
    particles, summary = file["entry/particles"], file["entry/summary"]
    row = file["entry/ledger/result_row"][frame_id]
    first = particles["first_row"][row]
    rows: np.ndarray[Any, Any] = particles[name][first : first + summary["n_particles"][row]]
    return rows


def test_particles_land_under_their_frames_in_any_order(tmp_path: Path) -> None:
    record_particles(tmp_path / "run.nxs")
    with h5py.File(tmp_path / "run.nxs") as file:
        for frame_id in range(N):
            expected = particles_of(frame_id)
            assert rows_of(file, "frame_id", frame_id).tolist() == [frame_id] * len(expected)
            for name in set(expected.dtype.names) - {"shape"}:
                np.testing.assert_array_equal(rows_of(file, name, frame_id), expected[name])
            shape = ("unsure", *SHAPES)[frame_id % 4].encode()
            assert rows_of(file, "shape_class", frame_id).tolist() == [shape] * len(expected)
        units = {name: column.attrs.get("units", "") for name, column in file["entry/particles"].items()}
        assert (units["centre"], units["size"], units["area"], units["y"]) == ("nm", "nm", "nm^2", "px")
    assert check_file(tmp_path / "run.nxs").ok


def test_the_shapes_are_named_in_the_order_of_the_probabilities(tmp_path: Path) -> None:
    record_particles(tmp_path / "run.nxs")
    with open_result(tmp_path / "run.nxs") as file:
        assert [name.decode() for name in file["entry/particles"].attrs["shapes"] if name] == list(SHAPES)
        assert read_tables(file).shapes == SHAPES


def test_shapes_without_a_name_have_a_number(tmp_path: Path) -> None:
    record_particles(tmp_path / "run.nxs", introduced=False)
    with h5py.File(tmp_path / "run.nxs") as file:
        assert rows_of(file, "shape_class", 1).tolist() == [b"shape 0"]
        assert rows_of(file, "shape_class", 4).tolist() == [b"unsure"]
        assert not any(file["entry/particles"].attrs["shapes"])


@pytest.mark.parametrize("early", [True, False], ids=["introduced before the file", "and after it"])
def test_particles_are_read_while_they_are_written(tmp_path: Path, early: bool) -> None:
    path = tmp_path / "run.nxs"
    flush = RecordConfig(flush_frames=1)
    with running(path, ANALYSE, record=flush) as (detector, run, analyser):
        end = analyser()
        if early:
            end.introduce(INFO)
        detector.send(*series_of(range(5), N)[:6])
        wait_for_rows(path, "entry/ledger/frame_id", 5)
        if not early:
            end.introduce(INFO)
        for _ in range(5):
            end.answer(result_of(end.next_task()))
        wait_for_rows(path, "entry/particles/first_row", 5)
        with open_result(path) as file:
            assert file.swmr_mode
            tables = read_tables(file)
            assert tables.shapes == SHAPES
            sizes = [particles_of(i)["size"] for i in range(5)]
            np.testing.assert_array_equal(tables.particles["size"], np.concatenate(sizes))
            np.testing.assert_array_equal(tables.summary["n_particles"], [len(s) for s in sizes])
            assert {name.decode() for name in tables.particles["shape_class"]} == {
                "cube", "octahedron", "unsure",
            }  # fmt: skip
        run.stop()


def test_a_run_without_particles_costs_no_row(tmp_path: Path) -> None:
    none = particles_of(0)
    record_particles(tmp_path / "run.nxs", introduced=False, particles=none)
    with h5py.File(tmp_path / "run.nxs") as file:
        lengths = {name: len(column) for name, column in file["entry/particles"].items()}
        assert lengths.pop("first_row") == N
        assert set(lengths.values()) == {0}
    assert check_file(tmp_path / "run.nxs").ok


def _as_of_an_earlier_version(path: Path) -> None:
    """Give a file the table that earlier versions laid out and never filled."""
    with h5py.File(path, "r+", libver=("v110", "v110")) as file:
        del file["entry/particles"], file["entry/summary/n_particles"]
        group = file.create_group("entry/particles")
        group.attrs["shapes"] = ""
        for name, shape in (("frame_id", ()), ("centre", (2,)), ("size", ())):
            group.create_dataset(name, (0, *shape), "<f4", maxshape=(None, *shape))


def test_files_of_earlier_versions_are_checked_repaired_and_compared(tmp_path: Path) -> None:
    old, new = tmp_path / "old.nxs", tmp_path / "new.nxs"
    for path in (old, new):
        record_particles(path, introduced=False, particles=particles_of(0))
    _as_of_an_earlier_version(old)
    assert check_file(old).ok
    assert compare(read_results(old), read_results(new)).same
    with h5py.File(old, "r+", libver=("v110", "v110")) as file:
        file["entry/process/state"][()] = b"recording"
    assert repair(old).problems == ()


def test_another_shape_or_number_of_particles_is_a_difference(tmp_path: Path) -> None:
    def other(result: FrameResult) -> FrameResult:
        particles = result.particles.copy()
        particles["shape"] = 2
        return FrameResult(
            **{name: getattr(result, name) for name in result.__slots__ if name != "particles"},
            particles=particles[: 1 if result.frame_id == 5 else None],
        )

    for name, change in (("a", lambda r: r), ("b", other)):
        with running(tmp_path / f"{name}.nxs", ANALYSE) as (detector, run, analyser):
            end = analyser()
            end.introduce(INFO)
            detector.send(*series_of(range(N), N))
            for _ in range(N):
                end.answer(change(result_of(end.next_task())))
            run.finish()
    comparison = compare(read_results(tmp_path / "a.nxs"), read_results(tmp_path / "b.nxs"))
    assert comparison.particles == sum(len(particles_of(i)) for i in range(N))
    found = {(d.frame_id, d.field): (d.stored, d.again) for d in comparison.differences}
    assert found.pop((5, "n_particles")) == ("2", "1")
    assert found == {
        (frame_id, "particles.shape_class"): (("unsure", *SHAPES)[frame_id % 4], SHAPES[2])
        for frame_id in range(N)
        if frame_id % 3 and frame_id % 4 != 3 and frame_id != 5
    }
    assert "9 particles" in format_comparison(comparison)
