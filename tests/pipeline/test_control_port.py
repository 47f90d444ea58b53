"""The control address against whoever may reach it, and commands to a whole run of real processes."""

import json
import subprocess
import sys
from pathlib import Path

import h5py
import msgpack
import pytest
import zmq

from pipeline.control_port import ControlPort
from pipeline.plan import RunOutcome
from pipeline.report import summarise
from pipeline.supervisor import supervise
from streamer.clock import RunClock
from streamer.config import ChannelConfig, ControlConfig, SecurityConfig
from streamer.control import MESSAGE_LIMIT_BYTES, Note, Query, Stop, encode
from streamer.control_client import ControlLine, ask
from streamer.curve import client_keys
from streamer.errors import RunError, UsageError
from streamer.keys import make_key_files
from tests.waiting import wait_until

from .test_supervisor import ENDLESS, frames, meanwhile, plan_of, recorded


def _exchange(address: str, *parts: bytes) -> dict[str, object]:
    """Send raw parts over a DEALER, as a foreign client might, and read the reply as any client can."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.set(zmq.LINGER, 0)
        socket.connect(address)
        socket.send_multipart(parts)
        assert socket.poll(10_000), "no answer"
        reply: dict[str, object] = msgpack.unpackb(socket.recv_multipart()[-1])
        return reply


def test_what_is_no_request_is_answered_with_what_is_wrong() -> None:
    with ControlPort(ControlConfig(), (), RunClock.start()) as port:
        for body, named in (
            (b"\xc1", "not a request"),
            (msgpack.packb({"do": "explode"}), "explode"),
            (msgpack.packb({"do": "record", "on": "yes"}), "bool"),
            (msgpack.packb({"do": "note", "text": "x", "colour": 3}), "colour"),
            (msgpack.packb({"do": "note", "text": ""}), "length"),
            (msgpack.packb({"do": "note", "text": "x", "age_s": -1.0}), "age_s"),
            (msgpack.packb({"do": "note", "text": 100 * "ö" + 100 * "o"}), "300 bytes"),
            (b"cos\nsystem\n(S'true'\ntR.", "not a request"),  # a pickle
        ):
            reply = _exchange(port.remote.control, b"", body)
            assert not reply["ok"]
            assert named in str(reply["error"])
        assert "one part" in str(_exchange(port.remote.control, b"", b"a", b"b")["error"])


def test_an_oversized_message_costs_only_its_own_connection() -> None:
    with (
        ControlPort(ControlConfig(), (), RunClock.start()) as port,
        ControlLine(port.remote.control) as other,
    ):
        with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
            socket.set(zmq.LINGER, 0)
            socket.connect(port.remote.control)
            socket.send_multipart([b"", bytes(MESSAGE_LIMIT_BYTES + 1)])
            assert not socket.poll(300)
        assert other.send(Stop())
        reply = other.reply(10.0)
        assert reply is not None
        assert reply.ok
        assert port.stop_wanted


def test_before_the_run_is_ready_requests_are_refused_not_kept() -> None:
    with ControlPort(ControlConfig(), (), RunClock.start()) as port:
        assert "not ready" in ask(port.remote.control, Query()).error


def test_a_flood_without_readers_of_replies_does_not_stop_the_port() -> None:
    with (
        ControlPort(ControlConfig(), (), RunClock.start()) as port,
        ControlLine(port.remote.control) as flood,
    ):
        n_sent = sum(flood.send(Query()) for _ in range(20_000))
        assert n_sent > 0
        assert ask(port.remote.control, Stop(), 10.0).ok


def test_an_address_that_is_taken_is_one_clear_error() -> None:
    with (
        ControlPort(ControlConfig(), (), RunClock.start()) as port,
        pytest.raises(RunError, match="in use"),
    ):
        ControlPort(ControlConfig(bind=port.remote.control), (), RunClock.start())


def test_a_script_marks_pauses_and_stops_a_run(tmp_path: Path) -> None:
    out, said = tmp_path / "run.nxs", list[str]()
    answers: list[dict[str, object]] = []

    def tell(*words: str) -> None:
        address = next(line.split()[3] for line in said if line.startswith("control: "))
        command = [sys.executable, "-m", "pipeline.cli", "tell", address, *words, "--json"]
        command += ["--timeout-s", "60"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
        answers.append(json.loads(done.stdout.splitlines()[-1]))

    def script() -> None:
        wait_until(lambda: recorded(out) > 10)
        tell("note", "beam", "blanked")
        tell("pause")
        tell("record")
        tell("next-file")
        wait_until(lambda: recorded(tmp_path / "run-2.nxs") > 10)
        tell("stop")

    with meanwhile(script):
        outcome = supervise(plan_of(out, frames(ENDLESS), say=said.append))
    _expect(outcome, tmp_path)
    assert [answer["recording"] for answer in answers[:4]] == [True, False, True, True]


def _expect(outcome: RunOutcome, folder: Path) -> None:
    summary = summarise("live", outcome)
    assert summary["ok"], summary["problems"]
    assert summary["ended_early"]
    assert summary["paused"] > 0
    assert summary["received"] == summary["recorded"] + summary["paused"]
    assert summary["files"] == [str(folder / "run.nxs"), str(folder / "run-2.nxs")]
    with h5py.File(folder / "run.nxs") as file:
        assert [text.decode() for text in file["entry/process/notes/text"][:1]] == ["beam blanked"]
        assert len(file["entry/process/notes/text"]) == 3


def test_a_note_is_readable_by_any_messagepack_client() -> None:
    assert msgpack.unpackb(encode(Note("CO on", 1.5))) == {"do": "note", "text": "CO on", "age_s": 1.5}


def test_who_has_a_key_that_is_admitted_may_ask_and_nobody_else(tmp_path: Path) -> None:
    for name in ("server", "friend", "stranger"):
        make_key_files(tmp_path / name)
    security = SecurityConfig(
        key=str(tmp_path / "server.key_secret"), clients=(str(tmp_path / "friend.key"),)
    )
    friend, stranger = (
        client_keys(str(tmp_path / f"{name}.key_secret"), str(tmp_path / "server.key"))
        for name in ("friend", "stranger")
    )
    with ControlPort(ControlConfig(), (), RunClock.start(), security=security) as port:
        with pytest.raises(RunError, match="it does not admit this machine's key"):
            ask(port.remote.control, Stop(), 60.0, stranger)
        with pytest.raises(RunError, match="it is encrypted"):
            ask(port.remote.control, Stop(), 60.0)
        assert not port.stop_wanted
        assert ask(port.remote.control, Stop(), 60.0, friend).ok
        assert port.stop_wanted


@pytest.mark.parametrize("field", ["bind", "stimuli"])
def test_what_other_machines_could_reach_needs_keys(field: str) -> None:
    config = ControlConfig(**{field: "tcp://0.0.0.0:0"})
    channel = ChannelConfig(name="temperature", unit="K")
    with pytest.raises(UsageError, match="can be reached from other machines"):
        ControlPort(config, (channel,), RunClock.start())
    trusted = SecurityConfig(insecure=True)
    with ControlPort(config, (channel,), RunClock.start(), security=trusted) as port:
        assert "0.0.0.0" in (port.remote.control if field == "bind" else port.remote.stimuli)
