"""``atomstream tee`` between other processes: encrypted, to other people's receiver, to recorders."""

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 - registers the filters
import numpy as np
import pytest

from simulator.sender import SenderSettings, send_stream
from streamer.check import check_file
from streamer.keys import make_key_files
from streamer.sources import Scheme
from tests.integration.make_venvs import LIBERTEM
from tests.waiting import free_ports, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
PATIENCE_S = 150.0
PATIENT = ("--connect-timeout-s", "120")


@contextmanager
def command(*arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    """Run a command of the program."""
    line = [sys.executable, "-m", "pipeline.cli", *map(str, arguments), "--json"]
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(line, cwd=ROOT, text=True, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def finish(process: subprocess.Popen[str]) -> tuple[int, dict[str, Any], list[str]]:
    output, errors = process.communicate(timeout=PATIENCE_S)
    return process.returncode, json.loads(output.splitlines()[-1]), errors.splitlines()


def test_a_stream_travels_encrypted_from_end_to_end(tmp_path: Path) -> None:
    for name in ("detector", "tee", "office", "stranger"):
        make_key_files(tmp_path / name)

    def secret(name: str) -> list[str | Path]:
        return ["--key", tmp_path / f"{name}.key_secret"]

    def public(option: str, name: str) -> list[str | Path]:
        return [f"--{option}-key", tmp_path / f"{name}.key"]

    source, out = free_ports(2)
    movie = ["simulate", "--stream", f"tcp://127.0.0.1:{source}", "--frames", "30", "--size", "256"]
    tee = ["tee", f"dectris2://127.0.0.1:{source}", "--lossless", f"tcp://127.0.0.1:{out}", "--series", "1"]
    record = ["record", f"dectris2://127.0.0.1:{out}", *PATIENT, "--out"]
    with (
        command(*movie, *secret("detector"), *public("client", "tee")) as detector,
        command(
            *tee, *secret("tee"), *public("server", "detector"), *public("client", "office"), *PATIENT
        ) as between,
    ):
        with command(*record, tmp_path / "no.nxs", *secret("stranger"), *public("server", "tee")) as stranger:
            status, answer, _ = finish(stranger)
        assert status == 1
        assert "refuses the connection: it does not admit this machine's key" in answer["error"]
        with command(*record, tmp_path / "yes.nxs", *secret("office"), *public("server", "tee")) as office:
            status, summary, _ = finish(office)
        assert (status, summary["recorded"], summary["lost"]) == (0, 30, 0)
        status, counts, errors = finish(between)
        assert finish(detector)[0] == 0
    assert (status, counts["ok"], counts["frames"], counts["outputs"][0]["frames"]) == (0, True, 30, 30)
    assert sum("a client at 127.0.0.1 was refused" in line for line in errors) == 1
    assert check_file(tmp_path / "yes.nxs").ok
    assert not (tmp_path / "no.nxs").exists()


@pytest.mark.skipif(bool(LIBERTEM.missing), reason=LIBERTEM.missing)
def test_libertem_and_our_recorder_get_the_same_frames(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    images = rng.poisson(0.5, (20, 40, 40)).astype(
        "<u2"
    )  # square: LiberTEM takes the sides for rows and columns
    source, theirs, ours = free_ports(3)
    result, path = tmp_path / "frames.npz", tmp_path / "run.nxs"
    settings = SenderSettings(Scheme.DECTRIS1, f"tcp://127.0.0.1:{source}", n_planned=20, frame_time_s=0.01)
    outputs = ["--lossless", f"tcp://127.0.0.1:{theirs}", "--lossless", f"tcp://127.0.0.1:{ours}"]
    receive = [
        LIBERTEM.python,
        HERE / "libertem_receive.py",
        f"tcp://127.0.0.1:{theirs}",
        "20",
        "40",
        "40",
        result,
    ]
    with (
        command("tee", f"dectris1://127.0.0.1:{source}", *outputs, "--series", "1", *PATIENT) as tee,
        command("record", f"dectris1://127.0.0.1:{ours}", "--out", path, *PATIENT) as recorder,
        subprocess.Popen(receive, stdout=subprocess.PIPE, text=True) as libertem,
    ):
        send_stream(images, settings)
        assert libertem.wait(PATIENCE_S) == 0
        assert finish(recorder)[0] == 0
        assert finish(tee)[0] == 0
    with np.load(result) as received, h5py.File(path) as file:
        assert np.array_equal(received["frames"], images)
        assert np.array_equal(file["entry/stack/intensity"][:], images)


def test_a_run_passes_its_stream_on_itself(tmp_path: Path) -> None:
    """The detector's one client is `live`; two recorders take the stream from it, one of them if it can."""
    source, lossless, best_effort = free_ports(3)
    paths = {name: tmp_path / f"{name}.nxs" for name in ("live", "lossless", "best-effort")}
    live = ["live", f"dectris2://127.0.0.1:{source}", "--headless", "--backend", "null", *PATIENT]
    live += ["--tee-lossless", f"tcp://127.0.0.1:{lossless}", "--out", str(paths["live"])]
    live += ["--tee-best-effort", f"tcp://127.0.0.1:{best_effort}"]
    movie = ["simulate", "--stream", f"tcp://127.0.0.1:{source}", "--frames", "60", "--size", "256"]
    with ExitStack() as stack:
        runs = [stack.enter_context(command(*live))]
        for name, port in (("lossless", lossless), ("best-effort", best_effort)):
            record = ["record", f"dectris2://127.0.0.1:{port}", "--out", str(paths[name]), *PATIENT]
            runs.append(stack.enter_context(command(*record)))
        runs.append(stack.enter_context(command(*movie)))
        results = [finish(run) for run in runs]
    (status, summary, errors), (_, kept, _), *_ = results
    assert (status, summary["ok"], summary["recorded"], summary["analysed"]) == (0, True, 60, 60)
    assert f"atomstream: lossless: dectris2://127.0.0.1:{lossless}" in errors
    first, second = summary["tee"]
    assert (first["policy"], first["frames"], first["ends"]) == ("lossless", 60, 1)
    assert second["frames"] + second["dropped"] + second["absent"] == 60
    assert (kept["recorded"], kept["lost"]) == (60, 0)
    with h5py.File(paths["live"]) as file, h5py.File(paths["lossless"]) as other:
        assert np.array_equal(file["entry/stack/intensity"][:], other["entry/stack/intensity"][:])


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_ctrl_c_ends_a_tee_with_its_counts() -> None:
    source, out = free_ports(2)
    images = np.zeros((5, 16, 16), np.uint16)
    with command(
        "tee", f"atomstream://127.0.0.1:{source}", "--best-effort", f"tcp://127.0.0.1:{out}", *PATIENT
    ) as tee:
        send_stream(images, SenderSettings(Scheme.ATOMSTREAM, f"tcp://127.0.0.1:{source}", n_planned=5))
        time.sleep(1.0)
        os.kill(tee.pid, signal.SIGINT)
        status, counts, errors = finish(tee)
    assert (status, counts["stopped"], counts["problems"]) == (0, True, [])
    assert counts["frames"] == counts["outputs"][0]["absent"] == 5
    assert any("while no client was there 5" in line for line in errors)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_a_lossless_client_that_leaves_makes_the_tee_end_with_1(tmp_path: Path) -> None:
    source, out = free_ports(2)
    path, over = tmp_path / "run.nxs", threading.Event()
    settings = SenderSettings(Scheme.ATOMSTREAM, f"tcp://127.0.0.1:{source}", rate_hz=30.0)
    images = itertools.repeat(np.zeros((16, 16), np.uint16))
    detector = threading.Thread(target=send_stream, args=(images, settings, over.is_set))
    detector.start()
    lossless = ["--lossless", f"tcp://127.0.0.1:{out}"]
    try:
        with (
            command("tee", f"atomstream://127.0.0.1:{source}", *lossless, *PATIENT) as tee,
            command("record", f"atomstream://127.0.0.1:{out}", "--out", path, *PATIENT) as recorder,
        ):
            wait_until(path.exists)
            os.kill(recorder.pid, signal.SIGINT)  # in mid-series
            finish(recorder)
            time.sleep(1.0)
            os.kill(tee.pid, signal.SIGINT)
            status, counts, _ = finish(tee)
    finally:
        over.set()
        detector.join()
    assert (status, counts["ok"], counts["outputs"][0]["breaks"]) == (1, False, 1)
    assert "left in mid-series (1 times): frames are lost" in counts["problems"][0]
