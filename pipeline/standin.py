"""What answers ingest for analysers that are gone, so that the recording outlives the analysis.

Under WAIT, ingest takes nothing in while its queue of tasks is full; under LATEST it then skips. So the
frames that a dead analyser had are given up by name (`report_lost`); and when the last analyser has failed, a
thread of the supervisor takes the tasks instead and gives each up. The reasons end up in the ledger.
"""

import threading
from typing import Any, cast

import zmq

from streamer.link import encode_lost
from streamer.records import AnalyserLost

__all__ = ["StandIn", "report_lost"]

_POLL_MS = 50
_QUEUE_FRAMES = 4
_LINGER_MS = 1000


def report_lost(results_address: str, reason: str) -> None:
    """Tell ingest not to wait for what a dead analyser had."""
    with zmq.Context() as context, context.socket(zmq.PUSH) as results:
        results.set(zmq.LINGER, _LINGER_MS)
        results.connect(results_address)
        results.send_multipart(cast("list[bytes]", encode_lost(AnalyserLost(reason))))


class StandIn:
    """Takes tasks and gives them up until `close`.

    Parameters
    ----------
    tasks_address, results_address : str
        Where ingest hands frames on and takes results back.
    reason : str
        Written into the ledger for each frame.
    """

    def __init__(self, tasks_address: str, results_address: str, reason: str) -> None:
        self._addresses = tasks_address, results_address
        self._reason = reason
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="atomstream-standin", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop and join the thread."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        with zmq.Context() as context:
            tasks, results = context.socket(zmq.PULL), context.socket(zmq.PUSH)
            with tasks, results:
                tasks.set(zmq.RCVHWM, _QUEUE_FRAMES)
                tasks.set(zmq.LINGER, 0)
                results.set(zmq.LINGER, _LINGER_MS)
                tasks.connect(self._addresses[0])
                results.connect(self._addresses[1])
                self._answer(tasks, results)

    def _answer(self, tasks: Any, results: Any) -> None:
        while not self._stop.is_set():
            if not tasks.poll(_POLL_MS):
                continue
            tasks.recv_multipart(copy=False)
            results.send_multipart(encode_lost(AnalyserLost(self._reason)))
