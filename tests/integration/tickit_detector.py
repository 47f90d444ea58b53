"""An EIGER detector simulated by tickit-devices: its process, its REST interface, its stream."""

import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.integration.make_venvs import TICKIT

_API = "api/1.8.0"
_START_S = 60.0
_COMMAND = Path(__file__).parent / "run_tickit.py"


@dataclass(frozen=True, slots=True)
class TickitDetector:
    """A running detector; it sends 4362 x 4148 px of uint16, always the same image of an EIGER2 16M."""

    rest_port: int
    cbor_port: int
    legacy_port: int

    def configure(self, stream_format: str, n_frames: int, frame_time_s: float = 0.02) -> None:
        """Initialise and set up one series; `stream_format` is cbor (Stream V2) or legacy (V1)."""
        self._put("detector", "command/initialize")
        self._put("stream", "config/format", stream_format)
        self._put("detector", "config/trigger_mode", "ints")
        self._put("detector", "config/nimages", n_frames)
        self._put("detector", "config/frame_time", frame_time_s)
        self._put("detector", "config/ntrigger", 1)

    def expose(self) -> None:
        """Take the series: its end message comes with completion and again with disarm."""
        for command in ("arm", "trigger", "disarm"):
            self._put("detector", f"command/{command}")

    def answers(self) -> bool:
        """Whether the REST interface is up."""
        try:
            urllib.request.urlopen(self._url("detector", "status/state"), timeout=2).close()
        except (urllib.error.URLError, OSError):
            return False
        return True

    def _put(self, module: str, path: str, value: Any = None) -> None:
        body = json.dumps({} if value is None else {"value": value}).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self._url(module, path), body, headers, method="PUT")
        urllib.request.urlopen(request, timeout=30).close()

    def _url(self, module: str, path: str) -> str:
        return f"http://127.0.0.1:{self.rest_port}/{module}/{_API}/{path}"


@contextmanager
def running_detector(folder: Path) -> Iterator[TickitDetector]:
    """Run a detector on free ports of the loopback interface; its log goes to `folder`."""
    detector = TickitDetector(*_free_ports(3))
    config = folder / "eiger.yaml"
    config.write_text(json.dumps([_component(detector)]), encoding="utf-8")  # JSON is YAML
    with (
        (folder / "tickit.log").open("wb") as log,
        subprocess.Popen([TICKIT.python, _COMMAND, "all", config], stdout=log, stderr=log) as process,
    ):
        try:
            _wait_until_up(detector, process, folder / "tickit.log")
            yield detector
        finally:
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
            process.kill()


def _component(detector: TickitDetector) -> dict[str, Any]:
    return {
        "type": "tickit_devices.eiger.Eiger",
        "inputs": {},
        "name": "eiger",
        "host": "127.0.0.1",
        "port": detector.rest_port,
        "stream_host": "127.0.0.1",
        "stream_legacy_port": detector.legacy_port,
        "stream_cbor_port": detector.cbor_port,
    }


def _wait_until_up(detector: TickitDetector, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while not detector.answers():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the simulated detector did not start:\n{log.read_text(errors='replace')}")
        time.sleep(0.2)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [s.getsockname()[1] for s in sockets]
