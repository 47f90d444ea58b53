"""What a status says to a person, and what it shouts."""

import msgspec
import pytest

from gui.format import (
    amount_text,
    bytes_text,
    duration_text,
    number_text,
    rate_text,
    reading_text,
    time_text,
    value_text,
)
from gui.status_text import Severity, alarm, recording_light, status_cells
from streamer.counters import OutputCounts, OutputPolicy
from streamer.window_link import RunStatus
from tests.gui.publisher import STARTED, make_status

QUIET = {"acknowledged": (0, 0, 0), "silent_s": 0.0, "refused": 0, "connected": True}


def text_of(status: RunStatus | None, **fields: object) -> str:
    found = alarm(status, **(QUIET | fields))  # type: ignore[arg-type]
    return "" if found is None else found.text


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"missing": 2}, "2 missing"),
        ({"damaged": 1, "note": "frame 7"}, "1 damaged (frame 7)"),
        ({"bad_messages": 3}, "3 unreadable messages"),
        ({"unrecorded": 5}, "5 not recorded"),
        ({"analysis_lost": 1}, "1 unanswered by the analysis"),
        ({"recording_error": "the network drive is gone"}, "Recording has failed: the network drive is gone"),
        ({"bytes_free": 2_000_000_000}, "Disk nearly full"),
        (
            {"bytes_free": 9_000_000_000, "bytes_written": 40_000_000_000, "t": STARTED + 499.0},
            "enough for 1:52",
        ),
    ],
)
def test_losses_and_a_full_disk_raise_an_alarm(fields: dict[str, object], expected: str) -> None:
    assert expected in text_of(make_status(**fields))


def test_a_disk_that_fills_up_fast_after_a_long_wait_is_noticed() -> None:
    disk = {"recorded": 20_000, "bytes_written": 60 * 10**9, "bytes_free": 300 * 10**9}
    waited = make_status(t=STARTED + 3600.0, recorded_per_s=330.0, **disk)
    assert "enough for 5:03" in text_of(waited)
    assert text_of(msgspec.structs.replace(waited, recorded_per_s=2.0)) == ""


def test_the_time_beside_the_file_is_that_of_its_frames() -> None:
    assert recording_light(make_status(t=STARTED + 100.0)).value == "0:40  ceria_0007.nxs"
    assert recording_light(make_status(t_first=float("nan"))).value == "–  ceria_0007.nxs"


def test_a_run_that_goes_well_raises_none() -> None:
    assert text_of(make_status()) == ""
    assert text_of(None) == ""
    assert text_of(make_status(skipped=500)) == ""


def test_silence_is_an_alarm_until_the_run_has_ended() -> None:
    assert "Nothing heard" in text_of(make_status(), silent_s=4.0)
    assert "Connection" in text_of(make_status(), silent_s=4.0, connected=False)
    assert text_of(make_status(state="ended"), silent_s=400.0) == ""


def test_an_acknowledged_loss_is_quiet_until_there_is_another() -> None:
    assert text_of(make_status(missing=2), acknowledged=(2, 0, 0)) == ""
    assert "3 missing" in text_of(make_status(missing=3), acknowledged=(2, 0, 0))
    assert "could not be read" in text_of(make_status(), refused=1)
    assert text_of(make_status(), refused=1, acknowledged=(0, 1, 0)) == ""


def test_a_trigger_is_a_warning_until_it_is_acknowledged_and_a_loss_beside_it_an_alarm() -> None:
    fired = {"events": (3, "etching: total_atoms 780 is below 800, frame 7")}
    found = alarm(make_status(), **(QUIET | fired))  # type: ignore[arg-type]
    assert found is not None
    assert (found.severity, found.events) == (Severity.WARN, 3)
    assert "etching" in found.text
    assert "3 since" in found.text
    assert text_of(make_status(), **fired, acknowledged=(0, 0, 3)) == ""
    both = alarm(make_status(missing=1), **(QUIET | fired))  # type: ignore[arg-type]
    assert both is not None
    assert both.severity is Severity.BAD
    assert "etching" in both.text


def test_cells_are_the_same_before_and_after_the_first_status() -> None:
    before = [cell.name for cell in status_cells(None, 0.0, (float("nan"), float("nan")))]
    after = {cell.name: cell for cell in status_cells(make_status(missing=1), 24.9, (31.0, 58.0))}
    assert before == list(after)
    assert after["missing"].severity is Severity.BAD
    assert after["screen"].detail == "31\u2009ms, p99 58"
    assert "Detector" not in after["screen"].tip
    screen = status_cells(make_status(), 24.9, (31.0, 58.0), (45.0, 90.0))[-1]
    assert "Detector, by its own clock → drawn here: p50 45\u2009ms, p99 90\u2009ms" in screen.tip
    assert (after["backend"].value, after["backend"].detail) == ("openvino", "CPU")
    assert "screen" not in [cell.name for cell in status_cells(make_status(), 0.0, (0.0, 0.0), recorded=True)]


def test_a_frame_that_came_damaged_is_counted_once_and_shares_are_of_what_there_was() -> None:
    status = make_status(
        received=1000, skipped=500, missing=250, damaged=4, bad_messages=5, damaged_on_arrival=3
    )
    cells = {cell.name: cell for cell in status_cells(status, 0.0, (0.0, 0.0))}
    assert (cells["skipped"].value, cells["skipped"].detail) == ("500", "50\u2009%")
    assert (cells["missing"].value, cells["missing"].detail) == ("250", "20\u2009%")
    assert (cells["damaged"].value, cells["damaged"].detail) == ("6", "0.6\u2009%")
    assert "4 damaged, 2 unreadable messages" in text_of(status)


def test_a_recording_that_has_failed_is_not_called_one() -> None:
    cells = {cell.name: cell for cell in status_cells(make_status(recording_error="x"), 0.0, (0.0, 0.0))}
    assert (cells["recorded"].detail, cells["recorded"].severity) == ("failed", Severity.BAD)


@pytest.mark.parametrize(
    ("status", "caption", "severity"),
    [
        (None, "NO RUN", Severity.PLAIN),
        (make_status(path=""), "NOT RECORDING", Severity.WARN),
        (make_status(path="", recording=False, state="waiting"), "NOT RECORDING", Severity.WARN),
        (make_status(path="", state="waiting"), "READY", Severity.GOOD),
        (make_status(recording_error="no drive"), "RECORDING FAILED", Severity.BAD),
        (make_status(recording_error="no drive", state="ended"), "RECORDING FAILED", Severity.BAD),
        (make_status(), "REC", Severity.BAD),
        (make_status(state="ended"), "SAVED", Severity.GOOD),
    ],
)
def test_the_recording_light(status: RunStatus | None, caption: str, severity: Severity) -> None:
    light = recording_light(status)
    assert (light.caption, light.severity) == (caption, severity)


def test_numbers_for_people() -> None:
    assert number_text(1_234_567) == "1\u2009234\u2009567"
    assert rate_text(24.94) == "24.9/s"
    assert rate_text(1234.4) == "1\u2009234/s"
    assert rate_text(float("nan")) == "–"
    assert bytes_text(812_000_000_000) == "812\u2009GB"
    assert bytes_text(2_500_000_000_000) == "2.5\u2009TB"
    assert duration_text(3723) == "1:02:03"
    assert duration_text(7.9) == "0:07"
    assert value_text(3.14159, 2, "nm") == "3.14\u2009nm"
    assert value_text(float("inf")) == "–"
    assert value_text(-0.26, 1, "nm") == "−0.3\u2009nm"
    assert value_text(-0.004, 2, "nm") == "0.00\u2009nm"
    assert [reading_text(v) for v in (600.0, 0.0, -0.025, 3.1e-7, -3.1e-7)] == [
        "600.00", "0.00", "−0.0250", "3.10×10⁻⁷", "−3.10×10⁻⁷",
    ]  # fmt: skip
    assert [amount_text(v) for v in (912.4, 163_400.0)] == ["912", "1.63×10⁵"]
    assert [time_text(v) for v in (40.0, 0.5, 150.0, 3723.0)] == [
        "40\u2009s",
        "0.5\u2009s",
        "2:30",
        "1:02:03",
    ]


def test_the_runs_further_clients_are_named_where_the_mouse_rests() -> None:
    outputs = (
        OutputCounts("tcp://127.0.0.1:5", OutputPolicy.LOSSLESS, clients=1, frames=90),
        OutputCounts("tcp://127.0.0.1:6", OutputPolicy.BEST_EFFORT, frames=70, dropped=15, absent=5),
    )
    received = status_cells(make_status(tee=outputs), 0.0, (0.0, 0.0))[0]
    assert received.tip.splitlines() == [
        "passed on to tcp://127.0.0.1:5 (lossless): 90",
        "passed on to tcp://127.0.0.1:6 (best-effort): 70, 20 not taken, nobody is connected",
    ]
    assert status_cells(make_status(), 0.0, (0.0, 0.0))[0].tip == ""
