"""The run's configuration: TOML to typed, frozen records; unknown keys are refused.

Read once, where a command starts, and passed down in parts as arguments: nothing below looks at the
environment or at global state. Each field's comment says what it bounds.
"""

from enum import StrEnum
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from streamer.config_errors import explain
from streamer.errors import UsageError
from streamer.records import Policy

__all__ = [
    "LOCAL_ONLY",
    "LONGEST_WAIT_S",
    "AnalysisConfig",
    "ChannelConfig",
    "ControlConfig",
    "DetectorConfig",
    "HeaderDetail",
    "IngestConfig",
    "RecordConfig",
    "RunConfig",
    "SecurityConfig",
    "SourceConfig",
    "TeeConfig",
    "TriggerConfig",
    "TriggerMode",
    "ViewConfig",
    "expect_channels",
    "load_config",
    "to_toml",
]

Positive = Annotated[int, msgspec.Meta(ge=1)]
NonNegative = Annotated[int, msgspec.Meta(ge=0)]
Seconds = Annotated[float, msgspec.Meta(ge=0)]
LONGEST_WAIT_S = 2e6  # 23 days: what sockets wait is counted in milliseconds, of 32 bits
Precision = Literal["", "f16", "bf16", "f32", "i8"]
Fraction = Annotated[float, msgspec.Meta(ge=0, le=1)]
Length = Annotated[float, msgspec.Meta(ge=0)]
_MANY = 1000  # analysers, where their number is not limited


class SourceConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where frames come from, and what the source cannot know itself."""

    address: str = (
        ""  # dectris2://HOST:31001, dectris1://HOST:9999, merlin://HOST:6342, atomstream://HOST:PORT
    )
    control_port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 0  # merlin: start through it; 0: do not
    start_frames: NonNegative = 0  # de: start an acquisition of so many; 0: do not
    channel: str = ""  # a detector's threshold; empty: the first
    pixel_size_A: Annotated[float, msgspec.Meta(gt=0, le=1e4)] | None = None  # overrides the header's
    frame_px: tuple[Positive, Positive] | None = None  # (H, W), if known: the networks are loaded for it
    connect_timeout_s: Annotated[float, msgspec.Meta(ge=0, le=LONGEST_WAIT_S)] = 5.0
    server_key: str = ""  # public key file of an encrypted source; empty: it is not encrypted


class IngestConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Limits on what is taken in. Memory held here is at most `receive_queue_frames` messages."""

    receive_queue_frames: Positive = 512  # ZeroMQ's queue: rides out a stalling disk
    message_limit_bytes: Positive = 256 * 2**20  # a larger message is refused before it is read
    frame_limit_bytes: Positive = 256 * 2**20  # a frame that declares more pixels is refused
    max_gap_frames: Positive = 100_000  # a frame id that jumps further is damage, not loss
    end_timeout_s: Seconds = 5.0  # silence after the last planned frame that counts as an end
    idle_timeout_s: Seconds = 0.0  # silence at any time that ends the run; 0: never
    result_timeout_s: Seconds = 30.0  # how long the last results are waited for
    continuous: bool = False  # wait for another series when one is over


class RecordConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is written, and how much a crash can cost: the frames of one flush interval."""

    path: str = ""  # empty: nothing is recorded
    flush_frames: Positive = 256  # or what came within the interval, whichever is less
    flush_interval_s: Seconds = 0.25
    maps_every: NonNegative = 0  # store denoised and atom-count maps of every n-th frame; 0: none
    paused: bool = False  # begin with recording switched off, until somebody switches it on
    every: Positive = 1  # keep frames whose id is a multiple of this; the ledger names the others
    look_back_s: Seconds = 0.0  # how far back an event keeps all frames
    look_ahead_s: Seconds = 0.0  # and how long after it
    look_back_MiB: Positive = 1024  # what the frames of the last seconds may take in memory


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
    decode_threads: NonNegative = 0  # 0: one on a CPU, whose cores are the networks'; four with a GPU
    precision: Precision = ""  # f16, bf16, f32, i8; empty: the backend's own choice
    fallback: bool = False  # may another backend take over if the chosen one cannot be loaded?
    gpu: Annotated[int, msgspec.Meta(ge=-1)] = -1  # which CUDA device; -1: a machine's analysers take turns
    engines: str = ""  # a folder for the engines TensorRT builds; empty: the user's cache
    on_device: bool = True  # with TensorRT: prepare frames and find columns on the GPU
    detection_threshold: Fraction = 0.5
    particle_size_nm: tuple[Length, Length] = (2.0, 20.0)  # where particles are classified: others are none
    analysers: NonNegative = 1  # on this machine; 0: those on others alone
    remote: str = ""  # tcp://HOST:PORT, where analysers on other machines may join; empty: nowhere
    remote_limit: NonNegative = 0  # how many of them at a time; 0: any number
    join_timeout_s: Annotated[float, msgspec.Meta(gt=0)] = 60.0  # how long frames wait for one of them
    average_frames: Positive = 1  # the networks get the drift-corrected mean of so many (with one analyser)
    denoise_frames: Positive = 1  # the denoiser sees so many (with one analyser): as many as it was made for
    orientations: Literal[1, 2, 4] = 1  # mirror images of a frame; the mean of the networks' answers counts
    follow: bool = True  # give columns an identity, and fuse their counts over frames

    @property
    def alone(self) -> bool:
        """Whether one analyser sees all frames, so that it can average them and follow columns."""
        return self.analysers + (self.remote_limit or _MANY if self.remote else 0) == 1

    @property
    def looks_back(self) -> bool:
        """Whether what the networks get of a frame depends on the frames before it."""
        return max(self.average_frames, self.denoise_frames) > 1

    @property
    def followed_apart(self) -> bool:
        """Whether a process of its own measures drift and follows columns, as several analysers may share."""
        unseen = self.backend == "null" or self.alone or self.looks_back
        return self.enabled and self.follow and not unseen

    def __post_init__(self) -> None:
        low, high = self.particle_size_nm
        if low >= high:
            raise ValueError(f"particle_size_nm is {low:g} to {high:g} nm: the first must be the smaller")
        if min(self.average_frames, self.denoise_frames) > 1:
            raise ValueError("average_frames and denoise_frames exclude one another: one of them must be 1")


class ViewConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the windows get: at most `rate_hz` pictures a second, binned to at most `size_px`."""

    bind: str = "tcp://127.0.0.1:0"
    rate_hz: Annotated[float, msgspec.Meta(gt=0)] = 25.0
    size_px: Positive = 1024


class SecurityConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who may connect to what this program binds, and how it proves itself where it connects."""

    key: str = ""  # this machine's own secret key file
    clients: tuple[str, ...] = ()  # public key files of those who may connect; none: nothing is encrypted
    insecure: bool = False  # bind to other than the loopback interface without encryption


class TriggerMode(StrEnum):
    """What starts a series' images: a command (ints) or a signal; one signal each, or one for all."""

    INTS = "ints"
    EXTS = "exts"
    EXTE = "exte"


class HeaderDetail(StrEnum):
    """How much a detector says at a series' start; with ``all`` also its masks and tables."""

    BASIC = "basic"
    ALL = "all"


class DetectorConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The detector that the run sets up, arms and disarms; what is not given stays as the detector has it."""

    arm: str = ""  # http://HOST:PORT of its REST interface; empty: a series is started by hand
    api_version: str = "1.8.0"
    trigger_mode: TriggerMode = TriggerMode.INTS
    images: Positive | None = None  # for each trigger
    triggers: Positive | None = None
    frame_time_s: Annotated[float, msgspec.Meta(gt=0, le=LONGEST_WAIT_S)] | None = None
    count_time_s: Annotated[float, msgspec.Meta(gt=0, le=LONGEST_WAIT_S)] | None = None
    header_detail: HeaderDetail = HeaderDetail.BASIC
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=LONGEST_WAIT_S)] = 10.0  # for usual answers


class TeeConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """To whom a stream is passed on (`streamer.tee`)."""

    lossless: tuple[str, ...] = ()  # addresses of clients that get everything, or hold everything back
    best_effort: tuple[str, ...] = ()  # of clients that get the images they have room for
    queue_frames: Positive = 100  # on their way to each client
    series: NonNegative = 0  # end after so many; 0: go on until stopped


class ControlConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the run takes commands; who may connect (`SecurityConfig`) can stop it."""

    bind: str = "tcp://127.0.0.1:0"  # empty: it takes none
    metrics: str = ""  # HOST:PORT for Prometheus; empty: none
    stimuli: str = "tcp://127.0.0.1:0"  # for the samples of the [[channel]]s, if there are any


class ChannelConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A stimulus channel: its place in the file must be made before the first frame."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,39}$")]
    unit: Annotated[str, msgspec.Meta(max_length=32)] = ""
    clock: Literal["run", "foreign"] = "run"  # foreign: the sender's clock is not this machine's
    max_rate_hz: Annotated[float, msgspec.Meta(gt=0, le=10_000)] = 100.0  # more are counted and dropped


_COUNT_ATOMS = ("total_atoms", "region_atoms", "column_count")


class TriggerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A rule that fires when what it watches leaves its bounds or changes; see docs/triggers.md."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,39}$")]
    when: Literal[
        "total_atoms", "n_columns", "ood_score", "drift_px", "region_atoms", "column_count", "lost", "channel"
    ]
    above: float | None = None
    below: float | None = None
    change: Annotated[float, msgspec.Meta(gt=0)] | None = None  # against the value at arming
    region: tuple[float, float, float, float] | None = None  # y0, x0, y1, x1 [px], for region_atoms
    at: tuple[float, float] | None = None  # y, x [px], for column_count
    radius_px: Annotated[float, msgspec.Meta(gt=0)] = 6.0
    channel: str = ""  # for channel
    fused: bool = False  # atoms by all frames so far, not by the newest alone; for what counts atoms
    for_frames: Positive = 1  # values in a row for which it must hold
    hysteresis: Annotated[float, msgspec.Meta(ge=0)] = 0.0  # how far inside again before it can fire anew
    rearm_s: Seconds = 1.0
    mark: bool = True  # a note in the file
    keep: bool = False  # keep all frames around it: record.look_back_s before, record.look_ahead_s after
    webhook: str = ""  # http:// or https://, called with the event as JSON

    def __post_init__(self) -> None:
        needs = {"region_atoms": "region", "column_count": "at", "channel": "channel"}
        for when, field in needs.items():
            if bool(getattr(self, field)) != (self.when == when):
                raise ValueError(
                    f"trigger {self.name!r}: '{field}' belongs to when = \"{when}\", and to no other"
                )
        if self.fused and self.when not in _COUNT_ATOMS:
            raise ValueError(
                f"trigger {self.name!r}: 'fused' belongs to {', '.join(_COUNT_ATOMS)}, and to no other"
            )
        if self.above is None and self.below is None and self.change is None:
            raise ValueError(f"trigger {self.name!r} can never fire: give above, below or change")
        if self.above is not None and self.below is not None and self.below > self.above:
            raise ValueError(
                f"trigger {self.name!r} always fires: below {self.below:g} > above {self.above:g}"
            )
        if self.webhook and not self.webhook.startswith(("http://", "https://")):
            raise ValueError(
                f"trigger {self.name!r}: webhook {self.webhook!r} is no http:// or https:// address"
            )


LOCAL_ONLY = SecurityConfig()
"""Nothing is encrypted, and nothing can be reached from other machines."""


class RunConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything a run is told; stored with it under ``/entry/process/configuration``."""

    source: SourceConfig = SourceConfig()
    ingest: IngestConfig = IngestConfig()
    record: RecordConfig = RecordConfig()
    analysis: AnalysisConfig = AnalysisConfig()
    view: ViewConfig = ViewConfig()
    security: SecurityConfig = LOCAL_ONLY
    tee: TeeConfig = TeeConfig()
    detector: DetectorConfig = DetectorConfig()
    control: ControlConfig = ControlConfig()
    channel: Annotated[tuple[ChannelConfig, ...], msgspec.Meta(max_length=32)] = ()

    trigger: Annotated[tuple[TriggerConfig, ...], msgspec.Meta(max_length=64)] = ()

    def __post_init__(self) -> None:
        for kind, tables in (("channel", self.channel), ("trigger", self.trigger)):
            names = [table.name for table in tables]
            if twice := {name for name in names if names.count(name) > 1}:
                raise ValueError(f"{kind} names must differ, but {sorted(twice)} come twice")


def expect_channels(config: RunConfig) -> None:
    """Check that channels can be sent to and triggers be heard, now that file and options are put together.

    Raises
    ------
    UsageError
        If a trigger watches a channel that is not declared, control.bind, which both need, is empty, a
        trigger is to keep frames that nothing holds or takes, or one watches fused counts that nobody makes.
    """
    _expect_something_to_keep(config)
    _expect_columns_followed(config)
    names = {channel.name for channel in config.channel}
    if not config.control.bind and (names or any(trigger.webhook for trigger in config.trigger)):
        raise UsageError("stimulus channels and webhooks need a control address, but control.bind is empty")
    for trigger in config.trigger:
        if trigger.when == "channel" and trigger.channel not in names:
            raise UsageError(
                f"trigger {trigger.name!r} watches channel {trigger.channel!r}, which is not declared: there"
                f" are {', '.join(sorted(names)) or 'none'}"
            )


def _expect_something_to_keep(config: RunConfig) -> None:
    keeping = [trigger.name for trigger in config.trigger if trigger.keep]
    if keeping and not config.record.path:
        raise UsageError(f"trigger {keeping[0]!r} is to keep frames, but this run is not recorded")
    if keeping and not config.record.look_back_s and not config.record.look_ahead_s:
        raise UsageError(
            f"trigger {keeping[0]!r} is to keep frames, but record.look_back_s and .look_ahead_s are both 0:"
            " give --look-back-s or --look-ahead-s"
        )


def _expect_columns_followed(config: RunConfig) -> None:
    fused = [trigger.name for trigger in config.trigger if trigger.fused]
    analysis = config.analysis
    if fused and analysis.enabled and not (analysis.follow and analysis.backend != "null"):
        raise UsageError(
            f"trigger {fused[0]!r} watches fused counts, but columns are not followed in this run: they need"
            " analysis.follow = true and another backend than 'null'; or leave out 'fused'"
        )


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
        values = msgspec.toml.decode(path.read_bytes())
    except OSError as error:
        raise UsageError(f"cannot read configuration {path}: {error.strerror}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UsageError(f"configuration {path}: {error}") from error
    try:
        return msgspec.convert(values, RunConfig)
    except msgspec.ValidationError as error:
        raise UsageError(f"configuration {path}: {explain(error, values, RunConfig)}") from error


def to_toml(config: RunConfig) -> str:
    """Write `config` as TOML, every value explicit; `load_config` reads it back equal."""
    lines: list[str] = []
    for section, values in msgspec.to_builtins(config).items():
        if isinstance(values, dict):
            lines += [f"[{section}]", *_pairs(values)]
        else:  # an array of tables
            lines += [line for table in values for line in (f"[[{section}]]", *_pairs(table))]
    return "\n".join(lines)


def _pairs(table: dict[str, Any]) -> list[str]:
    return [*(f"{key} = {_value(value)}" for key, value in table.items() if value is not None), ""]


def _value(value: Any) -> str:
    """Write a value: as in JSON, which however has no infinite numbers."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, float) and not isfinite(value):
        return str(value)
    return msgspec.json.encode(value).decode()
