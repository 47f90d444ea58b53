"""The run's configuration: TOML to typed, frozen records; unknown keys are refused.

Read once, where a command starts, and passed down in parts as arguments: nothing below looks at the
environment or at global state. Each field's comment says what it bounds.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from streamer.errors import UsageError
from streamer.records import Policy

__all__ = [
    "AnalysisConfig",
    "IngestConfig",
    "RecordConfig",
    "RunConfig",
    "SourceConfig",
    "ViewConfig",
    "load_config",
    "to_toml",
]

Positive = Annotated[int, msgspec.Meta(ge=1)]
NonNegative = Annotated[int, msgspec.Meta(ge=0)]
Seconds = Annotated[float, msgspec.Meta(ge=0)]
Precision = Literal["", "f16", "bf16", "f32"]
Fraction = Annotated[float, msgspec.Meta(ge=0, le=1)]


class SourceConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where frames come from, and what the source cannot know itself."""

    address: str = ""  # dectris2://HOST:31001, dectris1://HOST:9999, atomstream://HOST:PORT
    channel: str = ""  # a detector's threshold; empty: the first
    pixel_size_A: Annotated[float, msgspec.Meta(gt=0)] | None = None  # at the specimen; overrides the header
    connect_timeout_s: Seconds = 5.0


class IngestConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Limits on what is taken in. Memory held here is at most `receive_queue_frames` messages."""

    receive_queue_frames: Positive = 512  # ZeroMQ's queue: rides out a stalling disk
    message_limit_bytes: Positive = 256 * 2**20  # a larger message is refused before it is read
    frame_limit_bytes: Positive = 256 * 2**20  # a frame that declares more pixels is refused
    max_gap_frames: Positive = 100_000  # a frame id that jumps further is damage, not loss
    end_timeout_s: Seconds = 5.0  # silence after the last planned frame that counts as an end
    idle_timeout_s: Seconds = 0.0  # silence at any time that ends the run; 0: never
    result_timeout_s: Seconds = 30.0  # how long the last results are waited for


class RecordConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is written, and how much a crash can cost: the frames of one flush interval."""

    path: str = ""  # empty: nothing is recorded
    flush_frames: Positive = 128  # or what came within the interval, whichever is less
    flush_interval_s: Seconds = 0.25
    maps_every: NonNegative = 0  # store denoised and atom-count maps of every n-th frame; 0: none


class AnalysisConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How frames are analysed."""

    enabled: bool = True
    backend: str = "auto"  # auto, openvino, torch, tensorrt, null
    policy: Policy = Policy.WAIT
    every: Positive = 1  # analyse frames whose id is a multiple of this; the others are skipped by plan
    material: str = "ceria"
    models: str = ""  # a folder of ONNX networks; empty: the shipped ones
    batch_frames: Positive = 1
    max_wait_ms: Seconds = 20.0  # a batch closes when its oldest frame has waited this long
    queue_frames: Positive = 16  # frames on their way to the analysers
    threads: NonNegative = 0  # of the network backend; 0: its own choice
    precision: Precision = ""  # f16, bf16, f32; empty: the backend's own choice
    fallback: bool = False  # may another backend take over if the chosen one cannot be loaded?
    engines: str = ""  # a folder for the engines TensorRT builds; empty: the user's cache
    on_device: bool = True  # with TensorRT: prepare frames and find columns on the GPU
    detection_threshold: Fraction = 0.5
    analysers: Positive = 1


class ViewConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the windows get: at most `rate_hz` pictures a second, binned to at most `size_px`."""

    bind: str = "tcp://127.0.0.1:0"
    rate_hz: Annotated[float, msgspec.Meta(gt=0)] = 25.0
    size_px: Positive = 1024


class RunConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything a run is told; stored with it under ``/entry/process/configuration``."""

    source: SourceConfig = SourceConfig()
    ingest: IngestConfig = IngestConfig()
    record: RecordConfig = RecordConfig()
    analysis: AnalysisConfig = AnalysisConfig()
    view: ViewConfig = ViewConfig()


def load_config(path: Path) -> RunConfig:
    """Read a TOML configuration.

    Parameters
    ----------
    path : pathlib.Path
        The file.

    Raises
    ------
    UsageError
        If the file cannot be read, is not TOML, or has an unknown key or a value out of range; the message
        names the key.
    """
    try:
        return msgspec.toml.decode(path.read_bytes(), type=RunConfig)
    except OSError as error:
        raise UsageError(f"cannot read configuration {path}: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise UsageError(f"configuration {path}: {error}") from error


def to_toml(config: RunConfig) -> str:
    """Write `config` as TOML, every value explicit; `load_config` reads it back equal."""
    lines: list[str] = []
    for section, values in _without_none(msgspec.to_builtins(config)).items():
        lines.append(f"[{section}]")
        lines += [f"{key} = {msgspec.json.encode(value).decode()}" for key, value in values.items()]
        lines.append("")
    return "\n".join(lines)


def _without_none(sections: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {name: {k: v for k, v in part.items() if v is not None} for name, part in sections.items()}
