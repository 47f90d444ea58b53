"""``--arm``: a detector simulated by other people is set up, armed, triggered and disarmed by the command."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from streamer.check import check_file
from streamer.simplon import Simplon
from tests.integration.make_venvs import TICKIT
from tests.integration.tickit_detector import TickitDetector, running_detector
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(bool(TICKIT.missing), reason=TICKIT.missing),
]

ROOT = Path(__file__).parents[2]
PATIENCE_S = 150.0


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TickitDetector]:
    with running_detector(tmp_path_factory.mktemp("tickit")) as detector:
        yield detector


@pytest.fixture
def new_detector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TickitDetector]:
    """A simulator of a test's own: after series of two triggers and a cancelled one, tickit sends no more."""
    with running_detector(tmp_path_factory.mktemp("tickit")) as detector:
        yield detector


def rest_of(detector: TickitDetector) -> Simplon:
    return Simplon(f"http://127.0.0.1:{detector.rest_port}", "1.8.0", 10.0)


@contextmanager
def recording(detector: TickitDetector, out: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    source = f"dectris2://127.0.0.1:{detector.cbor_port}"
    if "--legacy" in options:
        source = f"dectris1://127.0.0.1:{detector.legacy_port}"
    arm = ["--arm", rest_of(detector).url, *(option for option in options if option != "--legacy")]
    command = [sys.executable, "-m", "pipeline.cli", "record", source, "--out", str(out), "--json", *arm]
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def finish(process: subprocess.Popen[str]) -> tuple[int, dict[str, Any], str]:
    output, errors = process.communicate(timeout=PATIENCE_S)
    return process.returncode, json.loads(output.splitlines()[-1]), errors


def record(detector: TickitDetector, out: Path, *options: str) -> tuple[int, dict[str, Any], str]:
    with recording(detector, out, *options) as process:
        return finish(process)


@pytest.mark.parametrize(
    ("options", "n_frames", "settings"),
    [
        (["--images", "5", "--triggers", "1", "--frame-time-s", "0.05"], 5, ("cbor", 5, 1, 0.05, "basic")),
        (["--legacy", "--images", "3", "--triggers", "2", "--header-detail", "all"], 6,
         ("legacy", 3, 2, 0.05, "all")),
    ],
)  # fmt: skip
def test_a_series_is_taken(
    detector: TickitDetector,
    tmp_path: Path,
    options: Sequence[str],
    n_frames: int,
    settings: tuple[object, ...],
) -> None:
    status, summary, errors = record(detector, tmp_path / "run.nxs", *options)
    assert (status, summary["problems"]) == (0, [])
    assert (summary["planned"], summary["recorded"], summary["lost"]) == (n_frames, n_frames, 0)
    assert f"detector {rest_of(detector).url}: " in errors
    rest = rest_of(detector)
    assert rest.state() == "idle"
    stream = [rest.get("stream", f"config/{name}") for name in ("mode", "format", "header_detail")]
    camera = [rest.get("detector", f"config/{name}") for name in ("nimages", "ntrigger", "frame_time")]
    assert stream[0] == "enabled"
    assert (stream[1], *camera, stream[2]) == settings
    assert check_file(tmp_path / "run.nxs").ok


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_ctrl_c_disarms_the_detector(detector: TickitDetector, tmp_path: Path) -> None:
    out = tmp_path / "run.nxs"
    with recording(detector, out, "--images", "100000", "--triggers", "1") as process:
        wait_until(lambda: rest_of(detector).state() == "acquire" and out.exists())
        os.kill(process.pid, signal.SIGINT)
        status, summary, _ = finish(process)
    assert (status, summary["ended_early"], summary["problems"]) == (0, True, [])
    assert rest_of(detector).state() == "idle"
    assert check_file(out).ok


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_series_are_taken_until_ctrl_c(new_detector: TickitDetector, tmp_path: Path) -> None:
    with recording(
        new_detector, tmp_path / "run.nxs", "--images", "3", "--triggers", "1", "--continuous"
    ) as process:
        wait_until((tmp_path / "run-3.nxs").exists)
        os.kill(process.pid, signal.SIGINT)
        status, summary, errors = finish(process)
    assert (status, summary["problems"]) == (0, [])
    assert summary["n_series"] >= 3
    assert [(s["recorded"], s["lost"], s["ended_by"]) for s in summary["series"][:2]] == [
        (3, 0, "end message")
    ] * 2
    assert summary["strays"] == 0
    assert f"3 frames in {tmp_path / 'run-2.nxs'}" in errors
    assert rest_of(new_detector).state() == "idle"


def test_a_detector_that_was_left_armed_is_disarmed_first(
    new_detector: TickitDetector, tmp_path: Path
) -> None:
    rest_of(new_detector).command("arm")
    status, summary, errors = record(new_detector, tmp_path / "run.nxs", "--images", "3", "--triggers", "1")
    assert (status, summary["recorded"]) == (0, 3)
    assert "was armed already: it is disarmed" in errors


def test_a_busy_detector_is_left_alone(detector: TickitDetector, tmp_path: Path) -> None:
    rest = rest_of(detector)
    rest.put("detector", "nimages", 100_000)
    rest.command("arm")
    rest.command("trigger", PATIENCE_S, lambda: rest.state() == "acquire")
    try:
        status, summary, _ = record(detector, tmp_path / "run.nxs", "--images", "3")
        assert status == 1
        assert "is busy (state acquire)" in summary["error"]
        assert rest.state() == "acquire"
    finally:
        rest.command("cancel")
        rest.command("disarm")
    assert not (tmp_path / "run.nxs").exists()
