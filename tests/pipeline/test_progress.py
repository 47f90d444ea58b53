"""How far a run is, as the supervisor hears of it: what it waits for when a sender has failed."""

import time

import zmq

from pipeline.progress import RunProgress
from streamer.window_link import RunStatus, encode_status

PATIENCE_S = 30.0


def status(received: int, analysed: int, latency_ms: float = 1.0) -> RunStatus:
    return RunStatus(
        state="running", source="dectris2://127.0.0.1:1", series_id=1, n_planned=9, received=received,
        recorded=received, analysed=analysed, skipped=0, missing=0, damaged=0, bad_messages=0,
        received_per_s=1.0, recorded_per_s=1.0, analysed_per_s=1.0, latency_p50_ms=latency_ms,
        latency_p99_ms=latency_ms, path="", bytes_written=0, bytes_free=0, backend="null", note="", t=0.0,
        t_started=0.0,
    )  # fmt: skip


def test_a_run_advances_with_every_frame_received_or_analysed_and_with_nothing_else() -> None:
    with zmq.Context() as context, context.socket(zmq.XPUB) as publisher:
        publisher.set(zmq.LINGER, 0)
        port = publisher.bind_to_random_port("tcp://127.0.0.1")
        progress = RunProgress(f"tcp://127.0.0.1:{port}", analysing=True)
        try:
            assert publisher.recv(), "it has subscribed"
            for now, advances, results_due in (
                (status(4, 0), True, True),
                (status(4, 0, latency_ms=2.0), False, True),
                (status(4, 4), True, False),
                (status(5, 4), True, True),
            ):
                before = progress.advanced_at
                publisher.send_multipart(encode_status(now))
                took_in = wait_for_one(progress)
                assert (progress.advanced_at > before) is advances
                assert progress.results_due is results_due
                assert took_in
        finally:
            progress.close()


def wait_for_one(progress: RunProgress) -> bool:
    """Let a message come, and take it in."""
    deadline = time.monotonic() + PATIENCE_S
    socket = progress._socket
    while not socket.poll(100):
        if time.monotonic() > deadline:
            return False
    progress.update()
    return True
