"""Child processes: they report, stop when asked, hand back their errors, and none outlives its parent."""

import os
import subprocess
import sys
import time

import psutil
import pytest

from streamer.errors import RecordingError, UsageError, WorkerError
from streamer.flag import SharedFlag
from streamer.worker import Control, Worker, WorkerState


def _serve(control: Control, greeting: str) -> None:
    control.ready(greeting=greeting, pid=os.getpid())
    while not control.stopping():
        time.sleep(0.01)
    control.finished({"served": 3})


def _fail(control: Control, text: str) -> None:
    raise RecordingError(text)


def _refuse(control: Control, text: str) -> None:
    raise UsageError(text)


def _crash(control: Control) -> None:
    control.ready()
    os._exit(7)


def _waited_for(worker: Worker) -> None:
    worker.wait_ready(20)
    worker.join(10)
    worker.raise_error()


def _never_ready(control: Control) -> None:
    while not control.stopping():
        time.sleep(0.01)


def _ask_all_the_time(control: Control) -> None:
    control.ready(pid=os.getpid())
    while not control.stopping():
        pass
    control.finished({})


def _wait_to_begin(control: Control, begin: SharedFlag) -> None:
    control.ready(pid=os.getpid())
    while not begin.wait(0.1) and not control.stopping():
        pass
    control.finished({"began": begin.is_set()})


def _ignore_stop(control: Control) -> None:
    control.ready()
    time.sleep(60)


def test_a_worker_reports_stops_and_hands_over_its_summary() -> None:
    worker = Worker("server", _serve, "hello")
    info = worker.wait_ready(20)
    assert info["greeting"] == "hello"
    assert worker.state is WorkerState.RUNNING
    worker.request_stop()
    worker.join(10)
    assert worker.state is WorkerState.FINISHED
    assert worker.summary == {"served": 3}
    worker.close()


def test_wrong_usage_found_in_the_child_stays_wrong_usage() -> None:
    worker = Worker("recorder", _refuse, "a.nxs exists")
    with pytest.raises(UsageError, match=r"^a\.nxs exists$"):
        worker.wait_ready(20)
    assert worker.refused
    worker.join(5)
    worker.close()


def test_an_error_in_the_child_is_raised_in_the_parent() -> None:
    worker = Worker("recorder", _fail, "no space left on /data")
    with pytest.raises(WorkerError, match="recorder: no space left on /data"):
        worker.wait_ready(20)
    worker.join(5)
    worker.close()


def test_a_crash_is_noticed() -> None:
    worker = Worker("crasher", _crash)
    with pytest.raises(WorkerError, match="exit code 7"):  # while it is waited for, if it is as fast as that
        _waited_for(worker)
    worker.close()


def test_a_child_that_does_not_stop_is_killed_and_named() -> None:
    worker = Worker("deaf", _ignore_stop)
    worker.wait_ready(20)
    worker.request_stop()
    worker.join(0.3)
    assert not worker.alive
    with pytest.raises(WorkerError, match=r"did not end within [\d.]+ s"):
        worker.raise_error()
    worker.close()


def test_a_child_that_was_killed_keeps_nobody_waiting() -> None:
    """It may be killed at any moment, also while it asks whether to stop."""
    for _ in range(4):
        worker = Worker("asker", _ask_all_the_time)
        psutil.Process(worker.wait_ready(20)["pid"]).kill()
        worker.request_stop()
        worker.join(10)
        with pytest.raises(WorkerError, match="ended unexpectedly"):
            worker.raise_error()
        worker.close()


def test_a_child_that_was_killed_while_it_waited_keeps_nobody_waiting() -> None:
    begin = SharedFlag()
    worker = Worker("sender", _wait_to_begin, begin)
    psutil.Process(worker.wait_ready(20)["pid"]).kill()
    worker.join(10)
    begin.set()
    assert begin.wait(0.0)
    worker.close()


def test_a_child_sees_that_it_may_begin() -> None:
    begin = SharedFlag()
    assert not begin.wait(0.02)
    worker = Worker("sender", _wait_to_begin, begin)
    worker.wait_ready(20)
    begin.set()
    worker.join(10)
    assert worker.summary == {"began": True}
    worker.close()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to handle")
def test_a_signal_to_end_is_taken_at_any_moment() -> None:
    for _ in range(4):
        worker = Worker("asker", _ask_all_the_time)
        psutil.Process(worker.wait_ready(20)["pid"]).terminate()
        worker.join(10)
        assert worker.state is WorkerState.FINISHED
        worker.close()


def test_a_child_that_never_gets_ready_times_out() -> None:
    worker = Worker("silent", _never_ready)
    with pytest.raises(WorkerError, match="silent was not ready after 1 s"):
        worker.wait_ready(1)
    worker.request_stop()
    worker.join(20)
    worker.close()


_PARENT = """
import sys
from streamer.worker import Worker
from tests.streamer.test_worker import _serve
if __name__ == "__main__":
    print(Worker("child", _serve, "x").wait_ready(30)["pid"], flush=True)
    sys.stdin.read()
"""


def test_a_child_ends_when_its_parent_is_killed(tmp_path) -> None:  # type: ignore[no-untyped-def]
    script = tmp_path / "parent.py"
    script.write_text(_PARENT, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    with subprocess.Popen(
        [sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env=environment, text=True,
    ) as parent:  # fmt: skip
        child = psutil.Process(int(parent.stdout.readline()))  # type: ignore[union-attr]
        parent.kill()
    child.wait(timeout=10)
