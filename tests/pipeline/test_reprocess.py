"""Recorded runs that are analysed again: in this process, by processes of this machine, on a Dask cluster."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 - registers the filters
import numpy as np
import pytest

from pipeline.again import replace_analysis
from pipeline.archive import read_run
from pipeline.cli import main
from pipeline.compare import compare, read_results
from pipeline.plan import Companion, RunOutcome
from pipeline.reprocess import _Book, configured
from pipeline.supervisor import supervise
from streamer.check import check_file
from streamer.config import AnalysisConfig, RecordConfig
from streamer.records import FrameStatus
from tests.pipeline.run_parts import send_images
from tests.pipeline.test_supervisor import plan_of
from tests.pipeline.tiny_networks import MATERIAL, frame_with_columns, write_denoiser, write_networks
from tests.streamer.ingest_run import record, result_of, running, series_of

ROOT = Path(__file__).parents[2]
N = 80  # three stretches
TABLES = ("summary", "columns", "changes")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with networks and a run that was analysed live."""
    folder = tmp_path_factory.mktemp("lab")
    write_networks(folder / "models")
    rng = np.random.default_rng(1)
    walk = np.cumsum(rng.normal(0, 0.4, (N, 2)), axis=0)
    places = [(20, 20, 3), (20, 44, 4), (44, 20, 5), (44, 44, 2)]
    images = [
        rng.poisson(frame_with_columns((64, 64), [(y + dy, x + dx, n) for y, x, n in places]))
        for dy, dx in walk
    ]
    np.save(folder / "images.npy", np.array(images, np.uint16))
    assert live(folder, folder / "run.nxs").ingest["analysed"] == N
    return folder


def live(lab: Path, out: Path, **options: Any) -> RunOutcome:
    """Analyse the images of the lab live."""
    given: dict[str, Any] = {"backend": "openvino", "precision": "f32", "threads": 1, **options}
    analysis = AnalysisConfig(models=str(lab / "models"), material=MATERIAL, **given)
    sender = Companion(send_images, (str(lab / "images.npy"),))
    return supervise(plan_of(out, sender, analysis=analysis))


def reprocess(*arguments: str) -> tuple[int, dict[str, Any], str]:
    """Run the command in a process of its own; return its status, its last line's JSON, and its stderr."""
    command = [sys.executable, "-m", "pipeline.cli", "reprocess", *arguments, "--json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=150, check=False
    )
    return done.returncode, json.loads(done.stdout.splitlines()[-1]), done.stderr


def tables_of(path: str | Path) -> dict[str, bytes]:
    with h5py.File(path) as file:
        return {
            f"{table}/{name}": column[()].tobytes()
            for table in TABLES
            for name, column in file[f"entry/{table}"].items()
        }


@contextmanager
def cluster(n_workers: int) -> Iterator[str]:
    """A Dask scheduler and workers, each a process, as an administrator starts them."""
    dask = [sys.executable, "-m", "dask"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> "subprocess.Popen[str]":
        started.append(
            subprocess.Popen([*dask, *arguments], env=environment, stderr=subprocess.PIPE, text=True)
        )
        return started[-1]

    try:
        scheduler = start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        assert scheduler.stderr is not None
        line = next(line for line in scheduler.stderr if "Scheduler at:" in line)
        address = "tcp://" + line.split("tcp://")[1].strip()
        for _ in range(n_workers):
            start("worker", address, "--nthreads", "2", "--no-nanny", "--no-dashboard")
        yield address
    finally:
        for process in reversed(started):
            process.kill()
            process.communicate()


def test_the_results_are_the_live_ones_and_the_same_with_any_number_of_workers(
    lab: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run.nxs"
    shutil.copy(lab / "run.nxs", run)
    assert main(["reprocess", str(run), "--workers", "0", "--copy-frames"]) == 0
    assert compare(read_results(run), read_results(tmp_path / "run-again.nxs")).same
    here = tables_of(tmp_path / "run-again.nxs")
    with cluster(2) as address:
        for number, where in enumerate((["--workers", "1"], ["--workers", "2"], ["--scheduler", address]), 2):
            status, answer, errors = reprocess(str(run), *where)
            assert status == 0, errors
            assert answer["files"][0]["out"] == str(tmp_path / f"run-again-{number}.nxs")
            assert tables_of(answer["files"][0]["out"]) == here, where
    assert here["columns/fused_count"]
    assert tables_of(run) == here
    for path in (tmp_path / "run-again.nxs", tmp_path / "run-again-2.nxs"):
        report = check_file(path)
        assert report.ok, report
        assert report.analysed == N
    with h5py.File(tmp_path / "run-again.nxs") as new, h5py.File(run) as old:
        for name in ("stack/intensity", "stack/time", "ledger/t_received", "ledger/frame_id"):
            np.testing.assert_array_equal(new[f"entry/{name}"][:], old[f"entry/{name}"][:])
        assert new["entry/process/notes/text"][0] == b"analysed again from run.nxs"


def test_several_analysers_give_what_one_gives(lab: Path, tmp_path: Path) -> None:
    """The follower finishes what two find in turns: drift, tracks, fused counts, to the last bit."""
    out = tmp_path / "run.nxs"
    assert live(lab, out, analysers=2).ingest["analysed"] == N
    assert tables_of(out) == tables_of(lab / "run.nxs")
    assert check_file(out).ok


def test_several_analysers_in_whole_numbers_are_followed_too(lab: Path, tmp_path: Path) -> None:
    """The follower must find the networks that the analysers have: it is done without otherwise."""
    models = write_networks(tmp_path / "models", weights="int8")
    (models / f"{MATERIAL}_heights.onnx").rename(models / f"{MATERIAL}_heights_i8.onnx")
    shutil.copy(lab / "images.npy", tmp_path)
    for analysers in (1, 2):
        live(tmp_path, tmp_path / f"{analysers}.nxs", analysers=analysers, precision="i8")
    tables = tables_of(tmp_path / "1.nxs")
    assert tables_of(tmp_path / "2.nxs") == tables
    assert np.isfinite(np.frombuffer(tables["summary/drift"], "<f4")).all()


def test_new_networks_averages_and_batches_are_named_in_the_new_file(lab: Path, tmp_path: Path) -> None:
    run, models = tmp_path / "run.nxs", write_networks(tmp_path / "other", fragile=True)
    shutil.copy(lab / "run.nxs", run)
    options = ["--models", str(models), "--average", "4", "--batch", "3"]
    assert main(["reprocess", str(run), "--workers", "0", *options]) == 0
    with h5py.File(tmp_path / "run-again.nxs") as new, h5py.File(run) as old:
        hashes = [file["entry/process/analysis/models/sha256"][:].tolist() for file in (new, old)]
        assert hashes[0] != hashes[1]
        assert b"average_frames = 4" in new["entry/process/configuration"][()]
        assert (new["entry/ledger/status"][:] == FrameStatus.ANALYSED).all()
    status, answer, _ = reprocess(str(run), "--workers", "2", *options)
    assert status == 0
    assert tables_of(answer["files"][0]["out"]) == tables_of(tmp_path / "run-again.nxs")


def test_a_run_is_denoised_again_from_several_frames(lab: Path, tmp_path: Path) -> None:
    run, models = tmp_path / "run.nxs", write_denoiser(write_networks(tmp_path / "models"), 3)
    shutil.copy(lab / "run.nxs", run)
    options = ["--models", str(models), "--denoise-frames", "3"]
    assert main(["reprocess", str(run), "--workers", "0", *options]) == 0
    status, answer, _ = reprocess(str(run), "--workers", "2", *options)
    assert status == 0
    tables = tables_of(tmp_path / "run-again.nxs")
    assert tables_of(answer["files"][0]["out"]) == tables
    assert tables["columns/count"] == tables_of(run)["columns/count"], "columns are counted in single frames"


def test_a_run_is_analysed_again_in_several_orientations(lab: Path, tmp_path: Path) -> None:
    """These networks know no handedness at all, so that the mean over mirror images changes nothing."""
    run = tmp_path / "run.nxs"
    shutil.copy(lab / "run.nxs", run)
    assert main(["reprocess", str(run), "--workers", "0", "--orientations", "4"]) == 0
    with h5py.File(tmp_path / "run-again.nxs") as new, h5py.File(run) as old:
        assert b"orientations = 4" in new["entry/process/configuration"][()]
        for name in ("count", "x", "y", "probability"):
            values = (file[f"entry/columns/{name}"][:] for file in (new, old))
            np.testing.assert_allclose(*values, rtol=1e-4)


def test_what_is_given_wins_over_what_the_run_had(lab: Path) -> None:
    run = read_run(lab / "run.nxs")
    run = replace(run, config=replace_analysis(run.config, denoise_frames=3))
    averaged = configured(run, {"average_frames": 4}, None).analysis
    assert (averaged.average_frames, averaged.denoise_frames) == (4, 1)
    assert configured(run, {}, None).analysis.denoise_frames == 3


def test_a_damaged_frame_is_named_and_the_others_are_analysed(lab: Path, tmp_path: Path) -> None:
    run = tmp_path / "run.nxs"
    shutil.copy(lab / "run.nxs", run)
    with h5py.File(run, "r+") as file:
        stack = file["entry/stack/intensity"]
        mask, chunk = stack.id.read_direct_chunk((40, 0, 0))
        stack.id.write_direct_chunk((40, 0, 0), chunk[:20] + bytes(len(chunk) - 20), mask)
    assert main(["reprocess", str(run), "--workers", "0"]) == 1
    with h5py.File(tmp_path / "run-again.nxs") as file:
        status = file["entry/ledger/status"][:]
        assert np.flatnonzero(status != FrameStatus.ANALYSED).tolist() == [40]
        assert file["entry/ledger/reason"][40].startswith(b"damaged payload")


@pytest.mark.parametrize("copied", [[], ["--copy-frames"]])
def test_frames_that_were_not_to_be_kept_are_not_called_missing(copied: list[str], tmp_path: Path) -> None:
    run = tmp_path / "run.nxs"
    with running(run, AnalysisConfig(queue_frames=7), record=RecordConfig(every=3)) as (
        detector,
        it,
        analyser,
    ):
        end = analyser()
        detector.send(*series_of(range(8), 8))
        for _ in range(8):
            end.answer(result_of(end.next_task()))
        it.finish()
    assert main(["reprocess", str(run), "--workers", "0", "--backend", "null", *copied]) == 0
    again = tmp_path / "run-again.nxs"
    assert check_file(again).ok
    with h5py.File(again) as file:
        ledger = {name: column[:] for name, column in file["entry/ledger"].items()}
    kept = np.arange(8) % 3 == 0
    assert set(ledger["status"][kept]) == {FrameStatus.ANALYSED}
    assert set(ledger["status"][~kept]) == {FrameStatus.SKIPPED}
    assert set(ledger["reason"][~kept]) == {b"not in run.nxs"}
    assert (ledger["stack_row"][kept] >= 0).all() == bool(copied)
    with h5py.File(run) as file:
        np.testing.assert_array_equal(ledger["t_received"], file["entry/ledger/t_received"][:])


@pytest.mark.skipif(sys.platform == "win32", reason="there SIGTERM kills at once")
def test_a_run_that_is_terminated_leaves_a_closed_file(
    lab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, written = tmp_path / "run.nxs", _Book.write
    shutil.copy(lab / "run.nxs", run)

    def terminated(self: _Book, *given: Any) -> None:
        written(self, *given)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(_Book, "write", terminated)
    assert main(["reprocess", str(run), "--workers", "0", "--backend", "null"]) == 1
    assert check_file(tmp_path / "run-again.nxs").state == "stopped"


def test_notes_and_channels_go_on_into_the_new_file(lab: Path, tmp_path: Path) -> None:
    run = tmp_path / "run.nxs"
    shutil.copy(lab / "run.nxs", run)
    with h5py.File(run, "r+") as file:
        t = file["entry/ledger/t_received"][:]
        notes = file["entry/process/notes"]
        rows = {
            "time": [t[3] + 1e-6, t[30] + 1e-6], "frame_id": [3, 30],
            "source": [b"note", b"trigger"], "text": [b"beam is stable", b"hot: channel 700 is above 600"],
        }  # fmt: skip
        for name, values in rows.items():
            notes[name].resize(2, axis=0)
            notes[name][:] = values
    held = np.searchsorted(t, [t[0], t[20], t[60]])
    table = "\n".join(["time,temperature [K]", *(f"{float(t[i])!r},{300 + i}.5" for i in held)])
    (tmp_path / "furnace.csv").write_text(table)
    assert main(["channels", str(run), "--csv", str(tmp_path / "furnace.csv")]) == 0
    assert main(["reprocess", str(run), "--workers", "0"]) == 0
    replayed = tmp_path / "replayed.nxs"
    compare_it = ["replay", str(run), "--compare", "--headless", "--out", str(replayed)]
    assert main(compare_it) == 0
    for path in (tmp_path / "run-again.nxs", replayed):
        with h5py.File(path) as file:
            notes = file["entry/process/notes"]
            for source, line, frame_id in zip(rows["source"], rows["text"], rows["frame_id"], strict=True):
                (at,) = np.flatnonzero(notes["text"][:] == line)
                assert (notes["source"][at], notes["frame_id"][at]) == (source, frame_id)
                assert file["entry/ledger/t_received"][frame_id] <= notes["time"][at]
                assert notes["time"][at] < file["entry/ledger/t_received"][frame_id + 1]
            channel = file["entry/channels/temperature"]
            assert channel["value"].attrs["units"] == "K"
            now = file["entry/ledger/t_received"][:]
            last = np.searchsorted(channel["time"][:], now, side="right") - 1
            expected = np.repeat([300.5, 320.5, 360.5], [20, 40, N - 60])
            np.testing.assert_array_equal(channel["value"][:][last], expected)
        assert check_file(path).ok


def test_what_is_wrong_is_said_in_one_line(
    lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, bare = tmp_path / "run.nxs", tmp_path / "bare.nxs"
    shutil.copy(lab / "run.nxs", run)
    (tmp_path / "text.nxs").write_text("not HDF5")
    record(bare, *series_of([], 0))
    cases = (
        ([str(tmp_path / "none.nxs")], 2, "none.nxs"),
        ([str(run), str(tmp_path / "text.nxs")], 2, "text.nxs"),
        ([str(bare)], 2, "bare.nxs holds no frames"),
        ([str(run), "--workers", "-1"], 2, "--workers -1: expected 0 or more"),
        ([str(run), "--workers", "1", "--scheduler", "tcp://127.0.0.1:9"], 2, "and no --scheduler"),
        ([str(run), "--workers", "0", "--models", str(tmp_path)], 1, "no network tiny_denoise.onnx in"),
        ([str(run), "--workers", "0", "--batch", "0"], 2, "wrong option: "),
        *(
            ([str(run), "--workers", "0", "--pixel-size-A", size], 2, "pixel_size_A")
            for size in ("0", "-1", "nan")
        ),
    )
    for arguments, status, message in cases:
        capsys.readouterr()
        assert main(["reprocess", *arguments]) == status, arguments
        line = capsys.readouterr().err
        assert message in line
        assert line.count("\n") == 1, line
    assert not list(tmp_path.glob("*-again*"))


def test_a_cluster_that_is_not_there_is_said_in_one_line(lab: Path) -> None:
    run = str(lab / "run.nxs")
    status, answer, errors = reprocess(run, "--scheduler", "tcp://127.0.0.1:9", "--timeout-s", "1")
    assert (status, errors.count("\n")) == (1, 1), errors
    assert "no Dask scheduler answers at tcp://127.0.0.1:9 within 1 s" in answer["error"]
    status, answer, errors = reprocess(run, "--scheduler", "nonsense")
    assert (status, errors.count("\n")) == (2, 1), errors
    assert "expected tcp://HOST:PORT" in answer["error"]
    status, answer, errors = reprocess(run, "--workers", "1", "--models", str(lab))
    assert (status, errors.count("\n")) == (1, 1), errors
    assert "no network tiny_denoise.onnx in" in answer["error"], "what a worker of this machine has raised"
    with cluster(0) as address:
        status, answer, errors = reprocess(run, "--scheduler", address, "--timeout-s", "1")
    assert (status, errors.count("\n")) == (1, 1), errors
    assert f"the scheduler at {address} has no workers: start 'dask worker {address}'" in answer["error"]


def test_without_dask_the_extra_is_named(
    lab: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert main(["reprocess", str(lab / "run.nxs"), "--workers", "1"]) == 1
    assert "pip install 'atomstream[cluster]'" in capsys.readouterr().err
