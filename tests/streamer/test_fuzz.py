"""A short run of `benchmarks.fuzz`, and what a long one has found."""

import pytest

from benchmarks.fuzz import TARGETS, run
from streamer.errors import MessageError
from streamer.sources import Scheme, Source, make_parser

N_SESSIONS = 40


@pytest.mark.parametrize("target", TARGETS)
def test_damaged_messages_are_named_and_nothing_worse(target: Scheme) -> None:
    outcomes, findings = run(target, iter(range(N_SESSIONS)))
    assert findings == []
    assert outcomes.total() > 10 * N_SESSIONS
    assert outcomes["Frame"] > N_SESSIONS, "sound ones among them pass"
    assert len([label for label in outcomes if label.islower()]) >= 4, "damage of several kinds was met"


def test_a_message_without_parts_is_no_crash() -> None:
    for scheme in Scheme:
        parser = make_parser(Source(scheme, "127.0.0.1", 1))
        for parts in parser.split([]):
            with pytest.raises(MessageError):
                parser.parse(parts)
