"""Triggers: rules as state machines, and what ingest does when one fires, over real sockets."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import nan
from pathlib import Path

import h5py
import msgpack
import numpy as np
import pytest
import zmq

from pipeline.control_port import ControlPort
from pipeline.webhooks import Webhooks
from streamer.clock import RunClock
from streamer.config import (
    AnalysisConfig,
    ChannelConfig,
    ControlConfig,
    RunConfig,
    TriggerConfig,
    expect_channels,
    load_config,
)
from streamer.control import Remote
from streamer.errors import UsageError
from streamer.ingest import run_ingest
from streamer.records import (
    CHANGE_DTYPE,
    COLUMN_DTYPE,
    TRACKS_OF_AN_ANALYSER,
    FrameResult,
    SeriesEnd,
    SeriesKey,
)
from streamer.triggers import EVENT_TOPIC, Event, Rule, Rules, decode_event
from streamer.window_link import STATUS_TOPIC
from streamer.worker import Control
from tests.streamer.ingest_run import (
    KEY,
    RECORD_ONLY,
    TIMEOUT_S,
    Analyser,
    Detector,
    frame_of,
    result_of,
    running,
    series_of,
    start_of,
)

HIGH = TriggerConfig(name="high", when="total_atoms", above=100.0, hysteresis=10.0, rearm_s=0.0)


def fired(rule: Rule, values: list[float], step_s: float = 1.0) -> list[int]:
    """At which of the values, one every `step_s`, the rule fires."""
    return [i for i, value in enumerate(values) if rule.take(value, i * step_s)]


def test_it_fires_once_and_again_after_it_was_well_inside() -> None:
    assert fired(Rule(HIGH), [99, 101, 150, 95, 101, 90, 101]) == [1, 6]


def test_it_waits_until_it_may_fire_again() -> None:
    rule = Rule(TriggerConfig(name="low", when="n_columns", below=5.0, rearm_s=3.0))
    assert fired(rule, [6, 4, 6, 4, 6, 4, 6, 4]) == [1, 5]


def test_it_must_hold_for_so_many_frames_in_a_row() -> None:
    rule = Rule(TriggerConfig(name="x", when="ood_score", above=0.5, for_frames=3, rearm_s=0.0))
    assert fired(rule, [0.9, 0.9, 0.1, 0.9, nan, 0.9, 0.9, 0.9]) == [6]


def test_a_change_is_one_against_the_value_at_arming() -> None:
    rule = Rule(TriggerConfig(name="x", when="n_columns", change=2.0, rearm_s=0.0))
    assert fired(rule, [10, 11, 12, 12, 12, 10, 10]) == [2, 5]


def result(columns: list[tuple[float, float, int]], drift: tuple[float, float] = (nan, nan)) -> FrameResult:
    table = np.zeros(len(columns), COLUMN_DTYPE)
    for row, (y, x, count) in zip(table, columns, strict=True):
        row["y"], row["x"], row["count"] = y, x, count
    return FrameResult(5, SeriesKey(1), table, 10.0, 1.0, 1.0, 2.0, 3.0, drift_px=drift)


def test_losses_are_those_of_one_file_and_another_one_is_no_change() -> None:
    rules = Rules([TriggerConfig(name="x", when="lost", change=3.0, rearm_s=0.0)])
    counted = [(0, True), (3, False), (3, False), (0, True), (2, False), (3, False)]
    events = [rules.of_losses(n, 9, float(t), anew) for t, (n, anew) in enumerate(counted)]
    assert [e.text for each in events for e in each] == ["lost went from 0 to 3", "lost went from 0 to 3"]
    assert [bool(each) for each in events] == [False, True, False, False, False, True]


def test_losses_before_a_file_is_looked_at_first_are_losses() -> None:
    rules = Rules([TriggerConfig(name="x", when="lost", change=1.0, rearm_s=0.0)])
    events = [rules.of_losses(n, 9, float(n), anew=True) for n in (2, 3)]
    assert [e.text for each in events for e in each] == ["lost went from 0 to 2", "lost went from 0 to 3"]


def test_a_column_is_followed_through_drift_and_counts_nothing_when_it_is_gone() -> None:
    config = TriggerConfig(name="c", when="column_count", at=(10.0, 20.0), change=1.0, rearm_s=0.0)
    rules = Rules([config])
    assert rules.of_result(result([(10, 20, 4), (30, 20, 7)], (0.0, 0.0)), 0.0) == []
    assert rules.of_result(result([(42, 21, 4), (30, 20, 7)], (32.0, 0.0)), 1.0) == []
    (event,) = rules.of_result(result([(30, 20, 7)], (0.0, 0.0)), 2.0)
    assert (event.trigger, event.value, event.frame_id) == ("c", 0.0, 5)
    assert event.text == "column_count went from 4 to 0"


def test_a_region_sums_the_columns_inside() -> None:
    region = TriggerConfig(name="r", when="region_atoms", region=(0.0, 0.0, 20.0, 20.0), above=8.0)
    assert Rules([region]).of_result(result([(5, 5, 4), (15, 15, 4), (25, 5, 9)]), 0.0) == []
    assert Rules([region]).of_result(result([(5, 5, 4), (15, 15, 5)]), 0.0)[0].value == 9.0


def decided(
    *rows: tuple[int, float, float, int, int], drift: tuple[float, float] = (0.0, 0.0)
) -> FrameResult:
    """A result whose following has decided on: track, y, x, before, after."""
    changes = np.zeros(len(rows), CHANGE_DTYPE)
    for row, (track, y, x, before, after) in zip(changes, rows, strict=True):
        row["track_id"], row["y"], row["x"], row["before"], row["after"] = track, y, x, before, after
    return replace(result([], drift), fused_atoms=50.0, changes=changes)


CORNER = TriggerConfig(name="c", when="column_count", at=(10.0, 20.0), change=1.0, rearm_s=0.0, fused=True)
PART = TriggerConfig(
    name="r", when="region_atoms", region=(0, 0, 20, 20), change=1.0, rearm_s=0.0, fused=True
)


def texts(rules: Rules, *results: FrameResult) -> list[str]:
    """What a rule says to each of the results; empty: nothing."""
    events = [rules.of_result(one, float(i)) for i, one in enumerate(results)]
    return [fired[0].text if fired else "" for fired in events]


def test_a_fused_count_changes_when_following_decides_and_not_when_a_frame_misses_the_column() -> None:
    said = texts(
        Rules([CORNER]),
        decided((0, 10, 20, -1, 4), (1, 30, 20, -1, 7)),
        decided(),  # nor is the column found in this frame
        decided((0, 42, 21, 4, 5), (1, 62, 21, 7, 6), drift=(32.0, 1.0)),
        decided((0, 10, 20, 5, 0)),
        decided((0, 10, 20, 0, 3)),
    )
    count = "fused column_count went from"
    assert said == ["", "", f"{count} 4 to 5", "", f"{count} 0 to 3"]  # it is armed anew in the frame between


def test_what_is_counted_late_and_may_always_have_been_there_is_no_change() -> None:
    assert texts(Rules([CORNER]), decided(), decided((0, 10, 20, -1, 4))) == ["", ""]
    assert texts(Rules([CORNER]), decided(), decided((0, 10, 20, 0, 4))) == [
        "",
        "fused column_count went from 0 to 4",
    ]
    first, late = (0, 5, 5, -1, 4), (1, 15, 15, -1, 6)
    assert texts(Rules([PART]), decided(first), decided(late), decided((0, 5, 5, 4, 3))) == [
        "", "", "fused region_atoms went from 10 to 9",
    ]  # fmt: skip


def test_another_series_and_another_follower_begin_anew() -> None:
    again = TRACKS_OF_AN_ANALYSER
    other = replace(decided((0, 10, 20, -1, 2)), key=SeriesKey(2))
    rules = Rules([CORNER, PART])
    assert texts(rules, decided((0, 10, 20, -1, 4)), decided((again, 10, 20, -1, 6)), other) == ["", "", ""]
    lost = replace(decided((0, 10, 20, 2, 1)), key=SeriesKey(2))
    assert texts(rules, lost) == ["fused column_count went from 2 to 1"]


def test_a_fused_total_is_the_one_of_the_file_and_without_following_nothing_is_known() -> None:
    total = TriggerConfig(name="t", when="total_atoms", below=60.0, fused=True)
    assert texts(Rules([total]), result([(5, 5, 4)])) == [""], "its fused total is NaN"
    assert texts(Rules([total]), decided()) == ["fused total_atoms 50 is below 60"]
    assert texts(Rules([CORNER]), decided((0, 10, 20, -1, 4)), result([])) == ["", ""]


def test_a_rule_on_fused_counts_that_nobody_makes_is_refused() -> None:
    for analysis in (AnalysisConfig(follow=False), AnalysisConfig(backend="null")):
        with pytest.raises(UsageError, match="columns are not followed"):
            expect_channels(RunConfig(trigger=(CORNER,), analysis=analysis))
    for analysis in (AnalysisConfig(), RECORD_ONLY):  # where nothing is analysed, no rule on results fires
        expect_channels(RunConfig(trigger=(CORNER,), analysis=analysis))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("when = 'total_atoms'", "above, below or change"),
        ("when = 'total_atom'\nabove = 1.0", "total_atom"),
        ("when = 'total_atoms'\nabove = 1.0\nbelow = 2.0", "always fires"),
        ("when = 'region_atoms'\nabove = 1.0", "region"),
        ("when = 'n_columns'\nabove = 1.0\nat = [1.0, 2.0]", "column_count"),
        ("when = 'lost'\nabove = 0.0\nwebhook = 'file:///etc/passwd'", "http"),
        ("when = 'lost'\nabove = 'many'", "above"),
        (
            "when = 'n_columns'\nabove = 1.0\nfused = true",
            "belongs to total_atoms, region_atoms, column_count",
        ),
    ],
)
def test_a_broken_rule_is_one_clear_error_at_the_start(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "run.toml"
    path.write_text(f"[[trigger]]\nname = 'watch'\n{text}\n")
    with pytest.raises(UsageError, match=named):
        load_config(path)


def test_a_rule_on_a_channel_that_is_not_declared_is_refused() -> None:
    rule = TriggerConfig(name="hot", when="channel", channel="bias", above=1.0)
    with pytest.raises(UsageError, match="not declared"):
        expect_channels(RunConfig(trigger=(rule,)))
    bias = (ChannelConfig(name="bias"),)
    expect_channels(RunConfig(trigger=(rule,), channel=bias))
    with pytest.raises(UsageError, match=r"control\.bind"):
        expect_channels(RunConfig(channel=bias, control=ControlConfig(bind="")))


class Hook:
    """A real HTTP server that notes what it is sent, and answers once it `may_answer`."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, object]] = []
        self.asked, self.may_answer = threading.Event(), threading.Event()
        bodies, asked, may_answer = self.bodies, self.asked, self.may_answer

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                asked.set()
                may_answer.wait(TIMEOUT_S)
                bodies.append(json.loads(body))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *args: object) -> None:
                """Be quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextmanager
def hook(answers: bool = True) -> Iterator[Hook]:
    made = Hook()
    if answers:
        made.may_answer.set()
    try:
        yield made
    finally:
        made.may_answer.set()
        made.close()


def event(trigger: str = "high") -> Event:
    return Event(trigger, "total_atoms", 101.0, "text", 3, time.time(), time.time())


def test_a_webhook_that_does_not_answer_holds_nobody_up() -> None:
    with hook(answers=False) as server, Webhooks({"high": server.address}, time.time) as webhooks:
        webhooks.take(event())
        assert server.asked.wait(TIMEOUT_S)
        for _ in range(120):
            webhooks.take(event())
        assert (webhooks.called, webhooks.dropped) == (0, 20)
        server.may_answer.set()
    assert webhooks.called > 1, "those that wait are called too, as many as the end of the run has time for"
    assert webhooks.failed == 0


def test_a_webhook_at_which_nobody_is_fails() -> None:
    with Webhooks({"dead": "http://127.0.0.1:1/"}, time.time) as webhooks:
        webhooks.take(event("dead"))
    assert (webhooks.called, webhooks.failed) == (0, 1)


def test_a_webhook_is_sent_the_event() -> None:
    with hook() as server, Webhooks({"high": server.address}, time.time) as webhooks:
        webhooks.take(event())
    assert webhooks.summary()["called"] == 1
    assert 0 < webhooks.longest_ms < 1000 * TIMEOUT_S
    assert server.bodies[0]["trigger"] == "high"


def test_what_fires_is_noted_published_and_called(tmp_path: Path) -> None:
    path = tmp_path / "run.nxs"
    with hook() as server, zmq.Context() as context, context.socket(zmq.SUB) as windows:
        windows.subscribe(EVENT_TOPIC)
        windows.subscribe(STATUS_TOPIC)
        port_number = windows.bind_to_random_port("tcp://127.0.0.1")
        triggers = (
            TriggerConfig(name="high", when="total_atoms", above=15.0, webhook=server.address),
            TriggerConfig(name="loss", when="lost", above=0.0),
            TriggerConfig(name="hot", when="channel", channel="temperature", above=500.0, mark=False),
        )
        channels = (ChannelConfig(name="temperature", unit="K"),)
        clock = RunClock.start()
        with (
            Webhooks({"high": server.address}, clock.now) as webhooks,
            ControlPort(ControlConfig(), channels, clock, webhooks.take) as port,
        ):
            events = run_of(context, path, triggers, channels, clock, port.remote, windows, port_number)
    assert sorted(e.trigger for e in events) == ["high", "hot", "loss"]
    high = next(e for e in events if e.trigger == "high")
    assert (high.frame_id, high.text) == (2, "total_atoms 20 is above 15")
    assert high.t_frame < high.t
    assert [body["trigger"] for body in server.bodies] == ["high"]
    with h5py.File(path) as file:
        notes = file["entry/process/notes"]
        rows = sorted(zip(notes["source"][:].tolist(), notes["text"][:].tolist(), strict=True))
        assert rows == [
            (b"trigger", b"high: total_atoms 20 is above 15"),
            (b"trigger", b"loss: lost 1 is above 0"),
        ]
        assert (file["entry/process/latency/received_to_triggered"][:] > 0).all()


def test_frames_that_never_came_set_off_a_rule_on_losses_when_the_series_is_over(tmp_path: Path) -> None:
    path, rule = tmp_path / "run.nxs", TriggerConfig(name="loss", when="lost", above=0.0)
    with running(path, trigger=(rule,)) as (detector, run, _):
        detector.send(*series_of(range(3), 5))
        run.finish()
    with h5py.File(path) as file:
        notes = file["entry/process/notes"]
        assert notes["text"][:].tolist() == [b"loss: lost 2 is above 0"]
        assert notes["frame_id"][:].tolist() == [2]


def run_of(
    context: "zmq.Context[zmq.Socket[bytes]]",
    path: Path,
    triggers: tuple[TriggerConfig, ...],
    channels: tuple[ChannelConfig, ...],
    clock: RunClock,
    remote: Remote,
    windows: "zmq.Socket[bytes]",
    port_number: int,
) -> list[Event]:
    """Run a series with a loss, a high total and a hot sample through ingest; return the events heard."""
    from streamer.config import RecordConfig, SourceConfig

    ready, addresses = threading.Event(), dict[str, str]()

    def report(message: tuple[str, dict[str, str]]) -> None:
        if message[0] == "ready":
            addresses.update(message[1])
            ready.set()

    detector = Detector(context)
    config = RunConfig(
        source=SourceConfig(address=detector.address), record=RecordConfig(path=str(path)),
        analysis=AnalysisConfig(backend="null"), trigger=triggers, channel=channels,
    )  # fmt: skip
    control = Control(threading.Event(), report)
    arguments = (control, config, clock, f"tcp://127.0.0.1:{port_number}", remote)
    thread = threading.Thread(target=run_ingest, args=arguments)
    thread.start()
    assert ready.wait(TIMEOUT_S)
    analyser = Analyser(context, addresses["analysers"])
    device = context.socket(zmq.PUSH)
    device.set(zmq.LINGER, 0)
    device.connect(remote.stimuli)
    events: list[Event] = []
    try:
        assert windows.poll(1000 * TIMEOUT_S), "no status came: the subscription is not there yet"
        detector.send(start_of(4), *(frame_of(i) for i in (0, 1, 2)))
        for _ in range(3):
            analyser.answer(result_of(analyser.next_task()))
        device.send(msgpack.packb({"name": "temperature", "value": 600.0}))
        for wanted in (2, 3):
            while len(events) < wanted:
                assert windows.poll(1000 * TIMEOUT_S), f"only {events} came"
                topic, body = windows.recv_multipart()
                events += [decode_event(body)] if topic == EVENT_TOPIC else []
            if wanted == 2:  # frame 3 is lost, frame 4 shows it
                detector.send(frame_of(4))
                analyser.answer(result_of(analyser.next_task(), total_atoms=0.0))
        detector.send(SeriesEnd(KEY))
    finally:
        thread.join(TIMEOUT_S)
        control.request_stop()
        thread.join(TIMEOUT_S)
        for end in (detector, analyser, device):
            end.close()
    return events
