"""The end of the stimulus channels in ingest: into the file of the running series, and on to windows."""

from collections import Counter, deque
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

import zmq

from streamer.errors import MessageError
from streamer.notes import Notes
from streamer.stimuli import CHANNELS_TOPIC, Batch, Sample, decode_batch, encode_batch

if TYPE_CHECKING:
    from streamer.recorder import SeriesRecorder

__all__ = ["ChannelDesk"]

_WAITING_SAMPLES = 10_000


class ChannelDesk:
    """Keeps samples until there is a file, and repeats each channel's last one at the head of every file.

    Parameters
    ----------
    windows : zmq.Socket
        PUB, to which samples are published.
    notes : Notes
    units : mapping of str to str
        Each channel's unit.
    """

    def __init__(self, windows: "zmq.Socket[bytes]", notes: Notes, units: Mapping[str, str]) -> None:
        self._refused: Counter[str] = Counter()
        self._windows = windows
        self._units = dict(units)
        self._notes = notes
        self._waiting: deque[Sample] = deque(maxlen=_WAITING_SAMPLES)
        self._last: dict[str, Sample] = {}
        self._series: SeriesRecorder | None = None
        self._fresh: list[Sample] = []

    def fresh(self) -> list[Sample]:
        """Return the samples that came since the last call, for triggers."""
        samples, self._fresh = self._fresh, []
        return samples

    def take(self, body: bytes) -> None:
        """Take in a batch; `deliver` writes it."""
        try:
            batch = decode_batch(body)
        except MessageError as error:
            self._notes.add("stimulus", str(error))
            return
        self._refused.update(batch.refused)
        for line in batch.notes:
            self._notes.add("stimulus", line)
        self._waiting.extend(batch.samples)
        self._fresh = [*self._fresh, *batch.samples][-_WAITING_SAMPLES:]
        if batch.samples:
            self._publish(batch.samples)

    def deliver(self, series: "SeriesRecorder | None") -> None:
        """Write what waits into the file of the running series, if there is one."""
        if series is not None and self._refused:
            series.refuse_samples(self._refused)
            self._refused.clear()
        if series is None or not series.has_file:
            return
        if series is not self._series:
            self._series = series
            self._write(series, list(self._last.values()))
        if self._waiting:
            samples = list(self._waiting)
            self._waiting.clear()
            self._last.update((sample.name, sample) for sample in samples)
            self._write(series, samples)

    def repeat(self) -> None:
        """Publish every channel's last sample again, for windows that came later."""
        last = self._last | {sample.name: sample for sample in self._waiting}
        if last:
            self._publish(list(last.values()))

    def _write(self, series: "SeriesRecorder", samples: list[Sample]) -> None:
        by_name: dict[str, list[Sample]] = {}
        for sample in samples:
            by_name.setdefault(sample.name, []).append(sample)
        for name, rows in by_name.items():
            series.take_samples(name, rows)

    def _publish(self, samples: list[Sample]) -> None:
        with suppress(zmq.ZMQError):  # save first, show second; what a window misses is in the file
            self._windows.send_multipart(
                [CHANNELS_TOPIC, encode_batch(Batch(samples, units=self._units))], zmq.NOBLOCK
            )
