"""Whatever comes when: each number is waited for, and what came is given back once, in order."""

from hypothesis import given
from hypothesis import strategies as st

from streamer.in_order import InOrder


@given(outcomes=st.lists(st.booleans(), max_size=30), data=st.data())
def test_all_that_came_is_given_back_in_order_once_nothing_smaller_is_open(
    outcomes: list[bool], data: st.DataObject
) -> None:
    order: InOrder[int] = InOrder()
    assert [order.number() for _ in outcomes] == list(range(len(outcomes)))
    settled, taken = set[int](), list[int]()
    for number in data.draw(st.permutations(range(len(outcomes)))):
        if outcomes[number]:
            order.put(number, number)
        else:
            order.skip(number)
        settled.add(number)
        if data.draw(st.booleans()):
            taken += order.take()
            first_open = min(set(range(len(outcomes))) - settled, default=len(outcomes))
            assert taken == [n for n in range(first_open) if outcomes[n]]
    taken += order.take()
    assert taken == [n for n, came in enumerate(outcomes) if came]


@given(st.lists(st.tuples(st.sampled_from(["number", "put", "skip"]), st.integers(-1, 5)), max_size=40))
def test_the_first_word_on_a_number_counts_whatever_is_said_afterwards(steps: list[tuple[str, int]]) -> None:
    order: InOrder[int] = InOrder()
    said: dict[int, bool] = {}
    given_out, taken = 0, list[int]()
    for what, number in steps:
        if what == "number":
            assert order.number() == given_out
            given_out += 1
        elif 0 <= number < given_out:
            said.setdefault(number, what == "put")
        if what != "number":
            getattr(order, what)(*((number, number) if what == "put" else (number,)))
        taken += order.take()
    open_ones = [n for n in range(given_out) if n not in said]
    assert taken == [n for n, came in sorted(said.items()) if came and n < min(open_ones, default=given_out)]
