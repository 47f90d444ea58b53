"""A Direct Electron source against a stand-in for its server; without deapi it is one clear line."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from streamer.config import RunConfig, SourceConfig
from streamer.direct_electron import DirectElectronServer
from streamer.errors import RunError, UsageError
from streamer.records import Frame, SeriesEnd, SeriesStart, StreamMessage
from streamer.sources import parse_source
from streamer.wire import AtomstreamParser
from tests.streamer.ingest_run import IngestRun

LIMIT = 2**20


class _Server:
    """A deapi client whose camera takes a frame whenever one is asked for, or (`at_once`) all together.

    As documented for deapi 5.3.1: `start_acquisition` is given how often an acquisition is repeated, and
    `imageIndex` counts anew in each.
    """

    camera = "stand-in"

    def __init__(self, most_frames: int = 1000, at_once: bool = False) -> None:
        self._values: dict[str, Any] = {"Frame Count": 1, "Frames Per Second": 10.0}
        self._most_frames, self._at_once = most_frames, at_once
        self._due: list[int] = []
        self._newest = -1

    def __getitem__(self, name: str) -> Any:
        if name == "Acquisition Status":
            return "Acquiring" if self._due else "Idle"
        return self._values[name]

    def set_property(self, name: str, value: int) -> None:
        self._values[name] = min(value, self._most_frames)

    def start_acquisition(self, n_acquisitions: int) -> None:
        self._due = n_acquisitions * list(range(self._values["Frame Count"]))
        if self._at_once:
            self._newest, self._due = self._due[-1], []

    def get_result(self, frames: str, pixels: str) -> Any:
        if self._due:
            self._newest = self._due.pop(0)
        image = np.full((3, 4), self._newest, np.uint16)
        return SimpleNamespace(image=image, attributes=SimpleNamespace(imageIndex=self._newest))


def _acquired(server: _Server, n_frames: int, monkeypatch: pytest.MonkeyPatch) -> list[StreamMessage]:
    """Start an acquisition of so many frames, and return what is passed on."""
    monkeypatch.setattr("streamer.direct_electron._connect", lambda source, timeout_s: server)
    parser, messages, looks = AtomstreamParser(LIMIT, LIMIT), [], iter(range(100))

    def send(parts: Sequence[bytes | memoryview]) -> bool:
        messages.append(parser.parse([memoryview(bytes(part)) for part in parts]))
        return True

    pump = DirectElectronServer(parse_source("de://127.0.0.1:13240"), n_frames, 1.0)
    pump.pump(send, lambda: next(looks, None) is None)
    return messages


def test_so_many_frames_are_acquired_as_were_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    start, *frames, end = _acquired(_Server(), 4, monkeypatch)
    assert isinstance(start, SeriesStart)
    assert [f.header.frame_id for f in frames if isinstance(f, Frame)] == [0, 1, 2, 3]
    assert isinstance(end, SeriesEnd)


def test_an_acquisition_that_is_over_at_the_first_look_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, frame, end = _acquired(_Server(at_once=True), 4, monkeypatch)
    assert isinstance(frame, Frame)
    assert frame.header.frame_id == 3
    assert isinstance(end, SeriesEnd)


def test_a_number_of_frames_that_the_server_does_not_take_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(RunError, match="takes 1000 frames in an acquisition, not 2000: give another --start"):
        _acquired(_Server(), 2000, monkeypatch)


@pytest.mark.skipif(importlib.util.find_spec("deapi") is not None, reason="deapi is installed here")
def test_without_deapi_the_user_is_told_what_to_install(tmp_path: Path) -> None:
    run = IngestRun(RunConfig(source=SourceConfig(address="de://127.0.0.1:1")))
    with pytest.raises(
        UsageError, match=r"needs deapi, which is not installed: pip install 'atomstream\[de\]'"
    ):
        run.finish()
