"""Every exception this project raises on purpose.

::

    AtomstreamError
    ├── UsageError(ValueError)            wrong option, file or combination: exit 2
    ├── RunError(RuntimeError)            the run cannot start or go on: exit 1
    │   ├── SourceUnreachableError        nothing answers at the source's address
    │   ├── SourceRefusedError            it answers, but does not let us in: keys
    │   ├── DetectorError                 a detector does not do what it is told over its REST interface
    │   ├── FileReadError                 a recorded file is damaged or truncated
    │   ├── RecordingError                the result file cannot be written
    │   ├── BackendError                  a network cannot be loaded or run
    │   │   └── DeviceLostError           the GPU is gone: nothing more can be computed in this process
    │   └── WorkerError                   a child process ended with an error
    └── MessageError(ValueError)          one message is damaged: counted, named, never fatal
        ├── TruncatedMessageError         it ends before its own fields say it does
        ├── UnknownEncodingError          a tag, type or compression that is not known
        ├── MissingFieldError             a required field, or the chosen channel, is not there
        ├── MessageTooLargeError          above the configured limit
        ├── GeometryError                 shape or dtype differ from the series
        └── PayloadError                  the compressed bytes do not decode to the frame

``RunError`` and ``UsageError`` reach the user as one line. A ``MessageError`` is caught where messages are
received, counted under its ``label`` and written to the ledger.
"""

__all__ = [
    "AtomstreamError",
    "BackendError",
    "DetectorError",
    "DeviceLostError",
    "FileReadError",
    "GeometryError",
    "MessageError",
    "MessageTooLargeError",
    "MissingFieldError",
    "PayloadError",
    "RecordingError",
    "RunError",
    "SourceRefusedError",
    "SourceUnreachableError",
    "TruncatedMessageError",
    "UnknownEncodingError",
    "UsageError",
    "WorkerError",
]


class AtomstreamError(Exception):
    """Root of the tree above; its text is meant for the user."""


class UsageError(AtomstreamError, ValueError):
    """A wrong option, file or combination of them (exit status 2)."""


class RunError(AtomstreamError, RuntimeError):
    """The run cannot start or cannot go on (exit status 1)."""


class SourceUnreachableError(RunError):
    """Nothing answers at the source's address."""


class SourceRefusedError(RunError):
    """The source answers, but does not accept our keys, or not having any."""


class DetectorError(RunError):
    """The detector does not answer, refuses a setting or command, or is busy."""


class FileReadError(RunError):
    """A recorded file cannot be read on: it is damaged or truncated there."""


class RecordingError(RunError):
    """The result file cannot be created or written."""


class BackendError(RunError):
    """A network backend cannot be loaded, or failed on a batch."""


class DeviceLostError(BackendError):
    """The GPU is gone, or its context is broken: nothing more can be computed in this process."""


class WorkerError(RunError):
    """A child process ended with an error; its text is passed on."""


class MessageError(AtomstreamError, ValueError):
    """One message from outside is damaged; the run goes on without it.

    Attributes
    ----------
    label : str
        Short machine-readable name, used as the counter's name and in the ledger's ``reason``.
    frame_id : int or None
        The frame the message was about, where that much could be read.
    """

    label = "bad message"

    def __init__(self, text: str, frame_id: int | None = None) -> None:
        super().__init__(text)
        self.frame_id = frame_id


class TruncatedMessageError(MessageError):
    """The message ends before its own fields say it does."""

    label = "truncated message"


class UnknownEncodingError(MessageError):
    """A tag, message type, data type or compression that is not known here."""

    label = "unknown encoding"


class MissingFieldError(MessageError):
    """A field that every message of its kind must have, or the chosen channel, is not there."""

    label = "missing field"


class MessageTooLargeError(MessageError):
    """The message, or the frame it declares, is above the configured limit."""

    label = "message too large"


class GeometryError(MessageError):
    """The frame's shape or data type is not the one its series began with."""

    label = "wrong geometry"


class PayloadError(MessageError):
    """The payload does not decompress to the frame its header declares."""

    label = "damaged payload"
