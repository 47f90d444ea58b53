"""Options that several verbs share, and the run's configuration that they make.

An option that is given wins over the configuration file, and that over the defaults; so every option's own
default is None. Values are checked where the file's are, by `streamer.config`.
"""

import argparse
import time
from math import isfinite, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamer.errors import UsageError

if TYPE_CHECKING:
    from streamer.config import AnalysisConfig, RunConfig

__all__ = [
    "add_analysis",
    "add_client_keys",
    "add_config",
    "add_detector",
    "add_keys",
    "add_source",
    "add_stream",
    "add_tee",
    "frame_size",
    "new_file",
    "run_config",
    "run_file",
    "seconds",
]

RUNS = Path("runs")
FRAME_FAULTS = (
    "drop, duplicate, reorder, delay, truncate, corrupt, size, shape, dtype, garbage, stray, stall, burst,"
    " disconnect or twin"
)
SERIES_FAULTS = "no-start or no-end"

_PLACES = {
    "source": ("source", "address"),
    "channel": ("source", "channel"),
    "control_port": ("source", "control_port"),
    "start_frames": ("source", "start_frames"),
    "pixel_size": ("source", "pixel_size_A"),
    "frame_px": ("source", "frame_px"),
    "connect_timeout_s": ("source", "connect_timeout_s"),
    "idle_timeout_s": ("ingest", "idle_timeout_s"),
    "continuous": ("ingest", "continuous"),
    "maps": ("record", "maps_every"),
    "backend": ("analysis", "backend"),
    "policy": ("analysis", "policy"),
    "every": ("analysis", "every"),
    "precision": ("analysis", "precision"),
    "material": ("analysis", "material"),
    "models": ("analysis", "models"),
    "batch": ("analysis", "batch_frames"),
    "max_wait_ms": ("analysis", "max_wait_ms"),
    "threads": ("analysis", "threads"),
    "analysers": ("analysis", "analysers"),
    "remote_analysers": ("analysis", "remote"),
    "remote_limit": ("analysis", "remote_limit"),
    "join_timeout_s": ("analysis", "join_timeout_s"),
    "average": ("analysis", "average_frames"),
    "denoise_frames": ("analysis", "denoise_frames"),
    "orientations": ("analysis", "orientations"),
    "view": ("view", "bind"),
    "key": ("security", "key"),
    "client_key": ("security", "clients"),
    "insecure": ("security", "insecure"),
    "server_key": ("source", "server_key"),
    "arm": ("detector", "arm"),
    "images": ("detector", "images"),
    "triggers": ("detector", "triggers"),
    "frame_time_s": ("detector", "frame_time_s"),
    "count_time_s": ("detector", "count_time_s"),
    "trigger_mode": ("detector", "trigger_mode"),
    "header_detail": ("detector", "header_detail"),
    "api_version": ("detector", "api_version"),
    "lossless": ("tee", "lossless"),
    "best_effort": ("tee", "best_effort"),
    "queue": ("tee", "queue_frames"),
    "tee_lossless": ("tee", "lossless"),
    "tee_best_effort": ("tee", "best_effort"),
    "tee_queue": ("tee", "queue_frames"),
    "series": ("tee", "series"),
    "control": ("control", "bind"),
    "stimuli": ("control", "stimuli"),
    "metrics": ("control", "metrics"),
    "paused": ("record", "paused"),
    "record_every": ("record", "every"),
    "look_back_s": ("record", "look_back_s"),
    "look_ahead_s": ("record", "look_ahead_s"),
    "look_back_MiB": ("record", "look_back_MiB"),
}
"""Where the value of each option belongs in the configuration."""


def add_source(parser: argparse.ArgumentParser) -> None:
    """Add what tells a run where its frames come from."""
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="dectris2://HOST:31001, dectris1://HOST:9999, merlin://HOST:6342, de://HOST:13240"
        " or atomstream://HOST:PORT",
    )
    parser.add_argument("--channel", help="a detector's threshold (default: its first)")
    parser.add_argument(
        "--control-port", type=int, metavar="PORT",
        help="Merlin's (6341): start the acquisition through it (default: it is started elsewhere)",
    )  # fmt: skip
    parser.add_argument(
        "--start-frames", type=int, metavar="N",
        help="Direct Electron: start an acquisition of so many (default: it is started elsewhere)",
    )  # fmt: skip
    parser.add_argument(
        "--pixel-size-A", "--pixel-size", dest="pixel_size", type=float, metavar="Å",
        help="pixel size at the specimen [Å] (default: what the stream says)",
    )  # fmt: skip
    parser.add_argument(
        "--frame-px", type=frame_size, metavar="H[xW]",
        help="size of the frames [px], as in 1024: the networks are ready for the first (default: unknown)",
    )  # fmt: skip
    parser.add_argument(
        "--connect-timeout-s", type=float, metavar="S", help="how long to wait for the source (default: 5)"
    )
    parser.add_argument(
        "--idle-timeout-s", type=float, metavar="S", help="end the run after this silence (default: never)"
    )
    parser.add_argument(
        "--continuous", action="store_true", default=None, help="wait for the next series, until Ctrl-C"
    )
    add_config(parser)


def add_detector(parser: argparse.ArgumentParser) -> None:
    """Add how a detector is set up and armed for the run."""
    group = parser.add_argument_group("detector")
    group.add_argument(
        "--arm", metavar="http://HOST:PORT", help="set up, arm, trigger and disarm it (SIMPLON REST)"
    )
    group.add_argument("--images", type=int, metavar="N", help="images for each trigger")
    group.add_argument("--triggers", type=int, metavar="N", help="triggers of a series")
    group.add_argument("--frame-time-s", type=float, metavar="S", help="from one image to the next")
    group.add_argument("--count-time-s", type=float, metavar="S", help="exposure of one image")
    group.add_argument(
        "--trigger-mode", choices=("ints", "exts", "exte"), help="by command (default) or from outside"
    )
    group.add_argument("--header-detail", choices=("basic", "all"), help="of the series' start message")
    group.add_argument("--api-version", metavar="V", help="of its REST interface (default: 1.8.0)")


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add the configuration file, the view's address, and who may connect to it."""
    parser.add_argument("--config", type=Path, metavar="FILE.toml", help="options win over it")
    parser.add_argument("--view", metavar="ADDRESS", help="for windows (default: a free local port)")
    parser.add_argument("--control", metavar="ADDRESS", help="for commands (default: a free local port)")
    parser.add_argument(
        "--stimulus", type=_stimulus, action="append", metavar="NAME=UNIT",
        help="a stimulus channel, as in temperature=K; may be repeated",
    )  # fmt: skip
    parser.add_argument("--stimuli", metavar="ADDRESS", help="for their samples (default: a free local port)")
    parser.add_argument("--metrics", metavar="HOST:PORT", help="for Prometheus, as in 127.0.0.1:9464")
    parser.add_argument(
        "--paused", action="store_const", const=True, help="begin with recording switched off"
    )
    _add_events(parser)
    add_keys(parser)


def _add_events(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is kept (docs/triggers.md)")
    group.add_argument("--record-every", type=int, metavar="N", help="keep every n-th frame only")
    group.add_argument("--look-back-s", type=float, metavar="S", help="an event keeps all frames so far back")
    group.add_argument("--look-ahead-s", type=float, metavar="S", help="and so long after it")
    group.add_argument("--look-back-MiB", type=int, metavar="MIB", help="in so much memory (default: 1024)")


def add_tee(parser: argparse.ArgumentParser) -> None:
    """Add to whom a run passes its stream on."""
    group = parser.add_argument_group("further clients of the stream (docs/remote.md)")
    group.add_argument(
        "--tee-lossless", action="append", metavar="tcp://HOST:PORT",
        help="where a client gets everything, or holds everything back; may be repeated",
    )  # fmt: skip
    group.add_argument(
        "--tee-best-effort", action="append", metavar="tcp://HOST:PORT",
        help="where a client gets what it has room for; may be repeated",
    )  # fmt: skip
    group.add_argument(
        "--tee-queue", type=int, metavar="N", help="messages on their way to each client (default: 100)"
    )


def add_keys(parser: argparse.ArgumentParser) -> None:
    """Add what a verb that binds, and may connect, is told of encryption."""
    group = add_client_keys(parser)
    group.add_argument(
        "--client-key", action="append", metavar="THEIRS.key", help="who may connect; may be repeated"
    )
    group.add_argument(
        "--insecure",
        action="store_true",
        default=None,
        help="without encryption, bind to more than this machine",
    )


def add_client_keys(parser: argparse.ArgumentParser) -> "argparse._ArgumentGroup":
    """Add what a verb that connects is told of encryption; returns the group of options."""
    group = parser.add_argument_group("encryption (docs/remote.md)")
    group.add_argument("--key", metavar="OWN.key_secret", help="this machine's keys (atomstream keys)")
    group.add_argument("--server-key", metavar="THEIRS.key", help="whom this connects to: it is encrypted")
    return group


def add_analysis(parser: argparse.ArgumentParser) -> None:
    """Add how frames are analysed."""
    group = parser.add_argument_group("analysis")
    group.add_argument("--policy", choices=("wait", "latest"), help="analyse every frame, or the newest")
    group.add_argument("--every", type=int, metavar="N", help="analyse every n-th frame only")
    group.add_argument("--backend", choices=("auto", "tensorrt", "torch", "openvino", "null"))
    group.add_argument(
        "--precision", choices=("f16", "bf16", "f32", "i8"), help="default: the backend's own choice"
    )
    group.add_argument(
        "--material",
        metavar="NAME",
        help="ceria (default), gold-columns: atoms are counted; gold: shapes are told",
    )
    group.add_argument("--models", metavar="FOLDER", help="ONNX networks (default: the shipped ones)")
    group.add_argument("--batch", type=int, metavar="N", help="frames that the networks take at once")
    group.add_argument("--max-wait-ms", type=float, metavar="MS", help="a batch waits this long to fill")
    group.add_argument("--threads", type=int, metavar="N", help="CPU threads of the networks")
    group.add_argument("--analysers", type=int, metavar="N", help="analysing processes on this machine")
    group.add_argument(
        "--remote-analysers", metavar="ADDRESS", help="where others may join, with atomstream analyse"
    )
    group.add_argument(
        "--remote-limit", type=int, metavar="N", help="so many at a time (default: any number)"
    )
    group.add_argument("--join-timeout-s", type=float, metavar="S", help="how long frames wait for one")
    group.add_argument(
        "--average", type=int, metavar="N", help="give the networks the drift-corrected mean of N frames"
    )
    group.add_argument(
        "--denoise-frames", type=int, metavar="N", help="denoise each frame from the last N (1 or 5)"
    )
    group.add_argument(
        "--orientations", type=int, choices=(1, 2, 4), help="mirror images, whose answers are averaged"
    )
    group.add_argument("--maps", type=_every, metavar="every=N", help="store maps of every n-th frame")


def add_stream(parser: argparse.ArgumentParser) -> None:
    """Add what the simulated movie shows and how it is sent."""
    group = parser.add_argument_group("simulated movie")
    group.add_argument(
        "--fps", type=_rate, default=15.0, metavar="F",
        help="frames a second (default: 15; 0: as fast as they are taken)",
    )  # fmt: skip
    group.add_argument("--size", type=int, default=512, metavar="PX", help="side of a frame (default: 512)")
    group.add_argument("--dose", type=float, default=300.0, metavar="D", help="e/Å² a frame (default: 300)")
    group.add_argument("--seed", type=int, default=1, metavar="N", help="another seed, another movie")
    group.add_argument("--detector", choices=("counting", "integrating"), default="counting")
    group.add_argument(
        "--wire", choices=("dectris2", "dectris1", "atomstream"), default="dectris2", help="stream format"
    )
    group.add_argument("--compression", choices=("bslz4", "lz4", "none"), default="bslz4")
    group.add_argument(
        "--fault", default="", metavar="drop=0.01,…",
        help="faults to inject on the way, separated by commas: KIND=PROBABILITY or KIND@FRAME+FRAME with"
        f" {FRAME_FAULTS}; or, alone, {SERIES_FAULTS} (docs/wire-format.md)",
    )  # fmt: skip


def run_config(args: argparse.Namespace, **more: Any) -> "RunConfig":
    """Merge the defaults, the configuration file and the options that were given.

    Parameters
    ----------
    args : argparse.Namespace
    **more
        Further values by ``section__field``, which win over all.

    Raises
    ------
    UsageError
        If a value is out of range, a key is none, or the view can be seen from other machines and nothing
        says by whom; the message names it.
    """
    import msgspec

    from streamer.config import RunConfig, load_config
    from streamer.config_errors import explain
    from streamer.curve import expect_secure

    config = load_config(args.config) if getattr(args, "config", None) else RunConfig()
    values = msgspec.to_builtins(config)
    for option, (section, name) in _PLACES.items():
        if getattr(args, option, None) is not None:
            values[section][name] = getattr(args, option)
    values["channel"] = [*values["channel"], *(getattr(args, "stimulus", None) or ())]
    for place, value in more.items():
        section, _, name = place.partition("__")
        values[section][name] = value
    try:
        merged = msgspec.convert(values, RunConfig)
    except msgspec.ValidationError as error:
        raise UsageError(f"wrong option: {explain(error, values, RunConfig)}") from error
    _expect_analysers(merged.analysis)
    expect_secure(merged)
    return merged


def _expect_analysers(analysis: "AnalysisConfig") -> None:
    if analysis.enabled and not analysis.analysers and not analysis.remote:
        raise UsageError(
            "--analysers 0 leaves nobody to analyse: give --remote-analysers ADDRESS, where others may join"
        )
    if analysis.average_frames > 1 and not analysis.alone:
        raise UsageError("several analysers see every other frame and cannot average: leave out --average")
    if analysis.denoise_frames > 1 and not analysis.alone:
        raise UsageError(
            "several analysers see every other frame, not several in a row: leave out --denoise-frames"
        )


def run_file(verb: str, given: Path | None, configured: str = "") -> Path:
    """Return a run's result file: as given, as configured, or a new one in ``runs/`` named by the time."""
    if given is not None or configured:
        return new_file(given or Path(configured))
    RUNS.mkdir(exist_ok=True)
    stem = f"{verb}-{time.strftime('%Y%m%d-%H%M%S')}"
    names = [f"{stem}.nxs", *(f"{stem}-{n}.nxs" for n in range(2, 100))]
    return next(path for name in names if not (path := RUNS / name).exists())


def new_file(path: Path) -> Path:
    """Return `path` if a file can be made there.

    Raises
    ------
    UsageError
        If it exists already, or its folder does not.
    """
    if path.exists():
        raise UsageError(f"{path} exists and is never overwritten; choose another name")
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {path.parent} to put {path.name} into; make it first")
    return path


def frame_size(text: str) -> tuple[int, int]:
    """Read the height and width of frames [px]."""
    height, _, width = text.partition("x")
    if not height.isdecimal() or not (width or height).isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r}: expected H or HxW [px], as in 1024 or 512x768")
    return int(height), int(width or height)


def seconds(text: str) -> float:
    """Read how long to wait [s]."""
    from streamer.config import LONGEST_WAIT_S

    try:
        wait_s = float(text)
    except ValueError:
        wait_s = nan
    if not 0 <= wait_s <= LONGEST_WAIT_S:
        raise argparse.ArgumentTypeError(f"{text!r}: expected seconds, from 0 to {LONGEST_WAIT_S:,.0f}")
    return wait_s


def _rate(text: str) -> float:
    try:
        rate_hz = float(text)
    except ValueError:
        rate_hz = nan
    if not (isfinite(rate_hz) and rate_hz >= 0):
        raise argparse.ArgumentTypeError(f"{text!r}: expected 0 or more frames a second")
    return rate_hz


def _stimulus(text: str) -> dict[str, str]:
    name, _, unit = text.partition("=")
    return {"name": name, "unit": unit}


def _every(text: str) -> int:
    name, _, number = text.rpartition("=")
    if name not in ("", "every") or not number.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r}: expected every=N, as in every=10")
    return int(number)
