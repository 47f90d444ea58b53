"""Starts the processes of a run, watches them, and ends them: the one place where they are wired together.

::

    [sender] ──► ingest ──► analyser(s)          child processes, each a `streamer.worker.Worker`
                  │ ▲ │         │
                  │ │ └───► [follower]           of what several analysers find
                  │ └─results───┤
      ▲           └──status─────┴──views──► hub (a thread here) ──► window(s)
      └─requests, replies─► control port (a thread here) ◄──► window(s), scripts

Order: hub; sender (if the run brings its own); ingest, which binds; the follower, if several analysers can
share the run; analysers, until their networks are loaded; then the sender may begin. The run is over when
ingest has ended: by the end of the series, by its own time-outs, or because it was asked to.

The recording outlives everything else. An analyser that fails is named and replaced once; when the last one
has failed, frames go on being recorded and the ledger says why they were not analysed. So is the follower;
without one, results are recorded unfollowed. A window may crash or be closed. Whatever happens, every
process is joined before `supervise` returns or raises.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from pipeline.analyser import run_analyser
from pipeline.control_port import ControlPort
from pipeline.crew import Crew
from pipeline.follower_watch import FollowerWatch
from pipeline.heartbeat import Heartbeat
from pipeline.hub import ViewHub, shown_address
from pipeline.losing import report_lost
from pipeline.plan import Companion, RunOutcome, RunPlan
from pipeline.progress import RunProgress
from pipeline.signals import StopSignals
from pipeline.webhooks import Webhooks
from streamer.clock import RunClock
from streamer.config import SecurityConfig, expect_channels
from streamer.curve import own_keys
from streamer.errors import AtomstreamError, RunError, WorkerError
from streamer.flag import SharedFlag
from streamer.ingest import run_ingest
from streamer.sources import ZMQ_SCHEMES, parse_source, wait_reachable
from streamer.worker import Worker, WorkerState

if TYPE_CHECKING:
    from pipeline.metrics import Metrics

__all__ = ["supervise"]

_POLL_S = 0.1
_READY_TIMEOUT_S = 180.0
_ENGINES_TIMEOUT_S = 1800.0  # TensorRT builds an engine for minutes, once
_DRAIN_S = 3.0  # without progress, until nothing more is expected of a sender that failed, and no result
_END_S = 60.0  # for ingest to wait for results and close its file, on a slow disk too
_CLOSE_S = 15.0  # for all others
_ENDED = "ended before the run did"
_NONE_LEFT = "no analyser is left: frames are recorded, but no longer analysed"
_LEFT_TO_OTHERS = "no analyser is left on this machine: those on others go on alone"


def supervise(plan: RunPlan, report: Callable[[RunOutcome], None] = lambda outcome: None) -> RunOutcome:
    """Run a plan to its end.

    Parameters
    ----------
    plan : RunPlan
    report : callable
        Given the outcome as soon as it is known, before a window that stays is waited for.

    Raises
    ------
    SourceUnreachableError
        If nothing answers at the source.
    WorkerError
        If the sender, ingest or an analyser cannot start, or ingest fails later.
    KeyboardInterrupt
        On a second Ctrl-C, or one before ingest was started; all processes have ended.
    """
    config = plan.config
    expect_channels(config)
    source = parse_source(config.source.address) if plan.sender is None else None
    if source is not None and source.scheme in ZMQ_SCHEMES:  # others may serve one connection only: ingest's
        wait_reachable(source, config.source.connect_timeout_s)
    clock = RunClock.start()
    with (
        StopSignals() as signals,
        ViewHub(config.view.bind, config.security) as hub,
        Webhooks({t.name: t.webhook for t in config.trigger if t.webhook}, clock.now) as webhooks,
        ControlPort(config.control, config.channel, clock, webhooks.take, config.security) as port,
        _offered(config.control.metrics, hub.local_address, config.security, plan.say) as metrics,
        Heartbeat(hub.inner_address) as heart,
        Crew() as crew,
    ):
        with closing(_Run(plan, clock, signals, hub, port, metrics, heart, crew)) as run:
            run.start()
            run.watch()
            outcome = run.outcome()
            webhooks.close()  # the calls that are due are made before they are counted
            if done := webhooks.done():
                plan.say(done)
            report(outcome)
            run.wait_for_window()
            return outcome


class _Run:
    """One run, as the supervisor sees it."""

    def __init__(
        self,
        plan: RunPlan,
        clock: RunClock,
        signals: StopSignals,
        hub: ViewHub,
        port: ControlPort,
        metrics: "Metrics | None",
        heart: Heartbeat,
        crew: Crew,
    ) -> None:
        self._metrics, self._heart = metrics, heart
        self._plan, self._signals, self._hub, self._port, self._crew = plan, signals, hub, port, crew
        self._config = plan.config
        self._clock = clock
        self._progress = RunProgress(
            hub.local_address, plan.config.analysis.enabled, own_keys(plan.config.security)
        )
        self._sender: Worker | None = None
        self._window: Worker | None = None
        self._follower: FollowerWatch | None = None
        self._talking: list[Worker] = []  # sender and ingest: they have something to tell
        self._analysers: list[Worker] = []
        self._analysers_started = 0
        self._none_left = False
        self._troubles: list[str] = []
        self._end_wanted = False
        self._sender_failed_at: float | None = None
        self._end_asked_at: float | None = None

    def close(self) -> None:
        """Release what is not a process: those belong to the crew."""
        self._progress.close()

    def start(self) -> None:
        """Start everything, in the order given in the module's docstring."""
        begin = SharedFlag()
        if self._plan.sender is not None:
            self._start_sender(self._plan.sender, begin)
        self._ingest = self._crew.start(
            "ingest", run_ingest, self._config, self._clock, self._hub.inner_address, self._port.remote
        )
        self._talking.append(self._ingest)
        self._await_ready(self._ingest)
        self._plan.say(f"live view: atomstream gui {self._hub.shown_address}")
        if self._port.remote.control:
            self._plan.say(f'control: atomstream tell {shown_address(self._port.remote.control)} note "…"')
        if self._port.remote.stimuli:
            self._plan.say(f"stimuli: push samples to {shown_address(self._port.remote.stimuli)}")
        self._start_window()
        self._start_analysers()
        if not self._ending() and _runs(self._ingest):
            begin.set()

    def watch(self) -> None:
        """Look after the processes until ingest has ended."""
        while _runs(self._ingest, _POLL_S):
            self._keep_up()
            self._look_after_analysers()
            self._look_after_follower()
            self._look_after_sender()
            if self._ending():
                self._ask_for_the_end()
        self._pass_on_words()
        self._expect_recorded()

    def _keep_up(self) -> None:
        """Do what is due in every round, already while networks are loaded: that may take minutes."""
        self._pass_on_words()
        self._look_after_window()
        self._crew.sample_memory()
        self._progress.update()
        self._heart.beat(self._clock.now(), self._crew.states())
        if self._metrics is not None:
            self._metrics.update()
        self._end_wanted |= self._port.stop_wanted

    def _expect_recorded(self) -> None:
        """Raise ingest's error, unless it has closed its files and only then named a source that failed."""
        if not self._ingest.summary:
            self._ingest.raise_error()

    def outcome(self) -> RunOutcome:
        """Stop the others, now that ingest has ended, and gather what all have said."""
        follower = self._follower.worker if self._follower is not None else None
        all_of_them = (self._ingest, self._sender, follower, *self._analysers)
        # Who was still loading networks had nothing to do yet, and cannot listen: no harm if it is killed.
        workers = [w for w in all_of_them if w is not None and w.state is not WorkerState.STARTING]
        self._crew.stop(_CLOSE_S, self._window if self._window_stays() else None)
        self._troubles += [f"{w.name}: {w.error}" for w in workers if w.state is WorkerState.FAILED]
        return RunOutcome(
            config=self._config,
            ingest=self._ingest.summary,
            analysers=(*({**w.info, **w.summary} for w in self._analysers), *self._remote_ones()),
            sender=self._sender.summary if self._sender else None,
            peak_rss_bytes=self._crew.peak_rss_bytes,
            ended_early=self._ending(),
            troubles=tuple(dict.fromkeys(self._troubles)),
            elapsed_s=self._clock.now() - self._clock.wall_at_start_s,
        )

    def _remote_ones(self) -> list[dict[str, Any]]:
        return [self._ingest.info["joined"]] if "joined" in self._ingest.info else []

    def wait_for_window(self) -> None:
        """Wait until a window that stays is closed, or Ctrl-C."""
        if self._window is None or not self._window_stays():
            return
        self._plan.say("the run is over: close the window, or press Ctrl-C, to leave")
        while _runs(self._window, _POLL_S) and not self._ending():
            self._end_wanted |= self._port.stop_wanted

    def _pass_on_words(self) -> None:
        for worker in self._talking:
            for line in worker.told():
                self._plan.say(line)

    def _ending(self) -> bool:
        return self._end_wanted or self._signals.requested

    def _window_stays(self) -> bool:
        return self._plan.window_stays and not self._ending()

    def _start_sender(self, sender: Companion, begin: SharedFlag) -> None:
        self._sender = self._crew.start(sender.name, sender.target, *sender.args, begin)
        self._talking.append(self._sender)
        self._await_ready(self._sender)
        if self._ending():
            raise KeyboardInterrupt
        address = self._sender.info["address"]
        source = self._config.source
        if address != source.address:  # a sender of our own, on this machine
            source = msgspec.structs.replace(source, address=address, server_key="")
        self._config = msgspec.structs.replace(self._config, source=source)

    def _start_window(self) -> None:
        if self._plan.window is not None:
            window = self._plan.window
            self._window = self._crew.start("window", window.target, *window.args, self._hub.local_address)

    def _start_analysers(self) -> None:
        if not self._config.analysis.enabled or self._ending():
            return
        if address := self._ingest.info["remote"]:
            self._plan.say(f"analysers: atomstream analyse {shown_address(address)}")
        if self._config.analysis.followed_apart:
            self._start_follower()
        self._analysers = [self._start_analyser() for _ in range(self._config.analysis.analysers)]
        for analyser in self._analysers:
            self._await_ready(analyser, _ENGINES_TIMEOUT_S, self._ingest)
        engine = self._analysers[0].info if self._analysers else self._await_remote()
        if engine:
            self._plan.say(f"analysing with {engine['backend']} ({engine['device']}, {engine['precision']})")
            if self._config.analysis.backend == "auto" or self._config.analysis.fallback:
                self._plan.say(engine["reason"])

    def _start_follower(self) -> None:
        """Start it, and wait until ingest knows it; do without where the networks are elsewhere alone."""
        addresses = self._ingest.info["analysers"], self._hub.inner_address
        self._follower = FollowerWatch(self._crew, self._config, self._clock, *addresses)
        try:
            self._await_ready(self._follower.worker, beside=self._ingest)
        except AtomstreamError as error:
            if self._config.analysis.analysers:
                raise
            self._follower = None
            self._plan.say(f"drift is not measured and columns are not followed: {error}")

    def _start_analyser(self) -> Worker:
        self._analysers_started += 1
        return self._crew.start(
            f"analyser-{self._analysers_started}",
            run_analyser,
            self._config,
            self._clock,
            self._ingest.info["analysers"],
            self._hub.inner_address,
            self._analysers_started,
        )

    def _await_remote(self) -> dict[str, Any]:
        """Wait until an analyser on another machine has joined; return its engine.

        One that has announced itself, and is still there, may take as long as one of our own.
        """
        limit_s, begun = self._config.analysis.join_timeout_s, time.monotonic()
        alone_since = begun
        while "joined" not in self._ingest.info and not self._ending() and _runs(self._ingest, _POLL_S):
            self._keep_up()
            now = time.monotonic()
            alone_since = now if self._ingest.info.get("n_loading") else alone_since
            waited_s = now - begun
            if now - alone_since > limit_s or waited_s > _ENGINES_TIMEOUT_S:
                raise WorkerError(
                    f"no analyser has joined at {shown_address(self._ingest.info['remote'])} within"
                    f" {waited_s:.0f} s: start 'atomstream analyse', or leave out --analysers 0"
                )
        return dict(self._ingest.info.get("joined", {}))

    def _await_ready(
        self, worker: Worker, timeout_s: float = _READY_TIMEOUT_S, beside: Worker | None = None
    ) -> None:
        """Wait until a worker is ready; returns early when the end is asked for, or another has failed."""
        deadline = time.monotonic() + timeout_s
        while worker.poll(_POLL_S) is WorkerState.STARTING and not self._ending():
            if time.monotonic() > deadline:
                raise WorkerError(f"{worker.name} was not ready after {timeout_s:g} s")
            self._keep_up()
            if beside is not None and beside.poll() is WorkerState.FAILED:
                break
        self._pass_on_words()
        worker.raise_error()

    def _look_after_analysers(self) -> None:
        # One that ingest has told that the run is over may end before ingest, which still closes its file.
        for analyser in [a for a in self._analysers if not _runs(a) and not a.summary.get("over")]:
            self._analysers.remove(analyser)
            report_lost(self._ingest.info["analysers"], f"{analyser.name} died", analyser.name)
            if not self._ending():
                self._note(f"{analyser.name}: {analyser.error or _ENDED}; the recording goes on")
                self._replace(analyser)
        if self._analysers_started and not self._analysers and not self._none_left:
            self._none_left = True
            report_lost(self._ingest.info["analysers"], "no analyser is left")
            if not self._ending():
                self._note(_LEFT_TO_OTHERS if self._config.analysis.remote else _NONE_LEFT)

    def _replace(self, analyser: Worker) -> None:
        if not analyser.refused and self._analysers_started == self._config.analysis.analysers:
            self._plan.say("starting another analyser in its place")
            self._analysers.append(self._start_analyser())

    def _look_after_follower(self) -> None:
        if self._follower is not None and (trouble := self._follower.look_after(self._ending())):
            self._note(trouble)

    def _look_after_sender(self) -> None:
        if self._sender is None or self._sender.poll() is not WorkerState.FAILED:
            return
        if self._sender_failed_at is None:
            self._sender_failed_at = time.monotonic()
            self._note(f"{self._sender.name}: {self._sender.error}")
        idle_since = max(self._sender_failed_at, self._progress.advanced_at)
        patience_s = self._config.ingest.result_timeout_s if self._progress.results_due else 0.0
        self._end_wanted |= time.monotonic() - idle_since > max(_DRAIN_S, patience_s)

    def _look_after_window(self) -> None:
        if self._window is None or _runs(self._window):
            return
        if self._window.state is WorkerState.FAILED:
            self._plan.say(f"window: {self._window.error}; the run goes on")
        elif self._plan.ends_with_window:
            self._end_wanted = True
        else:
            self._plan.say(f"the window is closed; open another: atomstream gui {self._hub.shown_address}")
        self._window = None

    def _ask_for_the_end(self) -> None:
        """Stop the sender, and ask ingest, which then waits briefly for results and closes its file."""
        now = time.monotonic()
        if self._end_asked_at is None:
            self._end_asked_at = now
            self._plan.say("ending the run; Ctrl-C again kills it")
        for worker in (self._ingest, self._sender):
            if worker is not None:
                worker.request_stop()
        if now - self._end_asked_at > _END_S:
            raise WorkerError(f"ingest has not ended {_END_S:.0f} s after it was asked to; it is killed")

    def _note(self, trouble: str) -> None:
        self._troubles.append(trouble)
        self._plan.say(trouble)


@contextmanager
def _offered(
    bind: str, hub: str, security: SecurityConfig, say: Callable[[str], None]
) -> "Iterator[Metrics | None]":
    """Offer metrics, if they are asked for."""
    if not bind:
        yield None
        return
    try:
        from pipeline.metrics import Metrics
    except ModuleNotFoundError as error:
        raise RunError("--metrics needs prometheus-client: pip install 'atomstream[metrics]'") from error
    with Metrics(bind, hub, security) as metrics:
        say(f"metrics: {metrics.address}")
        yield metrics


def _runs(worker: Worker, wait_s: float = 0.0) -> bool:
    return worker.poll(wait_s) in (WorkerState.STARTING, WorkerState.RUNNING)
