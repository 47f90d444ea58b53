"""Who hangs, and who only loads its networks."""

from typing import Any

from streamer.analysers import Origin, Peer
from streamer.hang_watch import HangWatch
from streamer.records import SeriesKey


def peer(name: str, *held: int, follows: bool = False) -> Peer:
    origin: Any = Origin(None, name.encode())
    return Peer(name, origin, False, 2, {(SeriesKey(1), n) for n in held}, follows)


def test_one_that_owes_an_answer_for_long_hangs_if_the_others_owe_none() -> None:
    watch, one, other = HangWatch(10.0), peer("1", 5), peer("2")
    assert watch.hanging([one, other], None, 100.0) == []
    assert watch.hanging([one, other], None, 109.9) == []
    assert watch.hanging([one, other], None, 110.0) == [one]


def test_where_all_owe_answers_they_load_networks() -> None:
    watch, both = HangWatch(10.0), [peer("1", 5), peer("2", 6)]
    assert watch.hanging(both, None, 0.0) == watch.hanging(both, None, 500.0) == []


def test_each_answer_begins_the_wait_anew() -> None:
    watch, one = HangWatch(10.0), peer("1", 5, 6)
    assert watch.hanging([one], None, 0.0) == []
    one.n_answered += 1
    assert watch.hanging([one], None, 9.0) == []
    assert watch.hanging([one], None, 18.0) == []
    assert watch.hanging([one], None, 19.0) == [one]


def test_one_that_has_nothing_to_do_owes_nothing() -> None:
    watch, one = HangWatch(10.0), peer("1")
    assert watch.hanging([one], None, 0.0) == watch.hanging([one], None, 50.0) == []
    one.held.add((SeriesKey(1), 7))
    assert watch.hanging([one], None, 60.0) == []
    assert watch.hanging([one], None, 70.0) == [one]


def test_a_follower_hangs_whatever_the_analysers_do() -> None:
    watch, both, follower = HangWatch(10.0), [peer("1", 5), peer("2", 6)], peer("f", follows=True)
    assert watch.hanging(both, follower, 0.0) == []
    assert watch.hanging(both, follower, 10.0) == [follower]
