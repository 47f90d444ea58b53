"""How a run stands, for Prometheus: counters, rates and latencies over HTTP.

Needs the extra ``metrics``. Each request is answered, by a thread of the library's server, from the newest
status message; the run itself is never asked.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import zmq
from prometheus_client import start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from streamer.closing import Closing
from streamer.config import LOCAL_ONLY, SecurityConfig
from streamer.counters import OutputCounts
from streamer.curve import connect_client, leaves_machine, own_keys
from streamer.errors import RunError, UsageError
from streamer.latency import PERCENTILES, STAGES
from streamer.window_link import STATUS_TOPIC, RunStatus, decode_status

__all__ = ["Metrics", "metrics_of"]

_QUEUE_MESSAGES = 8
_COUNTERS = {
    "received": "Frames received", "recorded": "Frames in the file", "analysed": "Frames with a result",
    "skipped": "Frames deliberately not analysed", "missing": "Frame ids for which nothing came",
    "damaged": "Frames that could not be recorded or analysed", "bad_messages": "Messages that were damaged",
    "unrecorded": "Frames that came after recording had failed",
}  # fmt: skip
_GAUGES = {
    "received_per_s": "Frames received per second", "recorded_per_s": "Frames recorded per second",
    "analysed_per_s": "Frames analysed per second", "bytes_written": "Size of the files [bytes]",
    "bytes_free": "Free space on the disk [bytes]",
    "analysis_lost": "Frames whose analysis was not answered", "t": "Time of the last status [Unix s]",
}  # fmt: skip


def metrics_of(status: RunStatus | None) -> Iterator[Metric]:
    """Return a status as metrics; `atomstream_up` alone before the first one."""
    yield GaugeMetricFamily(
        "atomstream_up", "Whether the run has said how it stands", float(status is not None)
    )
    if status is None:
        return
    for name, meaning in _COUNTERS.items():
        yield CounterMetricFamily(f"atomstream_{name}", meaning, getattr(status, name))
    for name, meaning in _GAUGES.items():
        yield GaugeMetricFamily(f"atomstream_{name}", meaning, getattr(status, name))
    writable = bool(status.path) and not status.recording_error
    recording = writable and status.recording and status.state != "ended"
    yield GaugeMetricFamily("atomstream_recording", "Whether frames go to the file now", float(recording))
    latency = GaugeMetricFamily(
        "atomstream_latency_seconds",
        "Latency of the run's frames so far, by stage",
        labels=["stage", "quantile"],
    )
    for stage in STAGES:
        for percentile, ms in zip(PERCENTILES, status.stages_ms.get(stage, ()), strict=False):
            latency.add_metric([stage, f"{percentile / 100:g}"], ms / 1000)
    yield latency
    if status.tee:
        yield _tee_metric(status.tee)


def _tee_metric(outputs: Sequence[OutputCounts]) -> Metric:
    frames = CounterMetricFamily(
        "atomstream_tee_frames",
        "Frames for further clients, by what became of them",
        labels=["address", "policy", "fate"],
    )
    for output in outputs:
        for fate, n in (("sent", output.frames), ("dropped", output.dropped), ("absent", output.absent)):
            frames.add_metric([output.address, output.policy, fate], n)
    return frames


class Metrics(Collector, Closing):
    """An HTTP server for Prometheus; a context manager.

    Parameters
    ----------
    bind : str
        ``HOST:PORT``, or a port on 127.0.0.1; port 0 takes a free one.
    hub : str
        The view hub's outer address.
    security : SecurityConfig, optional
        How the hub is reached, and whether the network is trusted: HTTP is not encrypted.

    Attributes
    ----------
    address : str
        Where the metrics are.

    Raises
    ------
    UsageError
        If `bind` is no such address, or can be reached from other machines and nothing says that it may be.
    RunError
        If it cannot be opened.
    """

    def __init__(self, bind: str, hub: str, security: SecurityConfig = LOCAL_ONLY) -> None:
        host, _, port = bind.rpartition(":")
        if not port.isdecimal() or int(port) > 65_535:
            raise UsageError(f"--metrics {bind}: expected HOST:PORT, as in 127.0.0.1:9464")
        host = host or "127.0.0.1"
        if leaves_machine(f"tcp://{host}:{port}") and not security.insecure:
            raise UsageError(
                f"--metrics {bind} can be reached from other machines and is not encrypted: say --insecure"
                " where the network is trusted, or let a proxy on this machine encrypt it"
            )
        self._status: RunStatus | None = None
        registry = CollectorRegistry()
        registry.register(self)
        try:
            self._server, self._thread = start_http_server(int(port), host.strip("[]"), registry)
        except OSError as error:
            raise RunError(
                f"cannot offer metrics at {bind}: {error.strerror}; choose another address or port"
            ) from error
        self.address = f"http://{host}:{self._server.server_port}/metrics"
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.set(zmq.RCVHWM, _QUEUE_MESSAGES)
        self._socket.set(zmq.LINGER, 0)
        self._socket.subscribe(STATUS_TOPIC)
        connect_client(self._socket, hub, own_keys(security))

    def update(self) -> None:
        """Take in the newest status; called by the supervisor in every round."""
        newest: list[Any] = []
        while self._socket.poll(0):
            newest = self._socket.recv_multipart(copy=False)
        if newest:
            self._status = decode_status([part.buffer for part in newest])

    def collect(self) -> Iterator[Metric]:
        """Answer a request; called by the library."""
        return metrics_of(self._status)

    def close(self) -> None:
        """Stop the server."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._socket.close()
        self._context.term()
