"""The follower of several analysers' results: what it finishes, and what becomes of a run that loses it."""

import os
import re
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import zmq

from pipeline import follow_process
from pipeline.follow_process import ResultFollower
from pipeline.particle_networks import networks_for
from pipeline.plan import Companion
from pipeline.report import summarise
from pipeline.supervisor import supervise
from streamer.check import check_file
from streamer.clock import RunClock
from streamer.config import AnalysisConfig
from streamer.link import decode_result
from streamer.records import (
    COLUMN_DTYPE,
    TRACKS_OF_AN_ANALYSER,
    FrameFailure,
    FrameResult,
    FrameStatus,
    SeriesKey,
)
from streamer.unfollowed import Seen, Unfollowed, decode_unfollowed, encode_unfollowed
from streamer.window_link import VIEW_TOPIC, View, decode_view
from tests.pipeline.run_parts import send_images
from tests.pipeline.test_remote_analysers import LOCAL, Said
from tests.pipeline.test_supervisor import meanwhile, plan_of, process
from tests.pipeline.tiny_networks import (
    MATERIAL,
    PARTICLES,
    frame_with_columns,
    write_networks,
    write_particle_networks,
)
from tests.waiting import wait_until

KEY = SeriesKey(1, "test")
N = 1500  # frames, of which some hundred are sent


def test_particles_get_their_drift_and_are_not_followed(tmp_path: Path) -> None:
    networks = networks_for(write_particle_networks(tmp_path), PARTICLES)
    follower = ResultFollower(AnalysisConfig(), networks, RunClock.start())
    rng, drifts = np.random.default_rng(1), []
    image = rng.normal(size=(48, 64)).astype(np.float32)
    for frame_id, dx in enumerate((0, 3)):
        found = FrameResult(frame_id, KEY, np.empty(0, COLUMN_DTYPE), 0.0, 0.0, 1.0, 2.0, 3.0)
        seen = Seen(np.empty((0, 0), np.float32), (192, 128), 0.2, 0.1)
        moved = np.roll(image, dx, axis=1)
        result, picture = follower.finish(Unfollowed(found, seen, (96, 128), moved))
        assert picture is None
        assert np.isnan(result.fused_atoms)
        drifts.append(result.drift_px)
    np.testing.assert_allclose(drifts, [(0, 0), (0, 6)], atol=0.5)


def test_another_series_by_the_same_name_begins_anew(tmp_path: Path) -> None:
    follower = ResultFollower(
        AnalysisConfig(), networks_for(write_networks(tmp_path), MATERIAL), RunClock.start()
    )
    image, columns = np.random.default_rng(1).normal(size=(48, 64)), np.zeros(1, COLUMN_DTYPE)
    columns["y"], columns["x"] = 40.0, 50.0
    results = []
    for number, dx in ((1, 0), (2, 3)):
        found = FrameResult(number, KEY, columns, 0.0, 0.0, 1.0, 2.0, 3.0)
        seen = Seen(np.full((1, 12), 1 / 12, np.float32), (192, 128), 0.2, 0.1, series=number)
        moved = np.roll(image, dx, axis=1).astype(np.float32)
        unfollowed = decode_unfollowed(
            [memoryview(part) for part in encode_unfollowed(Unfollowed(found, seen, (96, 128), moved))]
        )
        results.append(follower.finish(unfollowed)[0])
    assert [result.drift_px for result in results] == [(0.0, 0.0)] * 2


def test_what_cannot_be_read_is_a_failure_of_its_frame_where_it_names_one(tmp_path: Path) -> None:
    follower = ResultFollower(
        AnalysisConfig(), networks_for(write_particle_networks(tmp_path), PARTICLES), RunClock.start()
    )
    found = FrameResult(5, KEY, np.empty(0, COLUMN_DTYPE), 0.0, 0.0, 1.0, 2.0, 3.0)
    seen = Seen(np.empty((0, 0), np.float32), (192, 128), 0.2, 0.1)
    whole = encode_unfollowed(Unfollowed(found, seen, (96, 128), np.zeros((48, 64), np.float32)))
    parts = [memoryview(bytes(part)) for part in whole]
    counts: Counter[str] = Counter()
    answer, _ = follow_process._answer(follower, [*parts[:-1], parts[-1][:-4]], counts)
    failure = decode_result([memoryview(bytes(part)) for part in answer])
    assert isinstance(failure, FrameFailure)
    assert (failure.key, failure.frame_id) == (KEY, 5)
    for rubbish in ([memoryview(b"")], [memoryview(b"none")] * len(parts)):
        assert follow_process._answer(follower, rubbish, counts) == ([], None)
    assert counts == {"failed": 3}


def test_a_killed_follower_is_replaced_and_costs_no_result(tmp_path: Path) -> None:
    """Others may join, so even one analyser's results are followed apart; windows see them followed."""
    out, said, seen = tmp_path / "run.nxs", Said(), list[View]()
    image = frame_with_columns((64, 64), [(20, 20, 3), (20, 44, 4), (44, 32, 5)])
    images = np.random.default_rng(1).poisson(np.broadcast_to(image, (N, 64, 64)))
    np.save(tmp_path / "images.npy", images.astype(np.uint16))

    def kill_the_follower() -> None:
        with zmq.Context() as context, context.socket(zmq.SUB) as window:
            window.subscribe(VIEW_TOPIC)
            window.connect(said.address("live view"))
            seen.append(_next_followed(window))
            process("follower-1").kill()
            seen.append(_next_followed(window, TRACKS_OF_AN_ANALYSER))
        os.kill(os.getpid(), signal.SIGINT)

    models = write_networks(tmp_path / "models")
    own: dict[str, Any] = {"models": str(models), "material": MATERIAL, "remote": LOCAL}
    analysis = AnalysisConfig(backend="openvino", precision="f32", threads=1, **own)
    sender = Companion(send_images, (str(tmp_path / "images.npy"),))
    with meanwhile(kill_the_follower):
        outcome = supervise(plan_of(out, sender, analysis=analysis, say=said.append))
    summary = summarise("live", outcome)
    assert (summary["analysed"] + summary["skipped"], summary["lost"]) == (summary["recorded"], 0)
    assert summary["problems"][0].startswith("follower-1: the process ended unexpectedly")
    assert np.isfinite([view.header.drift_x_px for view in seen]).all()
    assert check_file(out).ok
    with h5py.File(out) as file:
        assert set(file["entry/ledger/status"][:].tolist()) <= {FrameStatus.ANALYSED, FrameStatus.SKIPPED}
        log = b" ".join(file["entry/process/log/text"])
        ids = file["entry/columns/track_id"][:]
    # by the supervisor's word or by the broken connection, whichever ingest hears of first
    assert re.search(rb"follower-1 (died|is gone): results are recorded without drift and tracks", log)
    assert {-1, 0, 1, 2} <= set(ids.tolist())
    assert ids[-1] >= TRACKS_OF_AN_ANALYSER


def _next_followed(window: Any, first_id: int = 0) -> View:
    """Wait for a picture whose columns have ids from `first_id` on."""
    pictures: list[View] = []

    def has_come() -> bool:
        if window.poll(100):
            pictures.append(decode_view([part.buffer for part in window.recv_multipart(copy=False)]))
        return bool(pictures) and bool((pictures[-1].columns["track_id"] >= first_id).any())

    wait_until(has_come)
    return pictures[-1]
