"""Of processes that need the same engines one builds and the others wait; real ones, on TensorRT's double."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.backends.tensorrt_turns import turn_to_build
from tests.pipeline.engine_builder import PATIENCE_S, WAITS, waiting
from tests.waiting import wait_until

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start(tmp_path: Path, tiny_folder: Path) -> Iterator[Start]:
    """Starts a builder; what is left of them at the end is killed."""
    started: list[subprocess.Popen[bytes]] = []

    def start(build: str) -> "subprocess.Popen[bytes]":
        log = tmp_path / f"{len(started)}.log"
        log.touch()
        arguments = [str(path) for path in (tmp_path / "engines", tiny_folder, log)]
        command = [sys.executable, "-m", "tests.pipeline.engine_builder", *arguments, build]
        started.append(subprocess.Popen(command))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def builds(folder: Path) -> list[int]:
    """Return which processes have built, a number for each engine."""
    path = folder / "builds.txt"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


@pytest.mark.timeout(300)
def test_of_three_processes_one_builds_each_engine(start: Start, tmp_path: Path) -> None:
    processes = [start("until awaited") for _ in range(3)]
    assert [process.wait(PATIENCE_S) for process in processes] == [0, 0, 0]
    assert len(builds(tmp_path)) == 2, "one build for each of the two networks"
    assert waiting(tmp_path) >= 2
    assert len(list((tmp_path / "engines").glob("*.engine"))) == 2


@pytest.mark.timeout(300)
def test_who_waits_takes_over_when_the_builder_dies(start: Start, tmp_path: Path) -> None:
    builder = start("for ever")
    wait_until(lambda: len(builds(tmp_path)) == 1, "a build")
    heir = start("at once")
    wait_until(lambda: WAITS in (tmp_path / "1.log").read_text(), "the other's wait")
    builder.kill()
    assert heir.wait(PATIENCE_S) == 0
    assert builds(tmp_path) == [builder.pid, heir.pid, heir.pid]


def test_waiting_is_said_and_said_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits gives up here when it has said so twice: the lock is then still the first one's."""
    monkeypatch.setattr("pipeline.backends.tensorrt_turns._SAY_EVERY_S", 0.05)
    path = tmp_path / "new" / "tiny.engine"
    lines: list[str] = []

    def impatient(line: str) -> None:
        lines.append(line)
        if len(lines) == 2:
            raise KeyboardInterrupt

    with turn_to_build(path, lines.append):
        assert not lines, "there is nobody to wait for"
        with pytest.raises(KeyboardInterrupt), turn_to_build(path, impatient):
            pass
    assert all(line.startswith("another process builds tiny.engine: waiting for it (") for line in lines)
    with turn_to_build(path, lines.append):
        assert len(lines) == 2


def test_where_there_can_be_no_lock_nobody_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    lines: list[str] = []
    path = tmp_path / "file" / "tiny.engine"
    with turn_to_build(path, lines.append), turn_to_build(path, lines.append):
        pass
    assert len(lines) == 2
    assert "other processes may build tiny.engine too" in lines[0]
