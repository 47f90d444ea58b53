"""The ledger: one row per frame id, whatever order frames and results come in."""

from collections.abc import Iterator
from math import nan
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamer.file_layout import LEDGER
from streamer.ledger import WINDOW_ROWS, FrameIdJumpError, Ledger, Placement
from streamer.records import COLUMN_DTYPE, FrameResult, FrameStatus, SeriesKey
from streamer.swmr import Column, SwmrFile


@pytest.fixture
def columns(tmp_path: Path) -> Iterator[dict[str, Column]]:
    file = SwmrFile(tmp_path / "ledger.h5")
    file.group("/ledger")
    made = {spec.name: file.column("/ledger", spec) for spec in LEDGER}
    file.show_to_readers()
    yield made
    file.close()


def result_of(frame_id: int, t_analysed: float, t_published: float) -> FrameResult:
    columns = np.zeros(0, COLUMN_DTYPE)
    return FrameResult(frame_id, SeriesKey(1), columns, 0.0, 0.0, 1.0, t_analysed, t_published)


def _all(columns: dict[str, Column], name: str) -> list[object]:
    return [columns[name].read(row) for row in range(columns[name].n_rows)]


def test_a_gap_is_missing_at_once_and_recorded_when_it_comes_late(columns: dict[str, Column]) -> None:
    ledger = Ledger(100)
    ledger.attach(columns)
    assert [ledger.place(i) for i in (0, 3)] == [Placement.NEW, Placement.NEW]
    assert ledger.n_missing == 2
    assert ledger.status(1) is FrameStatus.MISSING
    assert ledger.place(2) is Placement.LATE
    ledger.record(2, 1.0, 2.0, 3.0, 5)
    ledger.flush()
    assert ledger.n_missing == 1
    assert _all(columns, "frame_id") == [0, 1, 2, 3]
    assert [int(value) for value in _all(columns, "status")] == [0, 0, FrameStatus.RECORDED, 0]
    assert _all(columns, "stack_row") == [-1, -1, 5, -1]


def test_a_frame_is_a_duplicate_once_it_is_recorded_and_welcome_after_damage() -> None:
    ledger = Ledger(100)
    ledger.place(0)
    ledger.damage(0, "truncated message")
    assert ledger.place(0) is Placement.AGAIN
    ledger.record(0, nan, 1.0, 2.0, 0)
    assert ledger.place(0) is Placement.DUPLICATE
    ledger.damage(0, "cannot be analysed")
    assert ledger.place(0) is Placement.DUPLICATE, "it is in the file"


def test_a_jump_is_refused_and_changes_nothing() -> None:
    ledger = Ledger(10)
    ledger.place(4)
    with pytest.raises(FrameIdJumpError, match="frame id 16 after 4"):
        ledger.place(16)
    assert (ledger.n_rows, ledger.n_missing) == (5, 4)
    assert ledger.place(15) is Placement.NEW


def test_a_first_id_beyond_the_largest_gap_begins_the_ledger() -> None:
    ledger = Ledger(10)
    ledger.place(11)
    assert (ledger.first_id, ledger.n_rows, ledger.n_missing) == (11, 1, 0)
    with pytest.raises(FrameIdJumpError, match="before"):
        ledger.place(10)


def test_rows_that_left_the_window_are_changed_in_the_file(columns: dict[str, Column]) -> None:
    ledger = Ledger(10 * WINDOW_ROWS)
    ledger.attach(columns)
    ledger.place(0)
    ledger.record(0, nan, 1.0, 2.0, 0)
    ledger.place(3 * WINDOW_ROWS)
    assert ledger.place(5) is Placement.LATE
    ledger.record(5, 7.0, 8.0, 9.0, 1)
    ledger.analyse(result_of(0, 3.0, 4.0), 12)
    ledger.explain(5, "came late")
    assert ledger.place(5) is Placement.DUPLICATE
    ledger.flush()
    assert columns["frame_id"].n_rows == 3 * WINDOW_ROWS + 1
    assert [columns[name].read(5) for name in ("frame_id", "t_received", "stack_row")] == [5, 8.0, 1]
    assert columns["reason"].read(5) == b"came late"
    assert columns["status"].read(0) == FrameStatus.ANALYSED
    assert columns["result_row"].read(0) == 12
    assert columns["frame_id"].read(2 * WINDOW_ROWS) == 2 * WINDOW_ROWS


def test_rows_made_before_there_is_a_file_are_in_it(columns: dict[str, Column]) -> None:
    ledger = Ledger(10)
    ledger.place(1)
    ledger.damage(1, "damaged payload: é is written as ?")
    ledger.attach(columns)
    ledger.flush()
    assert _all(columns, "frame_id") == [0, 1]
    assert columns["reason"].read(1) == b"damaged payload: ? is written as ?"


def test_a_reason_is_cut_to_its_place(columns: dict[str, Column]) -> None:
    ledger = Ledger(10)
    ledger.attach(columns)
    ledger.place(0)
    ledger.damage(0, "x" * 100)
    ledger.flush()
    assert columns["reason"].read(0) == b"x" * 63


_EVENTS = st.lists(
    st.tuples(st.sampled_from(["frame", "damage", "result", "skip", "flush"]), st.integers(0, 60)),
    max_size=60,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(events=_EVENTS, stretch=st.sampled_from([1, 97]))
def test_the_file_holds_what_a_plain_dictionary_would(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[str, int]], stretch: int
) -> None:
    """`stretch` spreads the ids over more rows than the window holds."""
    file = SwmrFile(tmp_path_factory.mktemp("ledger") / "ledger.h5")
    file.group("/ledger")
    columns = {spec.name: file.column("/ledger", spec) for spec in LEDGER}
    ledger, plain = Ledger(10_000), dict[int, tuple[FrameStatus, int]]()
    ledger.attach(columns)
    for number, (event, short_id) in enumerate(events):
        frame_id = short_id * stretch
        status, stack_row = plain.get(frame_id, (FrameStatus.MISSING, -1))
        if event == "frame":
            new = ledger.place(frame_id) is not Placement.DUPLICATE
            assert new == (stack_row < 0)
            if new:
                ledger.record(frame_id, nan, float(number), nan, number)
                plain[frame_id] = (FrameStatus.RECORDED, number)
        elif event == "flush":
            ledger.flush()
        elif status is FrameStatus.RECORDED:
            if event == "damage":
                ledger.damage(frame_id, "not analysed")
            elif event == "skip":
                ledger.skip(frame_id, "busy")
            else:
                ledger.analyse(result_of(frame_id, 1.0, 2.0), number)
            final = {
                "damage": FrameStatus.DAMAGED,
                "skip": FrameStatus.SKIPPED,
                "result": FrameStatus.ANALYSED,
            }
            plain[frame_id] = (final[event], stack_row)
    ledger.flush()
    n_rows = max(plain, default=-1) + 1
    expected = [plain.get(i, (FrameStatus.MISSING, -1)) for i in range(n_rows)]
    assert ledger.n_missing == sum(status is FrameStatus.MISSING for status, _ in expected)
    assert _all(columns, "frame_id") == list(range(n_rows))
    assert [
        (FrameStatus(int(s)), int(r))
        for s, r in zip(_all(columns, "status"), _all(columns, "stack_row"), strict=True)
    ] == expected
    assert all(
        np.isnan(t) == (row < 0) for t, (_, row) in zip(_all(columns, "t_received"), expected, strict=True)
    )
    file.close()
