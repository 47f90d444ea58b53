"""The benchmark: what is counted as latency, what is said to limit, and the verb on real processes."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from pipeline import bench_peers
from pipeline.bench_peers import run_peers
from pipeline.bench_plan import Case, Extent
from pipeline.bench_report import _load_runs, compare, limit_line, markdown
from pipeline.bench_run import due_latencies_s, percentiles_ms
from pipeline.bench_stages import limit_of
from pipeline.cli import bench, main
from tests.integration.make_venvs import PVAPY

with_pvapy = pytest.mark.skipif(bool(PVAPY.missing), reason=PVAPY.missing)


def test_a_stall_counts_for_every_frame_that_was_due_meanwhile() -> None:
    """A source that waits while the receiver stalls must not hide it (coordinated omission)."""
    rate_hz, frame_ids = 100.0, np.arange(300)
    due = 1000.0 + frame_ids / rate_hz
    sent = due.copy()
    sent[100:200] = np.maximum(due[100:200], due[100] + 1.0)  # one second of standing still
    ledger = {"frame_id": frame_ids, "t_detector": sent, "t_published": sent + 0.001}
    naive = percentiles_ms(ledger["t_published"] - ledger["t_detector"])
    honest = percentiles_ms(due_latencies_s(ledger, rate_hz))
    assert naive["p99"] == pytest.approx(1.0, abs=0.1)
    assert honest["p50"] == pytest.approx(1.0, abs=0.1)
    assert honest["p99"] == pytest.approx(981, abs=15)
    assert honest["max"] == pytest.approx(1001, abs=0.1)


def test_frames_without_a_result_are_left_out() -> None:
    ledger = {
        "frame_id": np.arange(3),
        "t_detector": np.array([5.0, 5.1, 5.2]),
        "t_published": np.array([5.05, np.nan, 5.25]),
    }
    np.testing.assert_allclose(due_latencies_s(ledger, 10.0), [0.05, 0.05], atol=1e-9)
    assert percentiles_ms(np.zeros(0)) == {}


@pytest.mark.parametrize(
    ("rates", "stage", "fps"),
    [
        ({"recording": 5000, "decoding": 900, "networks": 30, "columns": 900}, "networks", 30),
        ({"recording": 5000, "decoding": 100, "networks": 80, "columns": 100}, "analyser", 50),
        ({"recording": 20, "decoding": 100, "networks": 80, "columns": 100}, "recording", 20),
    ],
)
def test_the_slowest_stage_is_named_and_the_analysers_thread_is_one_stage(
    rates: dict[str, float], stage: str, fps: float
) -> None:
    limit = limit_of(rates)
    assert (limit.stage, limit.fps) == (stage, pytest.approx(fps))
    said = limit_line({"stage": limit.stage, "fps": limit.fps, "advice": limit.advice}, 0.9 * fps)
    assert said.endswith(f"{limit.advice}.")


def test_a_whole_that_is_far_slower_than_its_slowest_stage_is_not_blamed_on_that_stage_alone() -> None:
    said = limit_line({"stage": "analyser", "fps": 182.0, "advice": "more analysers"}, 48.8)
    assert "The whole does 27% of what this stage does by itself" in said


def _measured(case: Case, fps: float, **latency_ms: float) -> dict[str, Any]:
    counts = {"received": 10, "recorded": 10, "analysed": 10, "skipped": 0, "lost": 0}
    return {
        "key": case.key, "case": case.to_dict(), "fps": fps, "counts": counts, "latency_ms": latency_ms,
        "stages_ms": {}, "backend": "null",
    }  # fmt: skip


def _results(fps: float) -> dict[str, Any]:
    case = Case(backend="null")
    limit = {"stage": "networks", "fps": 31.0, "advice": "a GPU"}
    latency = {"p50": 10.0, "p99": 20.0, "p999": 30.0, "max": 40.0}
    machine = {
        "cpu": "A CPU", "vector_unit": "avx512_bf16", "cores": 2, "memory_GiB": 8.0, "system": "Linux",
        "python": "3.11", "packages": {},
        "load": 0.1, "when": "2026-11-20",
    }  # fmt: skip
    backend = {
        "capacity": _measured(case, fps), "stages_fps": {"networks": 31.0}, "limit": limit,
        "load": [_measured(replace(case, rate_hz=20.0), 20.0, **latency)],
        "batch": [_measured(replace(case, batch_frames=4), 2 * fps)],
        "size": [_measured(replace(case, size_px=256), 3 * fps)],
    }  # fmt: skip
    alone = _measured(replace(case, analyse=False), 900.0)
    return {"machine": machine, "recording_alone": alone, "backends": {"null": backend}}


def test_a_change_of_more_than_a_tenth_is_named() -> None:
    same = compare(_results(30.0), _results(31.0))
    assert same == ["all 4 common cases are within 10%"]
    slower = compare(_results(20.0), _results(30.0))
    assert len(slower) == 3
    assert all("SLOWER" in line and "0.67 times" in line for line in slower)


def test_another_machine_and_other_work_are_named_before_any_difference() -> None:
    earlier, now = _results(30.0), _results(20.0)
    earlier["machine"]["vector_unit"], now["machine"]["load"] = "amx_bf16", 3.0
    another, busy, *others = compare(now, earlier)
    assert another == "ANOTHER MACHINE: then A CPU (amx_bf16), 2 cores, now A CPU (avx512_bf16), 2 cores"
    assert busy == "busy with other work now: differences may be that work's"
    assert all("SLOWER" in line for line in others)
    assert compare({**now, "threads": 1}, earlier)[2] == (
        "OTHER THREADS: each backend had then its own number of threads, now 1"
    )
    del earlier["machine"]["vector_unit"]  # of an earlier version
    assert compare(_results(30.0), earlier)[0].startswith("ANOTHER MACHINE: then A CPU, 2 cores, now")


def test_a_run_with_a_window_is_no_point_of_the_curve() -> None:
    backend = _results(30.0)["backends"]["null"]
    shown = _measured(Case(backend="null", rate_hz=20.0, window=True), 20.0, p50=1.0, p99=2.0)
    backend["load"].append(shown)
    assert _load_runs(backend, "wait") == backend["load"][:1]
    assert _load_runs(backend, "latest") == []


def test_the_report_names_the_machine_the_limit_and_every_run() -> None:
    page = markdown(_results(30.0), ["bench-null.png"], ["all the same"])
    for text in ("A CPU (avx512_bf16), 2 cores", "What limits it: networks", "a GPU",
                 "| 10.0 | 20.0 | 30.0 | 40.0 |", "![bench-null](bench-null.png)",
                 "- all the same"):  # fmt: skip
        assert text in page
    assert "the window drew" not in page
    shown = _results(30.0)
    shown["backends"]["null"]["load"][0]["stages_ms"] = {"received_to_displayed": {"p50": 41.0, "p99": 97.5}}
    assert "the window drew frames 41.0 ms (p50), 97.5 ms (p99) after they had come" in markdown(shown)
    busy = _results(30.0)
    busy["machine"]["load"] = 3.0
    assert "busy with other work" in markdown(busy)


@pytest.mark.slow
@pytest.mark.timeout(900)  # five runs of real processes
def test_the_verb_measures_writes_and_compares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = Extent(loads=(0.3,), batches=(), sizes_px=(), seconds=0.5, capacity_frames=20)
    monkeypatch.setattr("pipeline.bench_plan.QUICK", small)
    out = tmp_path / "first"
    command = ["bench", "--quick", "--backend", "null", "--size", "256", "--out", str(out)]
    monkeypatch.setattr(bench, "_POOL_FRAMES", 4)
    assert main([*command, "--json"]) in (0, 1)
    record = json.loads(capsys.readouterr().out.splitlines()[-1])
    results = json.loads((out / "bench.json").read_text())
    assert record["backends"].keys() == results["backends"].keys() == {"null"}
    backend = results["backends"]["null"]
    assert backend["capacity"]["counts"]["analysed"] == 20
    assert backend["capacity"]["fps"] > 0
    assert {*backend["stages_fps"]} == {"recording", "decoding", "networks", "columns"}
    policies = [m["case"]["policy"] for m in backend["load"]]
    assert policies == ["wait", "latest", "wait", "wait"]
    unrecorded, shown = (measured["case"] for measured in backend["load"][-2:])
    assert (unrecorded["record"], shown["window"]) == (False, True)
    for measured in backend["load"]:
        assert 0 < measured["latency_ms"]["p50"] <= measured["latency_ms"]["max"]
    assert (out / "bench-null.png").stat().st_size > 1000
    assert "What limits it" in (out / "report.md").read_text()
    assert main([*command]) == 2, "a folder is never overwritten"
    assert main(["bench", "--compare", str(out / "report.md")]) == 2


@pytest.mark.timeout(600)  # eight runs of real processes
def test_a_plain_loop_is_measured_beside_ours_and_what_is_not_installed_is_named(tmp_path: Path) -> None:
    said: list[str] = []
    source = bench._source()
    rows = run_peers(tmp_path, Case(size_px=256), source.sender_of, tmp_path, said.append, n_frames=150)
    programs = [row["program"].split(",")[0] for row in rows]
    assert programs == [
        "LiberTEM-live", "Atomstream", "Atomstream",
        "PvaPy", "PvaPy", "Atomstream", "Atomstream",
        "plain pyzmq + OpenVINO loop", "plain pyzmq + PyTorch loop", "Atomstream", "Atomstream",
    ]  # fmt: skip
    assert ".venv-merlin is not there" in rows[0]["missing"]
    assert all(".venv-pva is not there" in row["missing"] for row in rows[3:5])
    if find_spec("torch") is None:
        assert "No module named 'torch'" in rows.pop(8)["missing"]
    measured = [*rows[1:3], *rows[5:]]
    assert all(row["fps"] > 0 for row in measured), said
    assert [row["lost"] for row in measured if "lost" in row] == 6 * [0]
    assert len(said) == len(programs)


@with_pvapy
@pytest.mark.slow
@pytest.mark.timeout(600)  # four runs of real processes
def test_pvapy_is_measured_beside_ours(tmp_path: Path) -> None:
    case = Case(size_px=256, n_frames=60)
    comparison = bench_peers._Comparison(PVAPY.folder.parent, case, bench._source().sender_of, tmp_path)
    kept, flooded, receiving, recording = comparison.frames()
    for row in (kept, flooded, receiving, recording):
        assert row["fps"] > 0, row
    assert [row["lost"] for row in (kept, receiving, recording)] == [0, 0, 0]
    assert flooded["lost"] >= 0
    assert kept["answer"]["frames"] == flooded["answer"]["frames"] == 44, "from the second quarter on"


def _pvapy_script(python: str | Path, given: Sequence[str]) -> "subprocess.Popen[str]":
    command = [python, Path(bench_peers.__file__).with_name("peers") / "pvapy_frames.py", *given]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@with_pvapy
@pytest.mark.timeout(300)
def test_two_measurements_of_pvapy_at_once_do_not_meet_and_leave_no_server_behind() -> None:
    """Frames of one size in a trial of the other would end it with an error."""
    both = [_pvapy_script(PVAPY.python, [side, "100", "kept"]) for side in ("64", "96")]
    servers: set[psutil.Process] = set()
    for process in both:
        assert process.stdout is not None
        assert process.stdout.readline() == "listening\n"
    while any(process.poll() is None for process in both):
        running = [psutil.Process(process.pid) for process in both if process.poll() is None]
        for script in running:
            try:
                servers.update(script.children())
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(running, timeout=0.2)
    for process in both:
        out, errors = process.communicate()
        assert process.returncode == 0, errors
        answer = json.loads(out)
        assert (answer["frames"], answer["lost"]) == (74, 0)
    assert len(servers) >= 2
    assert not any(server.is_running() for server in servers)


def test_without_pvapy_its_script_says_what_is_missing() -> None:
    process = _pvapy_script(sys.executable, ["64", "100", "kept"])
    out, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert out == "listening\n"
    assert "No module named 'pvaccess'" in errors.splitlines()[-1]
