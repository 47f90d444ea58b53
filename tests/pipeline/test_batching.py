"""When a batch closes: full, waited long enough, or another shape behind it."""

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from pipeline.batching import BatchQueue

SMALL, LARGE = (64, 64), (128, 128)


def queue(capacity: int = 3, max_wait_s: float = 0.02) -> BatchQueue[int]:
    return BatchQueue(capacity, max_wait_s)


def test_an_empty_queue_never_closes() -> None:
    assert queue().closes_in_s(100.0) == inf
    assert not queue().full


def test_a_full_batch_closes_at_once() -> None:
    q = queue()
    for i in range(3):
        assert q.closes_in_s(0.0) > 0
        q.add(i, SMALL, 0.0)
    assert q.full
    assert q.closes_in_s(0.0) == 0
    assert q.take() == [0, 1, 2]
    assert len(q) == 0


def test_the_oldest_item_decides_how_long_a_batch_waits() -> None:
    q = queue()
    q.add(0, SMALL, 1.000)
    q.add(1, SMALL, 1.015)
    assert q.closes_in_s(1.015) > 0.004
    assert q.closes_in_s(1.025) == 0
    assert q.take() == [0, 1]


def test_without_waiting_every_item_closes_a_batch() -> None:
    q = queue(max_wait_s=0.0)
    q.add(0, SMALL, 5.0)
    assert q.closes_in_s(5.0) == 0


def test_another_shape_closes_the_batch_before_it() -> None:
    q = queue()
    q.add(0, SMALL, 0.0)
    q.add(1, LARGE, 0.0)
    assert q.closes_in_s(0.0) == 0
    assert q.take() == [0]
    assert q.closes_in_s(0.0) > 0
    assert q.take() == [1]


def test_a_third_frame_of_the_first_ones_shape_opens_it_no_more() -> None:
    q = queue(capacity=4)
    for item, shape in enumerate((SMALL, LARGE, SMALL)):
        q.add(item, shape, 0.0)
    assert q.closes_in_s(0.0) == 0
    assert [q.take(), q.take()] == [[0], [1]]


def test_more_than_a_batch_leaves_in_several() -> None:
    q = queue(capacity=2)
    for i in range(5):
        q.add(i, LARGE, 0.0)
    assert [q.take(), q.take(), q.take()] == [[0, 1], [2, 3], [4]]


@given(st.lists(st.sampled_from([SMALL, LARGE])), st.integers(1, 4))
def test_order_and_shape_are_kept(shapes: list[tuple[int, int]], capacity: int) -> None:
    q = queue(capacity)
    for i, shape in enumerate(shapes):
        q.add(i, shape, 0.0)
    taken: list[int] = []
    while len(q):
        batch = q.take()
        assert 1 <= len(batch) <= capacity
        assert len({shapes[i] for i in batch}) == 1
        taken += batch
    assert taken == list(range(len(shapes)))
