"""The command line as a user runs it: real processes, real signals, real files."""

import json
import os
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from simulator.accuracy import MATCH_RADIUS_A, match
from simulator.demo_states import load_states
from simulator.truth import read_truth, truth_path
from tests.waiting import free_port, wait_until

COMMAND = [sys.executable, "-m", "pipeline.cli"]
ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 90.0
SMALL = ["--headless", "--size", "256", "--backend", "null", "--json"]
ENDLESS = ["--frames", "100000", "--fps", "50"]

needs_sessions = pytest.mark.skipif(sys.platform == "win32", reason="a session's signals are POSIX's")


def atomstream(*argv: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *argv], cwd=cwd, capture_output=True, text=True, timeout=PATIENCE_S, env=environment()
    )


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


@contextmanager
def running(*argv: str, cwd: Path) -> Iterator["subprocess.Popen[str]"]:
    """A command in a terminal's place: its processes form a group that gets Ctrl-C together."""
    process = subprocess.Popen(
        [*COMMAND, *argv],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def press_ctrl_c(process: "subprocess.Popen[str]") -> None:
    os.killpg(process.pid, signal.SIGINT)


def finish(process: "subprocess.Popen[str]") -> tuple[int, dict[str, Any], str]:
    """Wait for the end; returns the exit status, the JSON record and what was said on stderr."""
    out, err = process.communicate(timeout=PATIENCE_S)
    return process.returncode, json.loads(out.splitlines()[-1]), err


def n_recorded(path: Path) -> int:
    """How many frames a concurrent reader sees."""
    try:
        with h5py.File(path, "r", libver="latest", swmr=True) as file:
            return int(file["entry/stack/intensity"].shape[0])
    except OSError:
        return 0


def process_group_is_gone(pgid: int) -> bool:
    try:
        os.killpg(pgid, 0)
    except ProcessLookupError:
        return True
    return False


def expect_columns_followed(recording: Path) -> None:
    """Each true column has one track through the movie; more counts are right than frame by frame."""
    truth, ids = read_truth(truth_path(recording)), defaultdict(set)
    right = {"count": 0, "fused_count": 0}
    with h5py.File(recording) as file:
        columns, summary = file["entry/columns"], file["entry/summary"]
        fused = summary["fused_atoms"][:]
        for frame_id, first, n in zip(
            summary["frame_id"][:], columns["first_row"][:], summary["n_columns"][:], strict=True
        ):
            found = {name: columns[name][first : first + n] for name in ("y", "x", "track_id", *right)}
            true = truth.columns_of(int(frame_id))
            places = [np.stack([table["y"], table["x"]], -1) for table in (found, true)]
            i, j = match(*places, MATCH_RADIUS_A / truth.pixel_size_A)
            for column_id, track_id in zip(true["column_id"][j], found["track_id"][i], strict=True):
                ids[int(column_id)].add(int(track_id))
            for name in right:
                right[name] += int((found[name][i] == true["count"][j]).sum()) if frame_id >= 20 else 0
    assert len(ids) > 100
    assert sum(len(tracks) == 1 for tracks in ids.values()) >= 0.98 * len(ids)
    assert right["fused_count"] >= right["count"]
    assert fused[-1] == pytest.approx(true["count"].sum(), rel=0.1)


def expect_report(recording: Path, folder: Path) -> None:
    done = atomstream("report", str(recording), "--csv", "tables", "--out", "run.html", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["frames"] == 40
    assert [rate["region"] for rate in record["rates"]] == ["bulk", "surface", "corner", "all"]
    assert (folder / "run.html").stat().st_size > 10_000
    assert (folder / "tables" / "totals.csv").read_text().count("\n") == 41


def test_a_demonstration_analyses_every_frame_and_compares_with_the_truth(tmp_path: Path) -> None:
    options = ["--headless", "--frames", "40", "--fps", "15", "--size", "256", "--json"]
    done = atomstream("demo", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    names = ("sent", "received", "recorded", "analysed", "skipped", "missing", "damaged")
    assert [record[name] for name in names] == [40, 40, 40, 40, 0, 0, 0]
    assert record["ok"] is True
    assert record["backend"] == "openvino"
    assert record["truth"]["frames"] == 40
    assert record["truth"]["true_columns"] > 40 * 100
    recording = tmp_path / record["files"][0]
    expect_columns_followed(recording)
    expect_report(recording, tmp_path)
    assert record["latency_p50_ms"] > 0
    assert "nothing was lost" in done.stderr
    (recording,) = (tmp_path / "runs").glob("demo-*.nxs")
    assert record["files"] == [str(recording.relative_to(tmp_path))]
    assert recording.with_suffix(".truth.h5").exists()
    checked = atomstream("check", str(recording), "--json", cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout
    assert json.loads(checked.stdout)["decoded"] == 40


def test_frames_lost_on_the_way_are_named_and_change_the_exit_status(tmp_path: Path) -> None:
    options = [*SMALL, "--frames", "60", "--fps", "60", "--fault", "drop@7+8,corrupt@20,truncate@30"]
    done = atomstream("demo", *options, "--out", "run.nxs", cwd=tmp_path)
    record = json.loads(done.stdout)
    assert done.returncode == 1
    assert record["ok"] is False
    assert (record["missing"], record["lost"]) == (2, 4)
    assert any("missing frames: 2" in problem for problem in record["problems"])
    assert any("damaged frames: 2" in problem for problem in record["problems"])
    assert atomstream("check", "run.nxs", cwd=tmp_path).returncode == 1


def test_the_movie_streams_in_our_own_format_too(tmp_path: Path) -> None:
    options = [*SMALL, "--frames", "30", "--fps", "60", "--wire", "atomstream", "--compression", "none"]
    done = atomstream("demo", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["analysed"] == 30


def filmed(done: "subprocess.CompletedProcess[str]", folder: Path) -> str:
    """What the movie was of, by its truth."""
    assert done.returncode == 0, done.stderr
    with h5py.File(truth_path(folder / json.loads(done.stdout)["files"][0])) as file:
        return str(json.loads(file.attrs["settings"])["material"])


def test_the_movie_is_of_the_networks_material_and_compared_with_its_truth(tmp_path: Path) -> None:
    options = ["--headless", "--size", "256", "--json", "--frames", "10"]
    done = atomstream("demo", *options, "--material", "gold-columns", cwd=tmp_path)
    assert filmed(done, tmp_path) == "gold-columns"
    assert "means nothing" not in done.stderr
    truth = json.loads(done.stdout)["truth"]
    assert truth["frames"] == 10
    assert truth["true_columns"] == 10 * len(load_states("gold-columns").columns_of(0))
    assert truth["within_one_share"] > 0.95


def test_a_material_that_was_never_filmed_gets_ceria_and_is_told(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text('[analysis]\nmaterial = "gold"\n')
    done = atomstream("demo", *SMALL, "--frames", "10", "--config", "run.toml", cwd=tmp_path)
    assert filmed(done, tmp_path) == "ceria"
    assert "the movie is of ceria: what networks of gold say of it means nothing" in done.stderr


def test_a_movie_of_gold_is_recorded_with_its_truth(tmp_path: Path) -> None:
    options = ["--movie", "gold.nxs", "--material", "gold-columns", "--frames", "10", "--size", "256"]
    done = atomstream("simulate", *options, "--json", cwd=tmp_path)
    assert filmed(done, tmp_path) == "gold-columns"
    assert atomstream("check", "gold.nxs", cwd=tmp_path).returncode == 0


@needs_sessions
def test_ctrl_c_ends_a_demonstration_with_a_valid_file(tmp_path: Path) -> None:
    out = tmp_path / "run.nxs"
    with running("demo", *SMALL, *ENDLESS, "--out", str(out), cwd=tmp_path) as demo:
        wait_until(lambda: n_recorded(out) > 20)
        press_ctrl_c(demo)
        status, record, errors = finish(demo)
    assert status == 0, errors
    assert record["ended_early"] is True
    assert record["recorded"] > 20
    assert "Traceback" not in errors
    wait_until(lambda: process_group_is_gone(demo.pid))
    assert atomstream("check", str(out), cwd=tmp_path).returncode == 0


@needs_sessions
def test_ctrl_c_ends_a_recording_with_a_valid_file(tmp_path: Path) -> None:
    out = tmp_path / "run.nxs"
    port = free_port()
    movie = ["--stream", f"tcp://127.0.0.1:{port}", "--size", "256", "--fps", "50"]
    with running("simulate", *movie, "--json", cwd=tmp_path) as sender:
        source = f"dectris2://127.0.0.1:{port}"
        options = ["--out", str(out), "--connect-timeout-s", "60", "--json"]
        with running("record", source, *options, cwd=tmp_path) as recorder:
            wait_until(lambda: n_recorded(out) > 20)
            press_ctrl_c(recorder)
            status, record, errors = finish(recorder)
        press_ctrl_c(sender)
        assert finish(sender)[0] == 0
    assert status == 0, errors
    assert record["recorded"] == record["received"] > 20
    wait_until(lambda: process_group_is_gone(recorder.pid))
    assert atomstream("check", str(out), cwd=tmp_path).returncode == 0


@needs_sessions
def test_a_second_ctrl_c_leaves_no_process_behind(tmp_path: Path) -> None:
    out = tmp_path / "run.nxs"
    with running("demo", *SMALL, *ENDLESS, "--out", str(out), cwd=tmp_path) as demo:
        wait_until(lambda: n_recorded(out) > 20)
        os.kill(demo.pid, signal.SIGTERM)
        press_ctrl_c(demo)
        out_text, errors = demo.communicate(timeout=PATIENCE_S)
    assert "Traceback" not in errors
    assert demo.returncode in (0, 1)  # 0 where the run had ended before the second came
    assert json.loads(out_text.splitlines()[-1])
    wait_until(lambda: process_group_is_gone(demo.pid))


@needs_sessions
def test_a_killed_supervisor_leaves_a_closed_file_and_no_process(tmp_path: Path) -> None:
    out = tmp_path / "run.nxs"
    with running("demo", *SMALL, *ENDLESS, "--out", str(out), cwd=tmp_path) as demo:
        wait_until(lambda: n_recorded(out) > 20)
        demo.kill()
        _, errors = demo.communicate(timeout=PATIENCE_S)  # ends when the last process lets go of stderr
        wait_until(lambda: process_group_is_gone(demo.pid))
    assert "Traceback" not in errors
    with h5py.File(out, "r") as file:
        assert file["entry/process/state"][()] != b"recording"
        assert file["entry/stack/intensity"].shape[0] > 20
