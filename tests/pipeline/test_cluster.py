"""Processes that do a program's work: they do not outlive it."""

import os
import subprocess
import sys
from pathlib import Path

import psutil

from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
PROGRAM = """
import os, time
from pipeline.cluster import open_processes
if __name__ == "__main__":
    with open_processes(2) as pool:
        print(pool.result(pool.submit(os.getpid)), flush=True)
        pool.result(pool.submit(time.sleep, 600))
"""


def test_processes_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, str(script)], env=environment, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        worker = int(program.stdout.readline())
        children = psutil.Process(program.pid).children(recursive=True)
        assert worker in [child.pid for child in children]
        program.kill()
    wait_until(lambda: not any(child.is_running() for child in children), "the end of its processes")
