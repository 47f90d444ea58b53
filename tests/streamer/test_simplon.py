"""A detector's REST interface, against a small server that answers as the test wishes."""

import http.server
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from streamer.acquisition import expect_detector
from streamer.config import DetectorConfig, RunConfig, SourceConfig
from streamer.errors import DetectorError, UsageError
from streamer.simplon import Simplon

Answer = tuple[int, str]


class Rest(http.server.ThreadingHTTPServer):
    """Answers by path, and remembers what it was asked."""

    daemon_threads = True

    def __init__(self, answers: dict[str, Answer], delay_s: float) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers, self.delay_s = answers, delay_s
        self.asked: list[tuple[str, str, Any]] = []
        self.over = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Rest

    def do_GET(self) -> None:
        self.answer()

    def do_PUT(self) -> None:
        self.answer()

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        content = json.loads(self.rfile.read(length)) if length else None
        self.server.asked.append((self.command, self.path, content))
        self.server.over.wait(self.server.delay_s)
        status, text = self.server.answers.get(self.path, (404, "unknown path"))
        body = text.encode()
        try:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            pass  # nobody waits any longer

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@contextmanager
def serving(answers: dict[str, Answer], delay_s: float = 0.0) -> Iterator[Rest]:
    with Rest(answers, delay_s) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()
            thread.join()


def test_values_and_commands_travel_as_the_manual_says() -> None:
    answers = {
        "/detector/api/1.8.0/status/state": (200, '{"value": "idle", "value_type": "string"}'),
        "/stream/api/1.8.0/config/format": (200, "[]"),
        "/detector/api/1.8.0/command/arm": (200, '{"sequence id": 7}'),
        "/detector/api/1.8.0/command/disarm": (200, ""),
    }
    with serving(answers) as server:
        detector = Simplon(server.url + "/", "1.8.0", 5.0)
        assert detector.state() == "idle"
        detector.put("stream", "format", "cbor")
        assert detector.command("arm") == {"sequence id": 7}
        assert detector.command("disarm") == {}
        assert server.asked == [
            ("GET", "/detector/api/1.8.0/status/state", None),
            ("PUT", "/stream/api/1.8.0/config/format", {"value": "cbor"}),
            ("PUT", "/detector/api/1.8.0/command/arm", {}),
            ("PUT", "/detector/api/1.8.0/command/disarm", {}),
        ]


def test_a_refusal_is_passed_on_in_one_line() -> None:
    path = "/detector/api/1.8.0/config/frame_time"
    with serving({path: (400, '"value out of\n range"')}) as server:
        with pytest.raises(DetectorError) as error:
            Simplon(server.url, "1.8.0", 5.0).put("detector", "frame_time", -1)
    assert str(error.value) == (
        f"{server.url} refuses detector config/frame_time = -1: HTTP 400, value out of range"
    )


def test_another_version_of_the_interface_is_suspected() -> None:
    with serving({}) as server, pytest.raises(DetectorError, match=r"API 1\.6\.0 .* is --api-version right"):
        Simplon(server.url, "1.6.0", 5.0).state()


@pytest.mark.parametrize("text", ["", "null", "[]", '{"val": 1}', "<html>"])
def test_an_answer_without_a_value_is_named(text: str) -> None:
    with serving({"/detector/api/1.8.0/status/state": (200, text)}) as server:
        with pytest.raises(DetectorError, match="gives no value for detector status/state"):
            Simplon(server.url, "1.8.0", 5.0).state()


def test_a_detector_that_keeps_silent_is_given_up() -> None:
    with serving({}, delay_s=60.0) as server:
        detector = Simplon(server.url, "1.8.0", 0.3)
        with pytest.raises(DetectorError, match=r"did not answer detector status/state within 0\.3 s"):
            detector.state()
        with pytest.raises(DetectorError, match=r"did not answer detector command/arm within 0\.5 s"):
            detector.command("arm", 0.5)


def test_a_command_that_takes_its_time_can_be_left_alone() -> None:
    stop = threading.Event()
    with serving({}, delay_s=60.0) as server:
        timer = threading.Timer(0.3, stop.set)
        timer.start()
        began = time.monotonic()
        assert Simplon(server.url, "1.8.0", 5.0).command("trigger", 60.0, stop.is_set) is None
        assert time.monotonic() - began < 30
        timer.join()


def test_nobody_there_is_said() -> None:
    with socket.socket() as unused:  # bound, but nobody listens
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(DetectorError, match=f"no detector answers at {url}"):
            Simplon(url, "1.8.0", 1.0).state()


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1", "127.0.0.1:80", "https://dcu", "http://", "http://dcu:port", "http://dcu/api"]
)
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(UsageError, match="is no address of a detector"):
        Simplon(url, "1.8.0", 1.0)


def test_only_a_detector_can_be_armed() -> None:
    arm = DetectorConfig(arm="http://dcu", images=5)
    expect_detector(RunConfig(source=SourceConfig(address="dectris2://dcu"), detector=arm))
    with pytest.raises(UsageError, match="--arm is for a DECTRIS"):
        expect_detector(RunConfig(source=SourceConfig(address="atomstream://dcu:5555"), detector=arm))
    with pytest.raises(UsageError, match="need --arm"):
        expect_detector(
            RunConfig(source=SourceConfig(address="dectris2://dcu"), detector=DetectorConfig(images=5))
        )
    expect_detector(RunConfig(source=SourceConfig(address="atomstream://dcu:5555")))
