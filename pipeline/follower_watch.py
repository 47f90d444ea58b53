"""The follower of a run's results, as the supervisor sees it: started, watched, replaced once."""

from pipeline.crew import Crew
from pipeline.follow_process import run_follower
from pipeline.losing import report_lost
from streamer.clock import RunClock
from streamer.config import RunConfig
from streamer.worker import Worker, WorkerState

__all__ = ["FollowerWatch"]

_MOST = 2
_AGAIN = "columns are followed anew, under other ids, by another"
_NEVERMORE = "results are recorded without drift and tracks from here on"


class FollowerWatch:
    """Keeps a follower at work; starts the first.

    Parameters
    ----------
    crew : Crew
        Whom it belongs to.
    config : RunConfig
    clock : RunClock
    ingest_address, view_address : str
        See `pipeline.follow_process.run_follower`.

    Attributes
    ----------
    worker : Worker
        The latest one.
    """

    def __init__(
        self, crew: Crew, config: RunConfig, clock: RunClock, ingest_address: str, view_address: str
    ) -> None:
        self._crew, self._ingest_address = crew, ingest_address
        self._args = config, clock, ingest_address, view_address
        self._started = 0
        self._given_up = False
        self.worker: Worker = self._start()

    def look_after(self, ending: bool) -> str:
        """Replace one that has died; return what the user should know of that, mostly nothing.

        One that ingest has told that the run is over may end before ingest.
        """
        worker = self.worker
        alive = worker.poll() in (WorkerState.STARTING, WorkerState.RUNNING)
        if alive or self._given_up or worker.summary.get("over"):
            return ""
        report_lost(self._ingest_address, f"{worker.name} died", worker.name)
        self._given_up = ending or worker.refused or self._started == _MOST
        if ending:
            return ""
        if not self._given_up:
            self.worker = self._start()
        outlook = _NEVERMORE if self._given_up else _AGAIN
        return f"{worker.name}: {worker.error or 'ended before the run did'}; {outlook}"

    def _start(self) -> Worker:
        self._started += 1
        return self._crew.start(f"follower-{self._started}", run_follower, *self._args, self._started)
