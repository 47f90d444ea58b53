"""Analysers that join a run over the network: real processes, some of which are killed in its midst."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import msgspec
import numpy as np
import psutil
import pytest
import zmq
from numpy.typing import NDArray

from pipeline.cli import main
from pipeline.plan import Companion, RunPlan
from pipeline.report import summarise
from pipeline.supervisor import supervise
from streamer.check import check_file
from streamer.config import AnalysisConfig, SecurityConfig
from streamer.curve import own_keys
from streamer.errors import WorkerError
from streamer.keys import make_key_files
from streamer.records import FrameStatus
from streamer.window_link import VIEW_TOPIC, decode_view
from tests.pipeline.run_parts import send_images
from tests.pipeline.test_supervisor import frames, meanwhile, plan_of, recorded
from tests.pipeline.tiny_networks import MATERIAL, frame_with_columns, write_networks
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
LOCAL = "tcp://127.0.0.1:0"
N = 600


@dataclass
class Analyse:
    """A process that runs ``atomstream analyse``, and what it has printed."""

    process: "subprocess.Popen[str]"
    errors: Path

    def wait_ready(self) -> None:
        """Wait until it has joined the run."""
        wait_until(lambda: "analysing with" in self.errors.read_text())

    def wait(self) -> tuple[int, dict[str, Any]]:
        """Wait for its end; return its exit status and its last line's JSON."""
        out, _ = self.process.communicate(timeout=60)
        return self.process.returncode, json.loads(out.splitlines()[-1])


@contextmanager
def analysing(address: str, *options: str, n: int = 1) -> Iterator[list[Analyse]]:
    command = [sys.executable, "-m", "pipeline.cli", "analyse", address, "--json", *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    started: list[Analyse] = []
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        for number in range(n):
            errors = Path(folder) / f"{number}.txt"
            log = stack.enter_context(errors.open("w"))
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=log, text=True
            )
            started.append(Analyse(process, errors))
        try:
            yield started
        finally:
            for other in started:
                other.process.kill()
                other.process.wait()
                if other.process.stdout is not None:
                    other.process.stdout.close()


class Said(list[str]):
    """What a run has said."""

    def address(self, what: str) -> str:
        """Wait until the run has said where it takes something; return that address."""
        wait_until(lambda: any(line.startswith(f"{what}: ") for line in self))
        return next(line.split()[-1] for line in self if line.startswith(f"{what}: "))


def others(**more: Any) -> AnalysisConfig:
    """The configuration of a run that has no analyser of its own."""
    return AnalysisConfig(**{"backend": "null", "analysers": 0, "remote": LOCAL, **more})


def result_ids(path: Path) -> list[int]:
    with h5py.File(path) as file:
        assert set(file["entry/ledger/status"][:].tolist()) == {FrameStatus.ANALYSED}
        return file["entry/summary/frame_id"][:].tolist()  # type: ignore[no-any-return]


def test_one_of_three_is_killed_and_every_frame_is_analysed_once(tmp_path: Path) -> None:
    out, said = tmp_path / "run.nxs", Said()
    ends: list[tuple[int, dict[str, Any]]] = []

    def kill_one() -> None:
        with analysing(said.address("analysers"), n=3) as processes:
            for process in processes:
                process.wait_ready()
            n_before = recorded(out)
            wait_until(lambda: recorded(out) > n_before + 50)
            victim = psutil.Process(processes[0].process.pid)
            victim.suspend()  # so that it certainly has frames that it will not answer
            n_then = recorded(out)
            wait_until(lambda: recorded(out) > n_then + 20)
            victim.kill()
            ends.extend(other.wait() for other in processes[1:])

    analysis = others(queue_frames=24)
    with meanwhile(kill_one):
        outcome = supervise(plan_of(out, frames(N, 60.0), analysis=analysis, say=said.append))
    summary = summarise("live", outcome)
    assert summary["ok"], summary["problems"]
    assert (summary["recorded"], summary["analysed"], summary["lost"]) == (N, N, 0)
    assert sorted(result_ids(out)) == list(range(N))
    assert any("frames it had are given to another" in line for line in _log(out))
    assert [status for status, _ in ends] == [0, 0]
    assert all(done["analysed"] > 20 and done["ended_by"] == "end message" for _, done in ends)
    assert check_file(out).ok


def test_columns_are_followed_for_analysers_elsewhere_one_of_which_is_killed(tmp_path: Path) -> None:
    """What the follower makes of a local and two remote analysers' frames is what one process alone makes."""
    out, said = tmp_path / "run.nxs", Said()
    np.save(tmp_path / "images.npy", _walk(1500))
    models = write_networks(tmp_path / "models")
    own: dict[str, Any] = {"material": MATERIAL, "models": str(models), "precision": "f32", "threads": 1}
    analysis = AnalysisConfig(backend="openvino", remote=LOCAL, **own)
    done: list[int] = []

    def help_it() -> None:
        with analysing(said.address("analysers"), "--models", str(models), n=2) as (victim, helper):
            for other in (victim, helper):
                other.wait_ready()
            n_before = recorded(out)
            wait_until(lambda: recorded(out) > n_before + 50)
            psutil.Process(victim.process.pid).suspend()  # so that it certainly has frames
            time.sleep(0.3)
            victim.process.kill()
            wait_until(lambda: any("frames it had are given to another" in line for line in _log(out)))
            n_before = recorded(out)
            wait_until(lambda: recorded(out) > n_before + 50)
            os.kill(os.getpid(), signal.SIGINT)
            status, summary = helper.wait()
            done.extend((status, summary["analysed"]))

    sender = Companion(send_images, (str(tmp_path / "images.npy"),))
    with meanwhile(help_it):
        outcome = supervise(plan_of(out, sender, analysis=analysis, say=said.append))
    summary = summarise("live", outcome)
    assert (summary["lost"], summary["problems"]) == (0, [])
    assert done[0] == 0
    assert 20 < done[1] < summary["analysed"] - 20, "it did some of them"
    assert main(["reprocess", str(out), "--workers", "0"]) == 0
    with h5py.File(out) as run, h5py.File(tmp_path / "run-again.nxs") as alone:
        n = len(run["entry/summary/frame_id"])
        assert run["entry/summary/frame_id"][:].tolist() == list(range(n))
        assert np.isfinite(run["entry/summary/drift"][:]).all()
        assert set(run["entry/columns/track_id"][:].tolist()) >= {0, 1, 2}
        for table, n_rows in (("summary", n), ("columns", len(run["entry/columns/y"]))):
            for name, column in run[f"entry/{table}"].items():
                there = alone[f"entry/{table}/{name}"][: n if name == "first_row" else n_rows]
                np.testing.assert_array_equal(column[:], there, err_msg=f"{table}/{name}")
    assert check_file(out).ok


def _walk(n_frames: int) -> NDArray[np.uint16]:
    """Three columns that drift, with counting noise."""
    rng = np.random.default_rng(1)
    walk = np.clip(np.cumsum(rng.normal(0, 0.1, (n_frames, 2)), axis=0), -6, 6)
    columns = [(20, 20, 3), (20, 44, 4), (44, 32, 5)]
    moved = ([(y + dy, x + dx, count) for y, x, count in columns] for dy, dx in walk)
    return np.array([rng.poisson(frame_with_columns((64, 64), there)) for there in moved], np.uint16)


def _log(path: Path) -> list[str]:
    try:
        with h5py.File(path, "r", libver="latest", swmr=True) as file:
            return [line.decode() for line in file["entry/process/log/text"][:]]
    except (OSError, KeyError):
        return []


def test_a_run_of_its_own_analyser_is_helped_by_another(tmp_path: Path) -> None:
    out, said = tmp_path / "run.nxs", Said()
    ends: list[tuple[int, dict[str, Any]]] = []

    def help_it() -> None:
        with analysing(said.address("analysers")) as (helper,):
            ends.append(helper.wait())

    analysis = AnalysisConfig(backend="null", remote=LOCAL)
    with meanwhile(help_it):
        outcome = supervise(plan_of(out, frames(N, 60.0), analysis=analysis, say=said.append))
    assert outcome.ingest["analysed"] == N
    assert ends[0][0] == 0
    assert 0 < ends[0][1]["analysed"] < N
    assert sorted(result_ids(out)) == list(range(N))
    with h5py.File(out) as file:
        drift = file["entry/summary/drift"][:]
    assert np.isnan(drift).all(), "each would measure against another first frame"


def test_the_last_ones_frames_wait_for_the_next_to_come(tmp_path: Path) -> None:
    out, said = tmp_path / "run.nxs", Said()

    def replace_it() -> None:
        address = said.address("analysers")
        with analysing(address) as (first,):
            wait_until(lambda: recorded(out) > 20)
            first.process.kill()
            with analysing(address) as (second,):
                assert second.wait()[0] == 0

    with meanwhile(replace_it):
        outcome = supervise(plan_of(out, frames(150), analysis=others(), say=said.append))
    assert (outcome.ingest["analysed"], outcome.ingest["lost"]) == (150, 0)
    assert sorted(result_ids(out)) == list(range(150))


def test_one_with_keys_and_an_engine_of_its_own_follows_columns_and_is_seen(tmp_path: Path) -> None:
    """The only analyser of a run, on another machine: all that a local one does, encrypted."""
    for name in ("microscope", "gpu", "stranger"):
        make_key_files(tmp_path / name)
    security = SecurityConfig(key=f"{tmp_path}/microscope.key_secret", clients=(f"{tmp_path}/gpu.key",))
    models = write_networks(tmp_path / "models")
    analysis = others(backend="auto", material=MATERIAL, models=str(models), remote_limit=1)
    out, said, seen = tmp_path / "run.nxs", Said(), list[Any]()
    keys = ["--key", f"{tmp_path}/gpu.key_secret", "--server-key", f"{tmp_path}/microscope.key"]
    strange = ["--key", f"{tmp_path}/stranger.key_secret", "--server-key", f"{tmp_path}/microscope.key"]
    own = ["--backend", "openvino", "--precision", "f32", "--threads", "1", "--models", str(models)]

    def join() -> None:
        address = said.address("analysers")
        for wrong, why in ((strange, "does not admit this machine's key"), ([], "is encrypted")):
            with analysing(address, *wrong) as (refused,):
                status, answer = refused.wait()
                assert status == 1
                assert why in answer["error"], answer
        with analysing(address, *keys, *own) as (helper,):
            seen.append(_picture(said.address("live view"), security))
            with analysing(address, *keys, *own) as (second,):
                assert "takes 1 at a time" in second.wait()[1]["error"]
            status, done = helper.wait()
            assert (status, done["precision"]) == (0, "f32")

    plan = plan_of(out, frames(300, 30.0), analysis=analysis, say=said.append)
    config = msgspec.structs.replace(plan.config, security=security)
    with meanwhile(join):
        outcome = supervise(RunPlan(config=config, say=said.append, sender=plan.sender))
    assert outcome.ingest["analysed"] == 300
    assert seen[0].raw.shape == (64, 64)
    with h5py.File(out) as file:
        engine = file["entry/process/analysis"]
        assert [engine[name][()].decode() for name in ("backend", "precision")] == ["openvino", "f32"]
        assert len(engine["models/sha256"]) == 2
        assert np.isfinite(file["entry/summary/drift"][:]).all(), "it is alone, so drift is measured"


def _picture(address: str, security: SecurityConfig) -> Any:
    keys = own_keys(security)
    assert keys is not None
    with zmq.Context() as context, context.socket(zmq.SUB) as window:
        window.curve_publickey, window.curve_secretkey = keys.pair.public, keys.pair.secret
        window.curve_serverkey = keys.server
        window.subscribe(VIEW_TOPIC)
        window.connect(address)
        assert window.poll(60_000), "no picture came"
        return decode_view([part.buffer for part in window.recv_multipart(copy=False)])


def test_a_run_that_nobody_joins_says_so_before_it_begins(tmp_path: Path) -> None:
    out, said = tmp_path / "run.nxs", Said()
    analysis = others(join_timeout_s=0.5, backend="openvino", models=str(tmp_path))
    with pytest.raises(WorkerError, match=r"no analyser has joined at tcp://127.0.0.1:\d+ within 1 s"):
        supervise(plan_of(out, frames(10), analysis=analysis, say=said.append))
    assert any("columns are not followed: follower-1: no network" in line for line in said), said


def test_one_that_cannot_load_its_networks_is_waited_for_no_longer(tmp_path: Path) -> None:
    said = Said()
    analysis = others(join_timeout_s=5.0)

    def fail() -> None:
        with analysing(said.address("analysers"), "--models", str(tmp_path)) as (only,):
            assert only.wait()[0] == 1

    with meanwhile(fail), pytest.raises(WorkerError, match=r"no analyser has joined at tcp://127.0.0.1:\d+"):
        supervise(plan_of(tmp_path / "run.nxs", frames(10), analysis=analysis, say=said.append))


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["analyse", "microscope"], 2, "'microscope' is no address of a run: expected tcp://HOST:PORT"),
        (["analyse", "dectris2://127.0.0.1:31001"], 2, "is no address of a run"),
        (["analyse", "tcp://127.0.0.1:99999"], 2, "is no address of a run"),
        (["analyse", "tcp://127.0.0.1:9", "--connect-timeout-s", "0.2"], 1, "nothing answers at tcp://"),
        (["analyse", "tcp://127.0.0.1:9", "--server-key", "x.key"], 2, "--server-key needs --key too"),
        (["live", "dectris2://127.0.0.1:9", "--analysers", "0"], 2, "--analysers 0 leaves nobody to analyse"),
        (
            ["live", "dectris2://127.0.0.1:9", "--remote-analysers", "tcp://0.0.0.0:5570"],
            2,
            "tcp://0.0.0.0:5570 can be reached from other machines",
        ),
        (
            ["live", "dectris2://127.0.0.1:9", "--remote-analysers", LOCAL, "--average", "3"],
            2,
            "several analysers see every other frame",
        ),
        (
            ["live", "dectris2://127.0.0.1:9", "--analysers", "2", "--denoise-frames", "5"],
            2,
            "not several in a row: leave out --denoise-frames",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    arguments: Sequence[str], status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments]) == status
    line = capsys.readouterr().err
    assert message in line
    assert line.count("\n") == 1


def test_another_programs_port_is_no_run(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        assert main(["analyse", address, "--connect-timeout-s", "0.5"]) == 1
    assert f"{address} did not shake hands within 0.5 s" in capsys.readouterr().err


def test_another_address_of_a_run_hands_out_no_frames(capsys: pytest.CaptureFixture[str]) -> None:
    with zmq.Context() as context, context.socket(zmq.ROUTER) as control:
        port = control.bind_to_random_port("tcp://127.0.0.1")
        assert main(["analyse", f"tcp://127.0.0.1:{port}", "--connect-timeout-s", "0.5"]) == 1
        control.close(0)
    assert "does not hand out frames: give the address that the run prints" in capsys.readouterr().err


def test_one_is_alone_only_if_no_other_can_join() -> None:
    assert not AnalysisConfig(remote=LOCAL).alone
    assert AnalysisConfig().alone
    assert others(remote_limit=1).alone
    assert not others(remote_limit=2).alone
