"""What can happen to a run while its networks are still being loaded, which may take minutes."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import h5py
import msgspec
import numpy as np
import pytest
import zmq

from pipeline.heartbeat import decode_heartbeat
from pipeline.plan import Companion, RunPlan
from pipeline.report import summarise
from pipeline.supervisor import supervise
from simulator.sender import SenderSettings, send_stream
from streamer.config import AnalysisConfig, IngestConfig, RecordConfig, RunConfig, SourceConfig
from streamer.control import Stop
from streamer.control_client import ask
from streamer.errors import WorkerError
from streamer.records import Policy
from streamer.window_link import HEARTBEAT_TOPIC

from .run_parts import SHAPE, analyser_that_loads, analyser_that_only_loads, window_closed_on
from .test_metrics import scraped
from .test_supervisor import ENDLESS, frames, meanwhile, plan_of, process, wait_until


@pytest.fixture(autouse=True)
def loading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.supervisor.run_analyser", analyser_that_loads)


def address(said: list[str], what: str) -> str:
    """Wait until the run has said where something is."""
    wait_until(lambda: any(line.startswith(f"{what}: ") for line in said))
    line = next(line for line in said if line.startswith(f"{what}: "))
    return next(word for word in line.split() if "://" in word)


def test_it_gives_signs_of_life_and_can_be_stopped(tmp_path: Path) -> None:
    said, states = list[str](), dict[str, str]()
    plan = plan_of(tmp_path / "run.nxs", frames(ENDLESS), say=said.append)
    control = msgspec.structs.replace(plan.config.control, metrics="127.0.0.1:0")
    plan = replace(plan, config=msgspec.structs.replace(plan.config, control=control))

    def watch() -> None:
        with zmq.Context() as context, context.socket(zmq.SUB) as socket:
            socket.subscribe(HEARTBEAT_TOPIC)
            socket.connect(address(said, "live view"))
            while "analyser-1" not in states:
                assert socket.poll(60_000), "no sign of life"
                states.update(decode_heartbeat(socket.recv_multipart()[1]).processes)
        metrics = address(said, "metrics")
        wait_until(lambda: scraped(metrics)["atomstream_up",] == 1)
        assert ask(address(said, "control"), Stop(), 20.0).ok

    with meanwhile(watch):
        assert supervise(plan).ended_early
    assert (states["ingest"], states["analyser-1"]) == ("running", "starting")


def test_an_analyser_that_has_to_be_killed_then_is_no_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = list[str]()
    monkeypatch.setattr("pipeline.supervisor.run_analyser", analyser_that_only_loads)

    def stop() -> None:
        assert ask(address(said, "control"), Stop(), 20.0).ok

    with meanwhile(stop):
        outcome = supervise(plan_of(tmp_path / "run.nxs", frames(10), say=said.append))
    assert outcome.ended_early
    assert outcome.troubles == ()


def test_closing_the_window_ends_it(tmp_path: Path) -> None:
    said, sign = list[str](), tmp_path / "close it"
    window = Companion(window_closed_on, (str(sign),))
    plan = plan_of(tmp_path / "run.nxs", frames(10), window=window, ends_with_window=True, say=said.append)

    def close() -> None:
        address(said, "live view")
        sign.touch()

    with meanwhile(close):
        assert supervise(plan).ended_early


def test_an_ingest_that_dies_is_told_at_once(tmp_path: Path) -> None:
    said = list[str]()

    def kill() -> None:
        address(said, "live view")
        process("ingest").kill()

    with meanwhile(kill), pytest.raises(WorkerError, match="ingest: the process ended unexpectedly"):
        supervise(plan_of(tmp_path / "run.nxs", frames(10), say=said.append))


@contextmanager
def detector(n_frames: int) -> Iterator[str]:
    """A detector that takes its series whoever is ready; yields its address."""
    bound, end = list[str](), threading.Event()
    settings = SenderSettings(rate_hz=100.0, n_planned=n_frames, pixel_size_A=0.2)
    images = [np.ones(SHAPE, np.uint16)] * n_frames
    thread = threading.Thread(target=send_stream, args=(images, settings, end.is_set, bound.append))
    thread.start()
    try:
        wait_until(lambda: bool(bound))
        yield bound[0].replace("tcp://", "dectris2://")
    finally:
        end.set()
        thread.join()


def test_a_series_that_is_over_before_an_analyser_has_joined_is_a_run_like_others(tmp_path: Path) -> None:
    said = list[str]()
    analysis = AnalysisConfig(backend="null", policy=Policy.LATEST, analysers=0, remote="tcp://127.0.0.1:0")
    with detector(20) as source:
        config = RunConfig(
            source=SourceConfig(address=source),
            record=RecordConfig(path=str(tmp_path / "run.nxs")),
            ingest=IngestConfig(result_timeout_s=10.0),
            analysis=analysis,
        )
        outcome = supervise(RunPlan(config=config, say=said.append))
    summary = summarise("live", outcome)
    assert summary["ok"], summary["problems"]
    assert (summary["recorded"], summary["skipped"], summary["ended_by"]) == (20, 20, "end message")
    with h5py.File(tmp_path / "run.nxs") as file:
        assert set(file["entry/ledger/reason"][:].tolist()) == {b"no analyser was there"}
