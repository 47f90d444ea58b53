"""Analysers that ingest takes in from other machines, and those that it does not."""

from dataclasses import replace
from pathlib import Path

import h5py
import msgspec
import zmq

from streamer.analyser_desk import merged, task_of
from streamer.check import check_file
from streamer.config import AnalysisConfig, RecordConfig, RunConfig, SecurityConfig, SourceConfig
from streamer.joining import (
    AskTime,
    Bye,
    Hello,
    Over,
    Ping,
    Refused,
    Time,
    Welcome,
    decode_from_ingest,
    encode,
)
from streamer.records import AnalyserInfo
from tests.streamer.ingest_run import T0, TIMEOUT_S, result_of, running, series_of, wait_for_line
from tests.waiting import wait_until

OTHERS = AnalysisConfig(analysers=0, remote="tcp://127.0.0.1:0", queue_frames=1, join_timeout_s=0.3)
INFO = AnalyserInfo("openvino", "CPU", "f32", "2025.3", {"a.onnx": "ab" * 32}, "it is there")
GPU = replace(INFO, backend="tensorrt", device="H200", precision="f16", version="11")


def test_it_is_told_what_to_do_what_time_it_is_and_when_it_is_over(tmp_path: Path) -> None:
    with running(tmp_path / "run.nxs", OTHERS) as (detector, run, analyser):
        end = analyser(remote=True, info=INFO)
        end.say(Hello("gpu"))
        welcome = end.hears(Welcome)
        config = msgspec.toml.decode(welcome.configuration, type=RunConfig)
        assert (welcome.number, config.analysis) == (1, OTHERS)
        end.say(AskTime(12.5))
        time = end.hears(Time)
        assert (time.asked, time.t > T0) == (12.5, True)
        detector.send(*series_of(range(2), 2))
        for _ in range(2):
            end.answer(result_of(end.next_task()))
        assert run.finish()["analysed"] == 2
        assert end.hears(Over).reason == "end message"
    assert run.informed["joined"]["precision"] == "f32"


def test_it_is_not_told_what_does_not_concern_it() -> None:
    config = RunConfig(
        source=SourceConfig(address="dectris2://10.0.0.1:31001", pixel_size_A=0.2, server_key="/home/x"),
        record=RecordConfig(path="/home/a/secret.nxs", maps_every=5),
        analysis=AnalysisConfig(models="/home/a/models"),
        security=SecurityConfig(key="/home/a/own.key_secret"),
    )
    task = task_of(config)
    assert not any(word in task for word in ("/home", "10.0.0.1", "secret"))
    told = msgspec.toml.decode(task, type=RunConfig)
    assert (told.source.pixel_size_A, told.record.maps_every) == (0.2, 5)


def test_strangers_are_refused_and_named(tmp_path: Path) -> None:
    analysis = msgspec.structs.replace(OTHERS, remote_limit=1, join_timeout_s=20.0)
    with running(tmp_path / "run.nxs", analysis) as (detector, run, analyser):
        end = analyser(remote=True, info=INFO)
        end.hears(Ping)
        silent = analyser(remote=True)
        assert "has not introduced itself" in silent.hears(Refused).reason
        other = analyser(remote=True, info=replace(INFO, networks={"a.onnx": "cd" * 32}))
        assert "networks are not those of this run (a.onnx)" in other.hears(Refused).reason
        third = analyser(remote=True, info=GPU)
        assert "takes 1 at a time" in third.hears(Refused).reason
        third.heard.clear()
        third.say(Hello("third", protocol=99))
        assert "install the same version" in third.hears(Refused).reason
        detector.send(*series_of(range(3), 3))
        for _ in range(3):
            end.answer(result_of(end.next_task()))
        summary = run.finish()
    assert (summary["analysed"], summary["lost"]) == (3, 0)
    assert sum(note.startswith("an analyser was refused") for note in summary["notes"]) == 4


def test_the_runs_own_networks_count_even_if_another_machines_come_first(tmp_path: Path) -> None:
    analysis = msgspec.structs.replace(OTHERS, analysers=1)
    with running(tmp_path / "run.nxs", analysis) as (detector, run, analyser):
        early = analyser(remote=True, info=replace(GPU, networks={"a.onnx": "cd" * 32}))
        early.hears(Ping)
        own = analyser(info=INFO)
        assert "networks are not those of this run (a.onnx)" in early.hears(Refused).reason
        other = analyser(info=replace(INFO, networks={"a.onnx": "ef" * 32}))
        assert "networks are not those of this run (a.onnx)" in other.hears(Refused).reason
        detector.send(*series_of(range(3), 3))
        for _ in range(3):
            own.answer(result_of(own.next_task()))
        assert run.finish()["analysed"] == 3
    with h5py.File(tmp_path / "run.nxs") as file:
        assert file["entry/process/analysis/backend"][()].decode() == "openvino"


def test_one_that_is_gone_before_it_has_joined_is_named_and_waited_for_no_longer(tmp_path: Path) -> None:
    with running(tmp_path / "run.nxs", OTHERS) as (_, run, _), zmq.Context() as context:
        with context.socket(zmq.DEALER) as ends:
            ends.connect(run.address("remote"))
            ends.send(encode(Hello("gpu")))
            assert ends.poll(1000 * TIMEOUT_S)
            assert isinstance(decode_from_ingest(ends.recv()), Welcome)
            wait_until(lambda: run.informed.get("n_loading") == 1)
        wait_until(lambda: run.informed.get("n_loading") == 0)
        notes = run.stop()["notes"]
    assert any(note.startswith("gpu is gone before it has joined") for note in notes)


def test_when_all_have_left_frames_wait_then_are_named_until_another_joins(tmp_path: Path) -> None:
    path = tmp_path / "run.nxs"
    with running(path, OTHERS) as (detector, run, analyser):
        first = analyser(remote=True, info=INFO, room=1)
        *messages, last = series_of(range(6), 6)
        detector.send(*messages[:4])  # the start, and frames 0 to 2
        first.answer(result_of(first.next_task()))
        assert first.next_task().frame.header.frame_id == 1
        first.say(Bye("it was stopped"))
        wait_for_line(path, "no analyser for")
        second = analyser(remote=True, info=GPU, room=1)
        second.hears(Ping)
        detector.send(*messages[4:], last)
        for _ in range(3):
            second.answer(result_of(second.next_task()))
        summary = run.finish()
    assert (summary["recorded"], summary["analysed"], summary["analysis_lost"]) == (6, 4, 2)
    assert "2 recorded (no analyser is there): 1-2" in map(str, check_file(path).losses)
    with h5py.File(path) as file:
        engine = file["entry/process/analysis"]
        assert engine["backend"][()].decode() == "openvino; tensorrt"


def test_what_all_have_in_common_is_said_once() -> None:
    both = merged([INFO, GPU])
    assert (both.precision, both.reason, both.networks) == ("f32; f16", "it is there", INFO.networks)


def test_one_that_is_gone_is_named_however_that_was_found(tmp_path: Path) -> None:
    """Mostly by the next frame that it is to be given, before it is greeted again."""
    analysis = msgspec.structs.replace(OTHERS, queue_frames=40, join_timeout_s=60.0)
    path = tmp_path / "run.nxs"
    with running(path, analysis) as (detector, run, analyser):
        gone, stays = analyser(remote=True, info=INFO), analyser(remote=True, info=INFO)
        for end in (gone, stays):
            end.hears(Ping)
        *messages, last = series_of(range(40), 40)
        detector.send(*messages[:3])
        gone.next_task()
        gone.close()
        for message in messages[3:]:
            detector.send(message)
        for _ in range(40):
            stays.answer(result_of(stays.next_task()))
        detector.send(last)
        assert run.finish()["analysed"] == 40
    with h5py.File(path) as file:
        said = [line.decode() for line in file["entry/process/log/text"][:]]
    assert any(line.startswith(f"{gone.name} is gone") for line in said), said
