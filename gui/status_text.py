"""What the run's status says to a person: cells of the strip, recording light, alarms. All pure."""

from dataclasses import dataclass
from enum import StrEnum
from math import isfinite, nan
from pathlib import PurePath

from gui.format import NOTHING, bytes_text, duration_text, number_text, rate_text, value_text
from streamer.latency import STAGES
from streamer.window_link import RunStatus

__all__ = ["Alarm", "Cell", "Severity", "alarm", "losses", "recording_light", "status_cells"]

CRASHED = "crashed"
"""State of a file whose writer has died before it closed it."""

SILENCE_S = 3.0
LOW_DISK_BYTES = 5 * 10**9
LOW_DISK_S = 600.0
_FRAMES_FOR_A_RATE = 4.0  # in a second: that of slower ones, counted over half a second, jumps
HIGH_UNFAMILIARITY = 0.5
_LONGEST_ALARM = 240  # characters of each of its parts


class Severity(StrEnum):
    """How much a value asks to be looked at."""

    PLAIN = "plain"
    GOOD = "good"
    WARN = "warn"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Cell:
    """One figure of the status strip: caption, value, a smaller detail, and more where the mouse rests."""

    name: str
    caption: str
    value: str
    detail: str = ""
    severity: Severity = Severity.PLAIN
    tip: str = ""


@dataclass(frozen=True, slots=True)
class Alarm:
    """What cannot be overlooked; `losses`, `refused` and `events` are what an acknowledgement confirms.

    The losses are those of the run that was started at `run` [Unix s]: the next one counts from 0 again.
    Where it is only a trigger that has fired, nothing is wrong: `severity` is a warning then.
    """

    text: str
    losses: int
    refused: int
    events: int = 0
    severity: Severity = Severity.BAD
    run: float = 0.0


def losses(status: RunStatus | None) -> int:
    """Count what is lost for good; see `_kinds_of_loss`."""
    return 0 if status is None else sum(_kinds_of_loss(status).values())


def _kinds_of_loss(s: RunStatus) -> dict[str, int]:
    """Say what is lost for good, each frame once."""
    return {
        "missing": s.missing,
        "damaged": s.damaged,
        "unreadable messages": _unreadable(s),
        "not recorded": s.unrecorded,
        "unanswered by the analysis": s.analysis_lost,
    }


def _unreadable(s: RunStatus) -> int:
    """Count the messages that are not the message of a damaged frame."""
    return max(0, s.bad_messages - s.damaged_on_arrival)


def status_cells(
    status: RunStatus | None,
    shown_per_s: float,
    screen_ms: tuple[float, float],
    detector_ms: tuple[float, float] = (nan, nan),
    *,
    recorded: bool = False,
) -> tuple[Cell, ...]:
    """Make the strip's cells.

    Parameters
    ----------
    status : RunStatus or None
        None before the first status message.
    shown_per_s : float
        Pictures drawn by this window each second.
    screen_ms : tuple of float
        Frame received → drawn here, median and 99th percentile [ms]; NaN if it cannot be known.
    detector_ms : tuple of float
        The same since the frame's time by the detector's clock.
    recorded : bool
        Whether this is a file, which has no delay.
    """
    screen = () if recorded else (_screen(shown_per_s, screen_ms, detector_ms),)
    if status is None:
        names = (
            "received", "recorded", "analysed", "skipped", "missing", "damaged", "latency", "backend", "disk",
        )  # fmt: skip
        return (*(Cell(name, name.upper(), NOTHING) for name in names), *screen)
    s = status
    return (
        Cell("received", "RECEIVED", number_text(s.received), rate_text(s.received_per_s), tip=_tee_text(s)),
        _recorded(s),
        Cell("analysed", "ANALYSED", number_text(s.analysed), rate_text(s.analysed_per_s)),
        _loss("skipped", s.skipped, s.received, Severity.WARN),
        _loss("missing", s.missing, s.received + s.missing, Severity.BAD),
        _loss("damaged", s.damaged + _unreadable(s), s.received + _unreadable(s), Severity.BAD),
        Cell("latency", "LATENCY", f"{value_text(s.latency_p50_ms, 0, 'ms')}",
             f"p99 {value_text(s.latency_p99_ms, 0, 'ms')}", tip=_stages_text(s)),
        _backend(s),
        _disk(s),
        *screen,
    )  # fmt: skip


def _screen(shown_per_s: float, screen_ms: tuple[float, float], detector_ms: tuple[float, float]) -> Cell:
    p50, p99 = (value_text(ms, 0, "ms") for ms in screen_ms)
    tip = f"Pictures drawn here each second\nFrame received → drawn here: p50 {p50}, p99 {p99}"
    if isfinite(detector_ms[0]):
        since, latest = (value_text(ms, 0, "ms") for ms in detector_ms)
        tip += f"\nDetector, by its own clock → drawn here: p50 {since}, p99 {latest}"
    return Cell(
        "screen", "SCREEN", rate_text(shown_per_s), f"{p50}, p99 {value_text(screen_ms[1], 0)}", tip=tip
    )


def _backend(s: RunStatus) -> Cell:
    """Name what the networks run on: the library, and where there is more to say, that below it."""
    name, _, more = s.backend.partition(" ")
    return Cell("backend", "BACKEND", name or NOTHING, more, tip=s.backend)


def _stages_text(s: RunStatus) -> str:
    """List the stages of a frame's way with p50, p99, p99.9 and the longest."""
    lines = [
        f"{name.replace('_', ' ')}: " + " / ".join(value_text(v, 1) for v in s.stages_ms[name])
        for name in STAGES
        if name in s.stages_ms
    ]
    return "\n".join([*lines, "[ms]: p50 / p99 / p99.9 / longest"]) if lines else ""


def _tee_text(s: RunStatus) -> str:
    """Say what the run's further clients have got, a line each."""
    return "\n".join(
        f"passed on to {output.address} ({output.policy}): {number_text(output.frames)}"
        + (f", {number_text(missed)} not taken" if (missed := output.dropped + output.absent) else "")
        + ("" if output.clients else ", nobody is connected")
        for output in s.tee
    )


def _recorded(s: RunStatus) -> Cell:
    if s.recording_error:
        n = number_text(s.recorded)
        return Cell("recorded", "RECORDED", n, "failed", Severity.BAD, s.recording_error)
    if not s.path and not _is_ready(s):
        return Cell("recorded", "RECORDED", NOTHING, "not recording", Severity.WARN)
    if not s.recording and s.state != "ended":
        return Cell("recorded", "RECORDED", number_text(s.recorded), "switched off", Severity.WARN)
    return Cell("recorded", "RECORDED", number_text(s.recorded), rate_text(s.recorded_per_s))


def _is_ready(s: RunStatus) -> bool:
    """Whether a file will be written as soon as a series begins."""
    return s.state == "waiting" and s.recording


def _loss(name: str, n: int, total: int, severity: Severity) -> Cell:
    share = f"{100 * n / max(1, total):.2g}{chr(0x2009)}%" if n else "none"
    return Cell(name, name.upper(), number_text(n), share, severity if n else Severity.GOOD)


def _disk(s: RunStatus) -> Cell:
    if not s.path:
        return Cell("disk", "DISK FREE", NOTHING)
    if s.state in ("ended", CRASHED):
        how = "closed" if s.state == "ended" else "not closed"
        return Cell("disk", "FILE", bytes_text(s.bytes_written), how)
    detail = f"{bytes_text(s.bytes_written)} written"
    return Cell(
        "disk",
        "DISK FREE",
        bytes_text(s.bytes_free),
        detail,
        Severity.BAD if disk_is_low(s) else Severity.PLAIN,
    )


def disk_is_low(s: RunStatus) -> bool:
    """Whether a run that records may soon have to stop."""
    if not s.path or s.state in ("ended", CRASHED):
        return False
    return s.bytes_free < LOW_DISK_BYTES or seconds_of_disk_left(s) < LOW_DISK_S


def seconds_of_disk_left(s: RunStatus) -> float:
    """Estimate how long the disk lasts [s], from the mean rate of writing or, if it is higher, that of now.

    A run may have waited for hours before it writes as fast as the disk can.
    """
    elapsed_s = s.t - s.t_started
    if s.bytes_written <= 0 or elapsed_s <= 1 or s.state not in ("running", "waiting"):
        return float("inf")
    now_per_s = s.recorded_per_s if s.recorded_per_s >= _FRAMES_FOR_A_RATE else 0.0
    bytes_per_s = s.bytes_written * max(1 / elapsed_s, now_per_s / max(1, s.recorded))
    return s.bytes_free / bytes_per_s


def recording_light(status: RunStatus | None) -> Cell:
    """Say whether frames go to disk right now, into which file and for how long."""
    if status is None:
        return Cell("recording", "NO RUN", "", severity=Severity.PLAIN)
    name = PurePath(status.path.replace("\\", "/")).name
    if status.recording_error:
        return Cell("recording", "RECORDING FAILED", name, status.recording_error, Severity.BAD)
    if _is_ready(status):
        return Cell("recording", "READY", "", "Recording begins with the series", Severity.GOOD)
    if not status.path:
        return Cell("recording", "NOT RECORDING", "", severity=Severity.WARN)
    if status.state == "ended":
        return Cell("recording", "SAVED", name, status.path, Severity.GOOD)
    if status.state == CRASHED:
        return Cell(
            "recording", "NOT CLOSED", name, "Its writer has died: atomstream check --repair", Severity.WARN
        )
    if not status.recording:
        return Cell("recording", "PAUSED", name, status.path, Severity.WARN)
    elapsed = duration_text(status.t - status.t_first)
    return Cell("recording", "REC", f"{elapsed}  {name}", status.path, Severity.BAD)


def alarm(
    status: RunStatus | None,
    *,
    acknowledged: tuple[int, int, int],
    silent_s: float,
    refused: int,
    connected: bool,
    events: tuple[int, str] = (0, ""),
    unreadable: str = "",
) -> Alarm | None:
    """Find what must be shouted: losses not yet confirmed, a failed recording, silence, a trigger.

    Parameters
    ----------
    acknowledged : tuple of int
        Losses (`losses`), refused messages and fired triggers that were confirmed.
    silent_s : float
        Since the last message [s]; 0 while none is expected.
    refused : int
        Messages this window could not read; shown, but no loss of the run.
    connected : bool
        Whether the hub answers.
    events : tuple
        How many triggers have fired, and what the last one said.
    unreadable : str
        Why a file cannot be read any more; empty if it can.
    """
    texts: list[str] = []
    if unreadable:
        texts.append(f"The file can no longer be read: {unreadable}")
    lost = losses(status)
    if status is not None:
        if status.recording_error and status.state != "ended":
            texts.append(f"Recording has failed: {status.recording_error}")
        if lost > acknowledged[0]:
            texts.append(_loss_text(status))
        if disk_is_low(status):
            left = duration_text(seconds_of_disk_left(status))
            texts.append(f"Disk nearly full: {bytes_text(status.bytes_free)} free, enough for {left}")
        if status.state != "ended" and silent_s > SILENCE_S:
            what = "Nothing heard from the run" if connected else "Connection to the run lost"
            texts.append(f"{what} for {silent_s:.0f} s; this picture is old")
    if refused > acknowledged[1]:
        n = "1 message" if refused == 1 else f"{number_text(refused)} messages"
        texts.append(f"{n} to this window could not be read: ignored")
    severity = Severity.BAD if texts else Severity.WARN
    if events[0] > acknowledged[2]:
        texts.append(_event_text(events[1], events[0] - acknowledged[2]))
    run = 0.0 if status is None else status.t_started
    text = "   ·   ".join(map(_shortened, texts))
    return Alarm(text, lost, refused, events[0], severity, run) if texts else None


def _shortened(text: str) -> str:
    """Leave out the middle of a text that would take the room of the pictures."""
    if len(text) <= _LONGEST_ALARM:
        return text
    return f"{text[: 2 * _LONGEST_ALARM // 3]} … {text[-_LONGEST_ALARM // 3 :]}"


def _event_text(last: str, n: int) -> str:
    return f"Trigger {last}" + (f"   ({number_text(n)} since the last acknowledgement)" if n > 1 else "")


def _loss_text(s: RunStatus) -> str:
    lost = ", ".join(f"{number_text(n)} {name}" for name, n in _kinds_of_loss(s).items() if n)
    note = f" ({s.note})" if s.note else ""
    return f"Data lost: {lost}{note}"
