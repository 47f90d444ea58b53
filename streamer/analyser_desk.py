"""What ingest does when analysers come, go, or say what they are."""

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import msgspec
import zmq

from streamer.analysers import Analysers, Origin, Peer
from streamer.clock import RunClock
from streamer.config import RecordConfig, RunConfig, SourceConfig, ViewConfig, to_toml
from streamer.hang_watch import HangWatch
from streamer.joining import (
    PROTOCOL,
    AskTime,
    Bye,
    Follow,
    FromAnalyser,
    Hello,
    Join,
    Ping,
    Refused,
    Time,
    Welcome,
)
from streamer.notes import Notes
from streamer.records import AnalyserInfo, AnalyserLost
from streamer.window_link import VIEW_TOPIC

if TYPE_CHECKING:
    from streamer.handon import HandOn
    from streamer.recorder import SeriesRecorder
    from streamer.series import SeriesKeeper

__all__ = ["AnalyserDesk", "merged", "task_of"]

_SUBSCRIBE = 1  # first byte of a subscription, ZMTP 3.0; the topic follows


class AnalyserDesk:
    """Lets analysers in and out; used by ingest's thread.

    Parameters
    ----------
    config : RunConfig
    clock : RunClock
    analysers : Analysers
    handon : HandOn
    keeper : SeriesKeeper
        Writes the engine's name into the files.
    notes : Notes
    windows : zmq.Socket
        XPUB: pictures of analysers on other machines go out by it, if anybody subscribes to them.
    inform : callable
        Told the supervisor what it should know of analysers on other machines.
    """

    def __init__(
        self,
        config: RunConfig,
        clock: RunClock,
        analysers: Analysers,
        handon: "HandOn[SeriesRecorder]",
        keeper: "SeriesKeeper",
        notes: Notes,
        windows: Any,
        inform: Callable[..., None],
    ) -> None:
        self._config, self._clock = config, clock
        self._analysers, self._handon, self._keeper = analysers, handon, keeper
        self._notes, self._windows, self._inform = notes, windows, inform
        self._infos: list[AnalyserInfo] = []
        self._followed: dict[str, str] = {}  # the networks that the follower knows
        self._of_origin: dict[bytes, AnalyserInfo] = {}
        self._strangers: set[bytes] = set()
        self._knows_own = False  # the networks of an analyser of this machine
        self._topics: set[bytes] = set()
        self._n_welcomed = 0
        self._loading: dict[bytes, tuple[Origin, str]] = {}  # welcomed, and not joined yet: who, and its name
        self._local_ones_gone = not config.analysis.analysers
        self._alone_since: float | None = None
        self._hang_watch = HangWatch(config.ingest.result_timeout_s)
        self._hanging: dict[bytes, Peer] = {}

    @property
    def backend(self) -> str:
        """The engines that take part, by name."""
        return merged(self._infos).backend if self._infos else ""

    @property
    def shapes(self) -> tuple[str, ...]:
        """The shapes that particles are told apart by; the same for all who take part."""
        return self._infos[0].shapes if self._infos else ()

    def take(self, origin: Origin, message: AnalyserInfo | AnalyserLost | FromAnalyser) -> None:
        """Do what an analyser, or the supervisor for one, asks for."""
        if isinstance(message, AnalyserInfo):
            self._introduce(origin, message)
        elif isinstance(message, AnalyserLost):
            self._take_loss(origin, message)
        elif isinstance(message, Hello):
            self._greet(origin, message)
        elif isinstance(message, Join):
            self._join(origin, message)
        elif isinstance(message, Follow):
            self._take_follower(origin, message)
        elif isinstance(message, AskTime):
            self._analysers.say(origin, Time(message.t, self._clock.now()))
        elif isinstance(message, Bye) and (peer := self._analysers.of(origin)) is not None:
            self._part_with(peer, f"{peer.name} has left: {message.reason}")

    def heard(self, origin: Origin) -> Peer | None:
        """Return who has sent an answer; one that seemed to hang is given frames again."""
        peer = self._analysers.of(origin)
        if peer is None and (late := self._hanging.pop(origin.route, None)) is not None:
            if late.follows:  # it is behind: what came meanwhile is recorded without it
                return None
            self._analysers.take_back(late)
            self._say(f"{late.name} answers again", warn=False)
            return late
        return peer

    def pass_on(self, parts: list[memoryview]) -> None:
        """Show a picture; whoever does not take it misses it."""
        try:
            self._windows.send_multipart(parts, zmq.NOBLOCK, copy=False)
        except zmq.ZMQError as error:
            self._notes.add("picture", f"a picture could not be published: {error}")

    def end(self, reason: str) -> None:
        """Tell all analysers that the run is over."""
        self._analysers.end(reason)

    def name_departed(self) -> None:
        """Name those that proved to be gone when they were given a frame; called in every round."""
        for peer, n_again in self._handon.departed():
            self._say_gone(peer, f"{peer.name} is gone", n_again)

    def tick(self, now: float) -> None:
        """Greet all analysers and find out who is gone; called twice a second."""
        for peer in self._analysers.ping(self._looked_at()):
            self._part_with(peer, f"{peer.name} is gone")
        self._look_after_loading()
        for peer in self._hang_watch.hanging(*self._handon.waited_for, now):
            self._hanging[peer.origin.route] = peer
            self._part_with(peer, f"{peer.name} has answered nothing for too long")
        if self._analysers.peers or not (self._handon.blocked and self._waits_for_others):
            self._alone_since = None
        elif self._alone_since is None:
            self._alone_since = now
        elif now - self._alone_since > self._config.analysis.join_timeout_s:
            self._say(
                f"no analyser for {now - self._alone_since:.0f} s: frames are not analysed until one joins"
            )
            self._handon.nobody("no analyser is there")

    @property
    def _waits_for_others(self) -> bool:
        """Whether only analysers on other machines can go on, and one has been there."""
        return bool(self._config.analysis.remote and self._local_ones_gone and self._analysers.n_joined)

    def _introduce(self, origin: Origin, info: AnalyserInfo) -> None:
        """Name an engine in the files; refuse one whose networks are not the run's."""
        own = not self._analysers.is_remote(origin)
        if self._infos and info.networks != self._infos[0].networks:
            if not own or self._knows_own:
                self._strangers.add(origin.route)
                self._refuse(origin, _other_networks(self._infos[0], info))
                return
            self._send_away(info)
        self._knows_own |= own
        self._of_origin[origin.route] = info
        if info not in self._infos:
            self._infos.append(info)
        self._expect_follower_fits()
        self._keeper.take_analyser(merged(self._infos))

    def _send_away(self, info: AnalyserInfo) -> None:
        """Refuse analysers on other machines that came before the run's own, whose networks are the run's."""
        for peer in [peer for peer in self._analysers.peers if peer.remote]:
            reason = _other_networks(info, self._infos[0])
            self._strangers.add(peer.origin.route)
            self._refuse(peer.origin, reason)
            self._part_with(peer, f"{peer.name} was refused: {reason}")
        self._infos.clear()
        self._of_origin.clear()

    def _take_follower(self, origin: Origin, follow: Follow) -> None:
        if self._analysers.is_remote(origin):
            self._refuse(origin, "columns are followed on the run's own machine")
            return
        if self._analysers.follower is not None:
            self._part_with(self._analysers.follower, f"{follow.name} has come in its place")
        self._analysers.take_follower(origin, follow.name)
        self._followed = follow.networks
        self._expect_follower_fits()

    def _expect_follower_fits(self) -> None:
        """Do without a follower that knows other networks: it would misread their counts."""
        follower = self._analysers.follower
        if follower is not None and self._infos and self._infos[0].networks != self._followed:
            self._part_with(follower, f"{follower.name} has not the analysers' networks (see --models)")

    def _take_loss(self, origin: Origin, lost: AnalyserLost) -> None:
        if self._analysers.is_remote(origin):
            return  # only the supervisor can know
        if lost.worker:
            if (peer := self._analysers.named(lost.worker)) is not None:
                self._part_with(peer, lost.reason)
        elif self._config.analysis.remote:
            self._local_ones_gone = True
        else:
            self._handon.nobody(lost.reason)

    def _greet(self, origin: Origin, hello: Hello) -> None:
        if hello.protocol != PROTOCOL:
            text = f"this run speaks version {PROTOCOL} with analysers, {hello.name} version {hello.protocol}"
            self._refuse(origin, f"{text}: install the same version of atomstream on both machines")
        elif self._is_full():
            self._refuse(origin, self._enough())
        else:
            self._n_welcomed += 1
            self._analysers.say(origin, Welcome(self._n_welcomed, task_of(self._config)))
            if self._analysers.of(origin) is None:
                self._loading[origin.route] = origin, hello.name
                self._inform(n_loading=len(self._loading))

    def _look_after_loading(self) -> None:
        """Find out who has gone before it has joined: its networks are missing, or will not load."""
        for origin, name in list(self._loading.values()):
            if not self._analysers.say(origin, Ping(False)):
                self._loaded(origin)
                self._say(f"{name} is gone before it has joined: it says why on its own machine")

    def _loaded(self, origin: Origin) -> None:
        if self._loading.pop(origin.route, None) is not None:
            self._inform(n_loading=len(self._loading))

    def _join(self, origin: Origin, join: Join) -> None:
        remote = self._analysers.is_remote(origin)
        self._loaded(origin)
        if origin.route in self._strangers:
            return  # it was told why
        if remote and origin.route not in self._of_origin:
            self._refuse(origin, "it has not introduced itself with the networks of this run")
            return
        if remote and self._analysers.of(origin) is None and self._is_full(join.name):
            self._refuse(origin, self._enough())
            return
        if (former := self._analysers.join(origin, join)) is not None:
            self._part_with(former, f"{former.name} has come back over another connection")
        self._handon.joined()
        if remote:
            self._say(f"{join.name} analyses", warn=False)
            engine = asdict(self._of_origin[origin.route])
            self._inform(joined={"name": join.name, **engine}, n_joined=self._analysers.n_joined)

    def _is_full(self, name: str = "") -> bool:
        limit = self._config.analysis.remote_limit
        others = [peer for peer in self._analysers.peers if peer.remote and peer.name != name]
        return 0 < limit <= len(others)

    def _enough(self) -> str:
        return f"this run takes {self._config.analysis.remote_limit} at a time (--remote-limit), and has them"

    def _refuse(self, origin: Origin, reason: str) -> None:
        self._analysers.say(origin, Refused(reason))
        self._notes.add("refused analyser", f"an analyser was refused: {reason}")

    def _part_with(self, peer: Peer, reason: str) -> None:
        self._say_gone(peer, reason, self._handon.lose(peer, reason))

    def _say_gone(self, peer: Peer, reason: str, n_again: int) -> None:
        if peer.follows:
            self._say(f"{reason}: results are recorded without drift and tracks until another follows them")
        else:
            self._say(f"{reason}; {n_again} frames it had are given to another" if n_again else reason)

    def _say(self, line: str, warn: bool = True) -> None:
        series = self._keeper.current
        if series is not None:
            series.note("analyser", line)
        elif warn:
            self._notes.add("analyser", line)

    def _looked_at(self) -> bool:
        """Whether somebody subscribes to pictures."""
        while self._windows.poll(0):
            message = self._windows.recv(zmq.NOBLOCK)
            change = self._topics.add if message[:1] == bytes([_SUBSCRIBE]) else self._topics.discard
            change(message[1:])
        return any(VIEW_TOPIC.startswith(topic) for topic in self._topics)


def task_of(config: RunConfig) -> str:
    """Return as TOML what an analyser on another machine must know of a run, and nothing else of it."""
    records = bool(config.record.path)
    told = RunConfig(
        source=SourceConfig(pixel_size_A=config.source.pixel_size_A, frame_px=config.source.frame_px),
        record=RecordConfig(maps_every=config.record.maps_every if records else 0),
        analysis=msgspec.structs.replace(config.analysis, models="", engines="", threads=0),
        view=ViewConfig(rate_hz=config.view.rate_hz, size_px=config.view.size_px),
    )
    return to_toml(told)


def merged(infos: list[AnalyserInfo]) -> AnalyserInfo:
    """Return one record of all engines that take part; what they do not have in common is listed."""

    def listed(name: str) -> str:
        return "; ".join(dict.fromkeys(getattr(info, name) for info in infos))

    return replace(  # all have the same networks, and so the same shapes
        infos[0],
        backend=listed("backend"),
        device=listed("device"),
        precision=listed("precision"),
        version=listed("version"),
        reason=listed("reason"),
    )


def _other_networks(ours: AnalyserInfo, theirs: AnalyserInfo) -> str:
    differ = [n for n, sha256 in theirs.networks.items() if ours.networks.get(n) != sha256]
    return f"its networks are not those of this run ({', '.join(differ) or 'some are missing'}): see --models"
