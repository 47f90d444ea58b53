"""The end of the triggers in ingest: what fires is noted, published, and handed to its webhook."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

import zmq

from streamer.clock import RunClock
from streamer.config import TriggerConfig
from streamer.errors import RecordingError
from streamer.records import FrameResult
from streamer.triggers import EVENT, EVENT_TOPIC, Event, Rules, encode_event

if TYPE_CHECKING:
    from streamer.account import SeriesAccount
    from streamer.recorder import SeriesRecorder
    from streamer.stimuli import Sample

__all__ = ["TriggerDesk"]


class TriggerDesk:
    """Asks the rules, and does what the triggers that fire are for. Nothing here ever waits.

    Parameters
    ----------
    configs : iterable of TriggerConfig
    clock : RunClock
    windows, supervisor : zmq.Socket
        PUB for the message, DEALER for the webhooks.
    """

    def __init__(
        self,
        configs: Iterable[TriggerConfig],
        clock: RunClock,
        windows: "zmq.Socket[bytes]",
        supervisor: "zmq.Socket[bytes]",
    ) -> None:
        self._configs = {config.name: config for config in configs}
        self._rules = Rules(self._configs.values())
        self._clock = clock
        self._windows = windows
        self._supervisor = supervisor
        self._counted: SeriesAccount | None = None  # whose losses were looked at last

    def take_result(self, series: "SeriesRecorder", result: FrameResult) -> None:
        """Look at a frame's result."""
        if self._configs:
            self._act(series, self._rules.of_result(result, self._clock.now()))

    def take_losses(self, series: "SeriesRecorder") -> None:
        """Look at how many frames of a series are lost so far."""
        if self._configs:
            anew, self._counted = series.account is not self._counted, series.account
            lost, last_id = series.account.total().lost, series.next_id - 1
            self._act(series, self._rules.of_losses(lost, last_id, self._clock.now(), anew))

    def take_samples(self, series: "SeriesRecorder", samples: "Iterable[Sample]") -> None:
        """Look at samples of stimulus channels."""
        if not self._configs:
            return
        for sample in samples:
            frame_id = series.account.ledger.received_by(sample.t)
            now = self._clock.now()
            self._act(series, self._rules.of_sample(sample.name, sample.value, frame_id, sample.t, now))

    def _act(self, series: "SeriesRecorder", events: list[Event]) -> None:
        for event in events:
            config = self._configs[event.trigger]
            self._send(lambda: self._windows.send_multipart([EVENT_TOPIC, encode_event(event)], zmq.NOBLOCK))  # noqa: B023
            if config.webhook:
                body = encode_event(event)
                self._send(lambda: self._supervisor.send_multipart([EVENT, body], zmq.NOBLOCK))  # noqa: B023
            series.account.latency.stages["received_to_triggered"].add(self._clock.now() - event.t_frame)
            if config.mark:
                with suppress(RecordingError):  # there is no file, or it is full of notes
                    series.mark(event.t_frame, f"{event.trigger}: {event.text}"[:250], "trigger")
            if config.keep:
                with suppress(RecordingError):  # recording has failed, and says so itself
                    series.keep(event.t_frame, f"kept for trigger {event.trigger}")

    def _send(self, send: Callable[[], object]) -> None:
        with suppress(zmq.ZMQError):  # whoever does not take messages misses some
            send()
