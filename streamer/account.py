"""The account of one series: its ledger and its counters, changed together."""

from dataclasses import replace
from math import nan

from streamer.counters import Counters
from streamer.errors import MessageError
from streamer.latency import Latencies
from streamer.ledger import Ledger, Placement
from streamer.records import FrameHeader, FrameResult, FrameStatus

__all__ = ["SeriesAccount"]

_TRUSTED_AHEAD = 64
"""How far ahead the id of a damaged message is believed: one that opens a longer gap may be damage itself."""


class SeriesAccount:
    """What has come of one series, and what became of it.

    Parameters
    ----------
    max_gap_frames, first_id : int
        See `Ledger`.
    """

    def __init__(self, max_gap_frames: int, first_id: int = 0) -> None:
        self.ledger = Ledger(max_gap_frames, first_id)
        self.counters = Counters()
        self.latency = Latencies()
        self._max_gap_frames = max_gap_frames
        self._n_unnamed = 0  # missing frames that have no row

    def total(self) -> Counters:
        """Return the counters as they stand now."""
        return replace(self.counters, missing=self.ledger.n_missing + self._n_unnamed)

    def arrive(self, frame_id: int, n_bytes: int) -> bool:
        """Make a frame's place; return False if it is a duplicate, which is only counted.

        Raises
        ------
        FrameIdJumpError
            If the id cannot be right.
        """
        placement = self.ledger.place(frame_id)
        counters = self.counters
        if placement is Placement.NEW:
            counters.received += 1
        elif placement is Placement.LATE:
            counters.received += 1
            self.ledger.explain(frame_id, "came late")
        elif placement is Placement.AGAIN:
            counters.damaged -= 1
            counters.damaged_on_arrival -= 1
            self.ledger.explain(frame_id, "came again, undamaged")
        else:
            counters.duplicates += 1
            return False
        counters.bytes_received += n_bytes
        return True

    def leave_out(self, header: FrameHeader, t_received: float, reason: str) -> None:
        """Note that a frame is not in the file because it is not to be, for this reason."""
        self.counters.paused += 1
        self.ledger.record(header.frame_id, header.t_detector, t_received, nan, -1, FrameStatus.UNRECORDED)
        self.ledger.explain(header.frame_id, reason)

    def keep(self, header: FrameHeader, n_bytes: int, t_recorded: float, stack_row: int, reason: str) -> None:
        """Note that a frame that was left out is in the file after all."""
        self.counters.paused -= 1
        self.counters.recorded += 1
        self.counters.bytes_recorded += n_bytes
        self.ledger.keep(header.frame_id, t_recorded, stack_row, reason)

    def record(
        self, header: FrameHeader, n_bytes: int, t_received: float, t_recorded: float, stack_row: int
    ) -> None:
        """Note that a frame is in the file; `stack_row` -1: that there is no file."""
        if stack_row >= 0:
            self.counters.recorded += 1
            self.counters.bytes_recorded += n_bytes
            self.latency.add_recorded(header.t_detector, t_received, t_recorded)
        self.ledger.record(header.frame_id, header.t_detector, t_received, t_recorded, stack_row)

    def damage(self, error: MessageError, frame_id: int, t_received: float) -> None:
        """Note that nothing usable came under an id that has its place."""
        self.counters.bad_messages[error.label] += 1
        self.counters.damaged += 1
        self.counters.damaged_on_arrival += 1
        self.ledger.damage(frame_id, f"{error.label}: {error}", t_received)

    def damaged_message(self, error: MessageError, t_received: float) -> None:
        """Count a message that could not be read; name its frame in the ledger if its id can be believed."""
        frame_id = error.frame_id
        if frame_id is not None and self._believed(frame_id) and self.arrive(frame_id, 0):
            self.damage(error, frame_id, t_received)
        else:
            self.counters.bad_messages[error.label] += 1

    def result(self, result: FrameResult, result_row: int, t_stored: float) -> None:
        """Note a frame's result, and when it came back."""
        self.counters.analysed += 1
        self.latency.add_result(result, t_stored)
        self.ledger.analyse(result, result_row)

    def failure(self, frame_id: int, reason: str) -> None:
        """Note that a frame could not be analysed."""
        if self.ledger.status(frame_id) is FrameStatus.UNRECORDED:  # "damaged" would say that it was to be
            self.lose_analysis(frame_id, reason)
            return
        self.counters.damaged += 1
        self.ledger.damage(frame_id, reason)

    def skip(self, frame_id: int, reason: str) -> None:
        """Note that a recorded frame is deliberately not analysed."""
        self.counters.skipped += 1
        self.ledger.skip(frame_id, reason)

    def lose_analysis(self, frame_id: int, reason: str) -> None:
        """Note that a frame was handed to an analyser that never answered."""
        self.counters.analysis_lost += 1
        self.ledger.explain(frame_id, reason)

    def regain_analysis(self, frame_id: int) -> None:
        """Take `lose_analysis`, or `skip`, back."""
        if self.ledger.status(frame_id) is FrameStatus.SKIPPED:
            self.counters.skipped -= 1
        else:
            self.counters.analysis_lost -= 1
        self.ledger.explain(frame_id, "")

    def close(self, n_planned: int, reason: str = "planned, never came") -> int:
        """Count what never came, for this reason; return how many planned frames are missing after the last.

        Rows are made for them up to the largest gap that is believed; beyond it they are only counted.
        """
        ledger = self.ledger
        n_rows, n_absent = ledger.n_rows, max(0, n_planned - ledger.first_id - ledger.n_rows)
        n_named = min(n_absent, self._max_gap_frames)
        ledger.add_missing(n_rows + n_named)
        for row in range(n_rows, n_rows + n_named):
            ledger.explain(ledger.first_id + row, reason)
        self._n_unnamed = n_absent - n_named
        return n_absent

    def _believed(self, frame_id: int) -> bool:
        ahead = frame_id - self.ledger.first_id - self.ledger.n_rows
        return 0 <= ahead < _TRUSTED_AHEAD or self.ledger.status(frame_id) is FrameStatus.MISSING
