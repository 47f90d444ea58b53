"""``atomstream replay`` as a user runs it: into the analysis, as a stream, compared."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest
import zmq

from pipeline.cli import main
from streamer.records import FrameStatus
from tests.streamer.files import writers as w
from tests.streamer.ingest_run import image_of, record, series_of

COMMAND = (sys.executable, "-m", "pipeline.cli", "replay")
PATIENCE_S = 90.0
SMALL = ("--headless", "--backend", "null", "--fps", "0", "--json")


def atomstream(*argv, cwd):
    """Run a command to its end."""
    command = (*COMMAND[:-1], *argv)
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=PATIENCE_S, env=environment()
    )


def environment():
    return {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}


@contextmanager
def streaming(*argv, cwd):
    """``atomstream replay … --to``: the process, and the address it has said it sends from."""
    log = cwd / "sender.log"
    with log.open("w") as err:
        process = subprocess.Popen(
            (*COMMAND, *argv, "--to", "tcp://127.0.0.1:*", "--json"),
            cwd=cwd, stdout=subprocess.PIPE, stderr=err, text=True, env=environment(),
        )  # fmt: skip
        try:
            yield process, _address(process, log)
        finally:
            process.kill()
            process.communicate()


def _address(process, log):
    deadline = time.monotonic() + PATIENCE_S
    while not (found := re.search(r"sending from (\S+)", log.read_text())):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found[1]


def frames_of(path):
    with h5py.File(path) as file:
        return file["/entry/stack/intensity"][:]


def result(process):
    return json.loads(process.stdout.splitlines()[-1])


def test_a_file_runs_through_the_analysis(tmp_path):
    frames = w.counted(shape=(64, 96))
    w.write_mrc(tmp_path / "movie.mrc", frames)
    done = atomstream("replay", "movie.mrc", "--out", "a.nxs", *SMALL, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    summary = result(done)
    assert summary["sent"] == summary["recorded"] == summary["analysed"] == w.N_FRAMES
    assert "pixel size 0.25 Å from cella / mx" in done.stderr
    np.testing.assert_array_equal(frames_of(tmp_path / "a.nxs"), frames)
    with h5py.File(tmp_path / "a.nxs") as file:
        assert file["/entry/process/series/pixel_size_nm"][()] == pytest.approx(0.025)


def test_a_part_of_a_recorded_run_is_replayed_byte_for_byte(tmp_path):
    record(tmp_path / "run.nxs", *series_of(range(6), 6))
    part = ("--frames", "2:5", "--loop", "2", "--wire", "dectris2")
    done = atomstream("replay", "run.nxs", *part, "--out", "a.nxs", *SMALL, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    again = frames_of(tmp_path / "a.nxs")
    np.testing.assert_array_equal(again, [image_of(i) for i in (2, 3, 4, 2, 3, 4)])
    with h5py.File(tmp_path / "a.nxs") as new, h5py.File(tmp_path / "run.nxs") as old:
        stacks = [file["/entry/stack/intensity"].id for file in (new, old)]
        assert stacks[0].read_direct_chunk((0, 0, 0)) == stacks[1].read_direct_chunk((2, 0, 0))


def test_a_stream_for_others_is_recorded_exactly(tmp_path):
    frames = w.counted(">u2", shape=(64, 96))
    w.write_imagej_tiff(tmp_path / "movie.tif", frames, ">")
    with streaming("movie.tif", "--wire", "dectris1", cwd=tmp_path) as (sender, address):
        done = atomstream("record", address, "--out", "a.nxs", "--json", cwd=tmp_path)
        out, _ = sender.communicate(timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    assert sender.returncode == 0
    assert json.loads(out.splitlines()[-1])["frames"] == w.N_FRAMES
    np.testing.assert_array_equal(frames_of(tmp_path / "a.nxs"), frames)


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT to one process is POSIX's")
def test_ctrl_c_ends_an_endless_stream(tmp_path):
    w.write_npy(tmp_path / "a.npy", w.counted())
    with streaming("a.npy", "--loop", "0", "--fps", "100", cwd=tmp_path) as (sender, _):
        os.kill(sender.pid, signal.SIGINT)
        out, _ = sender.communicate(timeout=PATIENCE_S)
    assert sender.returncode == 0
    assert json.loads(out)["interrupted"]


def test_analysing_again_finds_the_one_value_that_was_changed_and_no_other(tmp_path):
    small = ("--headless", "--size", "256", "--frames", "6", "--fps", "0", "--backend", "openvino")
    assert atomstream("demo", *small, "--out", "run.nxs", cwd=tmp_path).returncode == 0
    with h5py.File(tmp_path / "run.nxs", "r+") as file:
        file["/entry/columns/count"][3] += 1
        frame_id = int(file["/entry/columns/frame_id"][3])
    done = atomstream("replay", "run.nxs", "--compare", "--json", "--out", "again.nxs", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    comparison = result(done)["comparison"]
    (difference,) = comparison["differences"]
    assert (difference["frame_id"], difference["field"]) == (frame_id, "columns.count")
    assert difference["largest"] == 1
    assert comparison["frames"] == 6
    assert comparison["columns"] > 100
    assert comparison["engine_changes"] == []
    assert (tmp_path / "again.nxs").exists()


def test_damage_in_the_file_ends_the_run_with_what_came_before(tmp_path):
    frames = w.counted("<i2", shape=(64, 96))
    frames[5, 3, 3] = -2
    w.write_npy(tmp_path / "a.npy", frames)
    done = atomstream("replay", "a.npy", "--out", "a.nxs", *SMALL, cwd=tmp_path)
    assert done.returncode == 1
    assert any("frame 5 has a pixel of -2 counts" in problem for problem in result(done)["problems"])
    np.testing.assert_array_equal(frames_of(tmp_path / "a.nxs"), frames[:5])


def test_a_frame_that_cannot_be_read_is_named_in_the_ledger_and_the_run_goes_on(tmp_path):
    frames = w.counted("<i2", shape=(64, 96))
    path = w.write_dectris_legacy(tmp_path, frames, per_file=7)
    with h5py.File(tmp_path / "series_1_data_000001.h5", "r+") as file:
        file["/entry/data/data"].id.write_direct_chunk((4, 0, 0), b"\0" * 40)
    done = atomstream("replay", path.name, "--out", "a.nxs", *SMALL, cwd=tmp_path)
    assert done.returncode == 1
    assert any(
        "frame 4 of" in problem and "cannot be read" in problem for problem in result(done)["problems"]
    )
    np.testing.assert_array_equal(frames_of(tmp_path / "a.nxs"), np.delete(frames, 4, axis=0))
    with h5py.File(tmp_path / "a.nxs") as file:
        status, reason = file["/entry/ledger/status"][4], file["/entry/ledger/reason"][4]
    assert status == FrameStatus.DAMAGED
    assert reason.startswith(b"damaged payload: frame 4: 0 bytes of pixels")


WRONG = {
    "no file": (["none.mrc"], "there is no file"),
    "no rate": (["a.npy", "--pixel-size-A", "0.2"], "give --fps"),
    "no pixel size": (["a.npy", "--fps", "5"], "give --pixel-size-A"),
    "frames": (["a.npy", "--fps", "5", "--frames", "3:9"], "has the frames 0:7"),
    "no frames": (["a.npy", "--fps", "5", "--frames", "3:3"], "has the frames 0:7"),
    "frame range": (["a.npy", "--frames", "3"], "expected A:B"),
    "fps": (["a.npy", "--fps", "-1"], "expected 0 or more"),
    "fps nan": (["a.npy", "--fps", "nan"], "expected 0 or more"),
    "loop": (["a.npy", "--loop", "-1"], "expected 0 or more"),
    "scale": (["a.npy", "--scale", "0"], "expected a scale above 0"),
    "pixel size": (["a.npy", "--pixel-size-A", "0"], "expected more than 0"),
    "fractions": (["half.npy", "--fps", "0"], "give --scale COUNTS_PER_UNIT"),
    "to and out": (["a.npy", "--to", "tcp://127.0.0.1:*", "--out", "b.nxs"], "leave out --out"),
    "connect": (["a.npy", "--connect"], "--connect is for --to"),
    "compare what": (["a.npy", "--compare", "--fps", "0"], "a.npy is no result file of this program"),
    "no port": (["a.npy", "--fps", "0", "--to", "tcp://127.0.0.1"], "expected tcp://HOST:PORT"),
    "no such reader": (
        ["a.npy", "--format", "dm5"],
        "expected atomstream, dectris, mrc, tiff, npy, mib, ser",
    ),
    "compare part": (["run.nxs", "--compare", "--frames", "1:2"], "leave out --frames"),
    "compare recording": (["run.nxs", "--compare"], "without analysis"),
    "out exists": (["run.nxs", "--headless", "--out", "run.nxs"], "never overwritten"),
    "format": (["a.npy", "--format", "mrc", "--fps", "0"], "as MRC"),
    "dataset": (["a.npy", "--dataset", "2", "--fps", "0"], "one stack only"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wrong")
    w.write_npy(folder / "a.npy", w.counted())
    w.write_npy(folder / "half.npy", w.counted() / 2)
    record(folder / "run.nxs", *series_of(range(3), 3))
    return folder


@pytest.mark.parametrize("name", WRONG)
def test_wrong_use_is_one_line_and_exit_2(name, folder, monkeypatch, capsys):
    argv, message = WRONG[name]
    monkeypatch.chdir(folder)
    assert main(["replay", *argv]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("atomstream: ")
    assert message in last


def test_an_address_in_use_is_exit_1(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    with zmq.Context() as context, context.socket(zmq.PUSH) as socket:
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        assert main(["replay", "a.npy", "--fps", "0", "--to", f"tcp://127.0.0.1:{port}"]) == 1
    assert "cannot bind" in capsys.readouterr().err
