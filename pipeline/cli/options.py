"""Options that several verbs share, and the run's configuration that they make.

An option that is given wins over the configuration file, and that over the defaults; so every option's own
default is None. Values are checked where the file's are, by `streamer.config`.
"""

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamer.errors import UsageError

if TYPE_CHECKING:
    from streamer.config import RunConfig

__all__ = ["add_analysis", "add_source", "add_stream", "new_file", "run_config", "run_file"]

RUNS = Path("runs")

_PLACES = {
    "source": ("source", "address"),
    "channel": ("source", "channel"),
    "pixel_size": ("source", "pixel_size_A"),
    "connect_timeout_s": ("source", "connect_timeout_s"),
    "idle_timeout_s": ("ingest", "idle_timeout_s"),
    "maps": ("record", "maps_every"),
    "backend": ("analysis", "backend"),
    "policy": ("analysis", "policy"),
    "every": ("analysis", "every"),
    "precision": ("analysis", "precision"),
    "models": ("analysis", "models"),
    "batch": ("analysis", "batch_frames"),
    "max_wait_ms": ("analysis", "max_wait_ms"),
    "threads": ("analysis", "threads"),
    "analysers": ("analysis", "analysers"),
    "view": ("view", "bind"),
}
"""Where the value of each option belongs in the configuration."""


def add_source(parser: argparse.ArgumentParser) -> None:
    """Add what tells a run where its frames come from."""
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="dectris2://HOST:31001, dectris1://HOST:9999 or atomstream://HOST:PORT",
    )
    parser.add_argument("--channel", help="a detector's threshold (default: its first)")
    parser.add_argument(
        "--pixel-size-A", "--pixel-size", dest="pixel_size", type=float, metavar="Å",
        help="pixel size at the specimen [Å] (default: what the stream says)",
    )  # fmt: skip
    parser.add_argument(
        "--connect-timeout-s", type=float, metavar="S", help="how long to wait for the source"
    )
    parser.add_argument(
        "--idle-timeout-s", type=float, metavar="S", help="end the run after this silence (default: never)"
    )
    add_config(parser)


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add the configuration file and the view's address."""
    parser.add_argument("--config", type=Path, metavar="FILE.toml", help="options win over it")
    parser.add_argument("--view", metavar="ADDRESS", help="for windows (default: a free local port)")


def add_analysis(parser: argparse.ArgumentParser) -> None:
    """Add how frames are analysed."""
    group = parser.add_argument_group("analysis")
    group.add_argument("--policy", choices=("wait", "latest"), help="analyse every frame, or the newest")
    group.add_argument("--every", type=int, metavar="N", help="analyse every n-th frame only")
    group.add_argument("--backend", choices=("auto", "tensorrt", "torch", "openvino", "null"))
    group.add_argument(
        "--precision", choices=("f16", "bf16", "f32"), help="default: the backend's own choice"
    )
    group.add_argument("--models", metavar="FOLDER", help="ONNX networks (default: the shipped ones)")
    group.add_argument("--batch", type=int, metavar="N", help="frames that the networks take at once")
    group.add_argument("--max-wait-ms", type=float, metavar="MS", help="a batch waits this long to fill")
    group.add_argument("--threads", type=int, metavar="N", help="CPU threads of the networks")
    group.add_argument("--analysers", type=int, metavar="N", help="analysing processes")
    group.add_argument("--maps", type=_every, metavar="every=N", help="store maps of every n-th frame")


def add_stream(parser: argparse.ArgumentParser) -> None:
    """Add what the simulated movie shows and how it is sent."""
    group = parser.add_argument_group("simulated movie")
    group.add_argument("--fps", type=float, default=15.0, metavar="F", help="frames a second (default: 15)")
    group.add_argument("--size", type=int, default=512, metavar="PX", help="side of a frame (default: 512)")
    group.add_argument("--dose", type=float, default=300.0, metavar="D", help="e/Å² a frame (default: 300)")
    group.add_argument("--seed", type=int, default=1, metavar="N", help="another seed, another movie")
    group.add_argument("--detector", choices=("counting", "integrating"), default="counting")
    group.add_argument(
        "--wire", choices=("dectris2", "dectris1", "atomstream"), default="dectris2", help="stream format"
    )
    group.add_argument("--compression", choices=("bslz4", "lz4", "none"), default="bslz4")
    group.add_argument("--fault", default="", metavar="drop=0.01,…", help="faults to inject on the way")


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
        If a value is out of range; the message names it.
    """
    import msgspec

    from streamer.config import RunConfig, load_config

    config = load_config(args.config) if getattr(args, "config", None) else RunConfig()
    values = msgspec.to_builtins(config)
    for option, (section, name) in _PLACES.items():
        if getattr(args, option, None) is not None:
            values[section][name] = getattr(args, option)
    for place, value in more.items():
        section, _, name = place.partition("__")
        values[section][name] = value
    try:
        return msgspec.convert(values, RunConfig)
    except msgspec.ValidationError as error:
        raise UsageError(f"wrong option: {error}") from error


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


def _every(text: str) -> int:
    name, _, number = text.rpartition("=")
    if name not in ("", "every") or not number.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r}: expected every=N, as in every=10")
    return int(number)
