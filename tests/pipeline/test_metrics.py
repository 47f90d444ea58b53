"""What Prometheus and a watchdog see of a run: over real HTTP and the real view hub."""

import math
from dataclasses import replace
from pathlib import Path
from urllib.request import urlopen

import msgspec
import pytest
import zmq
from prometheus_client.parser import text_string_to_metric_families

from pipeline.heartbeat import decode_heartbeat
from pipeline.metrics import Metrics, metrics_of
from pipeline.supervisor import supervise
from streamer.config import SecurityConfig
from streamer.counters import OutputCounts, OutputPolicy
from streamer.errors import RunError, UsageError
from streamer.window_link import HEARTBEAT_TOPIC, encode_status
from tests.gui.publisher import Publisher, make_status
from tests.waiting import wait_until

from .test_hub import has_ipv6
from .test_supervisor import ENDLESS, frames, meanwhile, plan_of, recorded

OUTPUT = OutputCounts("tcp://127.0.0.1:5", OutputPolicy.BEST_EFFORT, frames=70, dropped=20, absent=10)


def scraped(address: str) -> dict[tuple[str, ...], float]:
    """Read the metrics as Prometheus does: by name and values of the labels, in their names' order."""
    with urlopen(address, timeout=10) as answer:
        text = answer.read().decode()
    families = text_string_to_metric_families(text)
    return {
        (s.name, *(s.labels[n] for n in sorted(s.labels))): s.value
        for family in families
        for s in family.samples
    }


def test_a_status_becomes_metrics() -> None:
    with Publisher() as publisher, Metrics("127.0.0.1:0", publisher.address) as metrics:
        publisher.wait_subscriber()
        assert scraped(metrics.address) == {("atomstream_up",): 0.0}
        status = make_status(
            missing=3, stages_ms={"received_to_published": (10.0, 20.0, 30.0, 40.0)}, tee=(OUTPUT,)
        )
        publisher.send_parts(encode_status(status))

        def is_up() -> bool:
            metrics.update()
            return scraped(metrics.address)[("atomstream_up",)] == 1.0

        wait_until(is_up)
        found = scraped(metrics.address)
    assert found["atomstream_received_total",] == 12_480
    assert found["atomstream_missing_total",] == 3
    assert found["atomstream_recording",] == 1
    assert math.isclose(found["atomstream_latency_seconds", "0.99", "received_to_published"], 0.020)
    assert math.isclose(found["atomstream_latency_seconds", "1", "received_to_published"], 0.040)
    tee = {key[2]: value for key, value in found.items() if key[0] == "atomstream_tee_frames_total"}
    assert tee == {"sent": 70, "dropped": 20, "absent": 10}


def test_a_recording_that_has_failed_is_none() -> None:
    metrics = {metric.name: metric for metric in metrics_of(make_status(recording_error="no drive"))}
    assert metrics["atomstream_recording"].samples[0].value == 0.0


@pytest.mark.parametrize("bind", ["nowhere", "127.0.0.1:", "127.0.0.1:99999"])
def test_an_address_that_is_none_is_a_usage_error(bind: str) -> None:
    with pytest.raises(UsageError, match=r"127\.0\.0\.1:9464"):
        Metrics(bind, "tcp://127.0.0.1:1")


def test_metrics_for_other_machines_need_a_word_of_trust() -> None:
    with pytest.raises(UsageError, match="--insecure"):
        Metrics("0.0.0.0:0", "tcp://127.0.0.1:1")
    with Metrics("0.0.0.0:0", "tcp://127.0.0.1:1", SecurityConfig(insecure=True)) as metrics:
        assert "0.0.0.0" in metrics.address


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_metrics_are_offered_by_ipv6_too() -> None:
    with Metrics("[::1]:0", "tcp://127.0.0.1:1") as metrics:
        assert metrics.address.startswith("http://[::1]:")
        assert scraped(metrics.address) == {("atomstream_up",): 0.0}


def test_a_port_that_is_taken_is_one_clear_error() -> None:
    with Metrics("127.0.0.1:0", "tcp://127.0.0.1:1") as metrics:
        taken = metrics.address.split("/")[2]
        with pytest.raises(RunError, match="choose another address or port"):
            Metrics(taken, "tcp://127.0.0.1:1")


def test_a_run_offers_metrics_and_gives_signs_of_life(tmp_path: Path) -> None:
    out, said, seen = tmp_path / "run.nxs", list[str](), list[dict[str, str]]()
    plan = plan_of(out, frames(ENDLESS), say=said.append)
    control = msgspec.structs.replace(plan.config.control, metrics="127.0.0.1:0")
    plan = replace(plan, config=msgspec.structs.replace(plan.config, control=control))

    def watch() -> None:
        wait_until(lambda: recorded(out) > 10)
        metrics = next(line.split()[-1] for line in said if line.startswith("metrics: "))
        wait_until(lambda: scraped(metrics).get(("atomstream_received_total",), 0) > 10)
        hub = next(line.split()[-1] for line in said if line.startswith("live view: "))
        with zmq.Context() as context, context.socket(zmq.SUB) as socket:
            socket.subscribe(HEARTBEAT_TOPIC)
            socket.connect(hub)
            assert socket.poll(20_000)
            seen.append(decode_heartbeat(socket.recv_multipart()[1]).processes)
        from streamer.control import Stop
        from streamer.control_client import ask

        control = next(line.split()[3] for line in said if line.startswith("control: "))
        assert ask(control, Stop(), 20.0).ok

    with meanwhile(watch):
        supervise(plan)
    assert seen[0]["ingest"] == "running"
    assert {"sender", "ingest", "analyser-1"} <= seen[0].keys()
