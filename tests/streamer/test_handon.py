"""Which frame is handed on next when an analyser proves to be gone."""

from collections.abc import Sequence
from typing import Any

import zmq

from streamer.analysers import Analysers, FrameName, Origin, Peer
from streamer.follower_queue import FollowerQueue
from streamer.handon import HandOn, Offer
from streamer.joining import Join
from streamer.link import decode_task
from streamer.records import Policy
from tests.streamer.ingest_run import KEY, T0, frame_of, start_of

START = start_of(10)


class Router:
    """Stands in for ingest's socket; notes who was given which frame."""

    def __init__(self) -> None:
        self.given: list[tuple[bytes, int]] = []
        self.gone: set[bytes] = set()
        self._route = b""

    def send(self, route: bytes, flags: int) -> None:
        if route in self.gone:
            raise zmq.ZMQError(zmq.EHOSTUNREACH)
        self._route = route

    def send_multipart(self, parts: Sequence[Any], copy: bool) -> None:
        task = decode_task([memoryview(part) for part in parts])
        self.given.append((self._route, task.frame.header.frame_id))


def name_of(frame_id: int) -> FrameName:
    return KEY, frame_id


def joined(analysers: Analysers, router: Router, name: str, room: int) -> Peer:
    origin = Origin(router, name.encode())
    analysers.join(origin, Join(name, room))
    peer = analysers.of(origin)
    assert peer is not None
    return peer


def test_a_frame_that_was_taken_back_goes_before_one_that_has_waited() -> None:
    """All results that fill the queue wait for it, so nothing else would make room."""
    router = Router()
    analysers = Analysers(router, None, Policy.WAIT, queue_frames=1)
    queue: FollowerQueue[str] = FollowerQueue(analysers)
    handon = HandOn(analysers, Policy.WAIT, queue)
    a, b = (joined(analysers, router, name, room=2) for name in "ab")

    def offer(*frame_ids: int) -> Offer:
        offers = [handon.offer(frame_of(n), START, T0, "series") for n in frame_ids]
        return offers[-1]

    assert offer(0, 1, 2, 3) is Offer.SENT
    assert handon.answered(name_of(1), b) == "series"  # failures: nothing is left to be followed
    assert offer(4) is Offer.SENT
    assert handon.answered(name_of(0), a) == "series"
    assert offer(5) is Offer.SENT
    assert router.given == [(b"a", 0), (b"b", 1), (b"a", 2), (b"b", 3), (b"b", 4), (b"a", 5)]
    assert offer(6) is Offer.WAITING
    handon.answered(name_of(5), a)
    router.gone.add(b"a")
    assert not handon.retry()  # 6 was for a, which has taken 2 with it
    assert (handon.departed(), handon.departed()) == ([(a, 1)], []), "said once"
    for frame_id in (3, 4):
        assert handon.found(name_of(frame_id), b, [])
    queue.advance()
    assert not queue.unfollowed()
    handon.retry()
    assert router.given[6:] == [(b"b", 2)]
    assert handon.found(name_of(2), b, [])
    queue.advance()
    assert [found.name[1] for found in queue.unfollowed()] == [2, 3, 4]
    assert handon.retry()
    assert router.given[7:] == [(b"b", 6)]


def test_an_answer_to_a_frame_that_nobody_was_left_for_still_finds_its_series() -> None:
    router = Router()
    analysers = Analysers(router, None, Policy.WAIT, queue_frames=1)
    handon: HandOn[str] = HandOn(analysers, Policy.WAIT, FollowerQueue(analysers))
    only = joined(analysers, router, "a", room=2)
    handon.offer(frame_of(0), START, T0, "series")
    assert handon.lose(only, "it died") == 1
    handon.nobody("no analyser is left")
    assert [lost.frame_id for lost in handon.losses()] == [0]
    assert handon.answered(name_of(0), None) is None
    assert handon.regained(name_of(0)) == "series"
    assert handon.regained(name_of(0)) is None
