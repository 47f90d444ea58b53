"""What a window asks of a run: the real window, the real control port, and an ingest that answers."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import msgpack
import pytest
import zmq
from PySide6.QtCore import Qt, QTimer
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QInputDialog

from gui.remote import Remote, control_address, is_here, why_not
from gui.window import AnalysisWindow
from pipeline.control_port import ControlPort
from streamer.clock import RunClock
from streamer.config import ControlConfig
from streamer.connection import ConnectionWatch
from streamer.control import Reply, encode
from tests.gui.conftest import OpenWindow, show_until
from tests.gui.publisher import Particle, Publisher, make_status, make_view
from tests.waiting import wait_until

HUB = "tcp://127.0.0.1:6000"


class Ingest:
    """Takes requests from the port as ingest does; answers as the test wishes.

    What the window reports of itself, unasked, is taken in by the way.
    """

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", port: ControlPort) -> None:
        self._socket = context.socket(zmq.DEALER)
        self._socket.set(zmq.LINGER, 1000)
        watch = ConnectionWatch(self._socket)
        self._socket.connect(port.remote.commands)
        watch.wait(10.0)
        watch.close()
        self._asked: list[tuple[bytes, dict[str, object]]] = []
        self.displayed_s: list[float] = []

    def has_request(self) -> bool:
        while self._socket.poll(0):
            _, client, body = self._socket.recv_multipart()
            request = msgpack.unpackb(body)
            if request["do"] == "displayed":
                self.displayed_s += request["after_s"]
                self._send(client, Reply(ok=False, error="an older run does not know that"))
            else:
                self._asked.append((client, request))
        return bool(self._asked)

    def answer(self, reply: Reply) -> dict[str, object]:
        """Return the request that has come, and send the reply."""
        client, request = self._asked.pop(0)
        self._send(client, reply)
        return request

    def _send(self, client: bytes, reply: Reply) -> None:
        self._socket.send_multipart([client, encode(reply)])

    def close(self) -> None:
        self._socket.close()


@contextmanager
def commanded() -> Iterator[tuple[ControlPort, Ingest]]:
    """Open the port where a run takes commands, and ingest behind it."""
    with zmq.Context() as context, ControlPort(ControlConfig(), (), RunClock.start()) as port:
        ingest = Ingest(context, port)
        try:
            yield port, ingest
        finally:
            ingest.close()


def show_status(window: AnalysisWindow, publisher: Publisher, **fields: object) -> None:
    status = make_status(**fields)
    publisher.send(make_view(Particle(size=128), 1, size=128))
    publisher.send(status)
    show_until(window, lambda: window.session.status == status)


def exchange(window: AnalysisWindow, ingest: Ingest, reply: Reply) -> dict[str, object]:
    show_until(window, ingest.has_request)
    request = ingest.answer(reply)
    show_until(window, lambda: window.panels.header.said.text() != "")
    return request


def test_buttons_and_keys_reach_the_run_and_its_answer_is_shown(
    open_window: OpenWindow, publisher: Publisher
) -> None:
    window = open_window()
    header = window.panels.header
    with commanded() as (port, ingest):
        show_status(window, publisher, control=port.remote.control)
        assert header.record.isEnabled()
        QTest.mouseClick(header.record, Qt.MouseButton.LeftButton)
        reply = Reply(ok=True, frame_id=41, path="/data/ceria.nxs")
        assert exchange(window, ingest, reply) == {"do": "record", "on": False}
        assert header.said.text() == "Recording is off, frame 41: ceria.nxs"
        show_status(window, publisher, control=port.remote.control, recording=False)
        assert (header.light.text(), header.record.text()) == ("PAUSED", "Record")
        window.action("toggle_recording")()
        assert exchange(window, ingest, reply) == {"do": "record", "on": True}
        window.action("next_file")()
        refusal = Reply(ok=False, error="no frame has come yet")
        assert exchange(window, ingest, refusal) == {"do": "next_file"}
        show_until(window, lambda: header.said.text() == "Not done: no frame has come yet")


def test_the_button_does_what_it_says_before_the_first_frame(
    open_window: OpenWindow, publisher: Publisher
) -> None:
    window = open_window()
    header = window.panels.header
    with commanded() as (port, ingest):
        show_status(window, publisher, control=port.remote.control, path="", state="waiting")
        assert (header.light.text(), header.record.text()) == ("READY", "Pause rec.")
        QTest.mouseClick(header.record, Qt.MouseButton.LeftButton)
        assert exchange(window, ingest, Reply(ok=True)) == {"do": "record", "on": False}
        fields = {"path": "", "state": "waiting", "recording": False}
        show_status(window, publisher, control=port.remote.control, **fields)
        assert (header.light.text(), header.record.text()) == ("NOT RECORDING", "Record")
        window.action("toggle_recording")()
        assert exchange(window, ingest, Reply(ok=True)) == {"do": "record", "on": True}


def test_an_answer_that_comes_too_late_is_not_taken_for_another() -> None:
    now = [0.0]
    remote = Remote(clock=lambda: now[0])
    with commanded() as (port, ingest):
        remote.connect(port.remote.control)

        def has_come() -> bool:
            """Ask again where the port has not found ingest yet, and has said so itself."""
            remote.take()
            if not remote.waits:
                remote.record(False)
            return ingest.has_request()

        wait_until(has_come)
        now[0] += 10.0
        assert remote.take()
        assert remote.said == "The run has not answered for 5 s"
        remote.next_file()
        ingest.answer(Reply(ok=True, path="late.nxs"))
        wait_until(ingest.has_request)
        ingest.answer(Reply(ok=True, path="next.nxs"))
        wait_until(lambda: remote.take() and bool(remote.said))
        remote.close()
    assert remote.said == "Next file: next.nxs"


def test_a_note_belongs_to_the_moment_of_the_question(open_window: OpenWindow, publisher: Publisher) -> None:
    window = open_window()

    open_s: list[float] = []  # Qt's timers may fire early: how long the question stood is measured

    def type_and_accept() -> None:
        dialog = QApplication.activeModalWidget()
        assert isinstance(dialog, QInputDialog)
        dialog.setTextValue("  CO on ")
        opened = time.monotonic()
        dialog.accepted.connect(lambda: open_s.append(time.monotonic() - opened))
        QTimer.singleShot(300, dialog.accept)

    with commanded() as (port, ingest):
        show_status(window, publisher, control=port.remote.control)
        QTimer.singleShot(0, type_and_accept)
        window.action("write_note")()
        request = exchange(window, ingest, Reply(ok=True, t=1000.0, frame_id=7, path="run.nxs"))
    assert (request["do"], request["text"]) == ("note", "CO on")
    assert isinstance(request["age_s"], float)
    assert request["age_s"] >= open_s[0] > 0.1
    assert window.panels.header.said.text() == "Noted, frame 7: run.nxs"
    (moment,) = window.session.moments
    assert (moment.t, moment.text) == (1000.0, "CO on")  # on the run's clock


def test_without_a_control_address_the_buttons_are_off_and_say_why(
    open_window: OpenWindow, publisher: Publisher
) -> None:
    window = open_window()
    show_status(window, publisher)
    for button in (window.panels.header.note, window.panels.header.record, window.panels.header.next_file):
        assert not button.isEnabled()
        assert button.toolTip() == "Not possible: this run takes no commands"
    window.action("write_note")()  # opens no dialog
    window.action("next_file")()
    show_until(window, lambda: "takes commands" in window.panels.header.said.text())


@pytest.mark.parametrize(
    ("control", "hub", "address", "reason"),
    [
        ("tcp://127.0.0.1:5", HUB, "tcp://127.0.0.1:5", ""),
        ("tcp://0.0.0.0:5", "tcp://10.0.0.8:6000", "tcp://10.0.0.8:5", ""),
        ("tcp://10.0.0.8:5", "tcp://10.0.0.8:6000", "tcp://10.0.0.8:5", ""),
        ("tcp://127.0.0.1:5", "tcp://10.0.0.8:6000", "", "the run takes commands on its own machine only"),
        ("", HUB, "", "this run takes no commands"),
    ],
)
def test_the_address_is_the_one_that_can_be_reached_from_here(
    control: str, hub: str, address: str, reason: str
) -> None:
    status = make_status(control=control)
    assert (control_address(status, hub), why_not(status, hub)) == (address, reason)


def test_a_run_that_is_over_cannot_be_told_anything() -> None:
    assert why_not(make_status(control="tcp://127.0.0.1:5", state="ended"), HUB) == "the run is over"
    assert why_not(None, HUB) == "no run is connected"


def test_a_run_of_this_machine_hears_how_late_its_frames_are_drawn(
    open_window: OpenWindow, publisher: Publisher
) -> None:
    window = open_window()
    with commanded() as (port, ingest):
        show_status(window, publisher, control=port.remote.control)
        came = time.time()
        publisher.send(make_view(Particle(size=128), 2, size=128, t=came + 0.01))
        time.sleep(0.25)  # the window draws nothing meanwhile
        show_until(window, lambda: ingest.has_request() or max(ingest.displayed_s, default=0.0) >= 0.25)
        heard = time.time()
        show_until(window, lambda: not window.session.remote.waits)
    assert max(ingest.displayed_s) <= heard - came
    assert window.panels.header.said.text() == ""  # nobody has asked


@pytest.mark.parametrize(
    ("hub", "here"),
    [("tcp://127.0.0.1:6000", True), ("tcp://localhost:6000", True), ("tcp://10.0.0.7:6000", False)],
)
def test_only_a_window_on_the_runs_machine_has_its_clock(hub: str, here: bool) -> None:
    assert is_here(hub) is here
