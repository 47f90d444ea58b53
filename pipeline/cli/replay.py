"""Replay a recorded file: into the same analysis as a live stream, or as a stream for others.

Files of this program, DECTRIS masters, NumPy, Merlin and TIA files are read as they are; MRC, TIFF, DM3/DM4,
EMD, HSPY and more with 'pip install atomstream[formats]'. --compare analyses a recorded run again and reports
every difference from the results in its file.
"""

import argparse
import re
import sys
from contextlib import closing
from dataclasses import asdict, replace
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.cli.comparing import compare_again
from pipeline.cli.options import add_analysis, add_config, run_config, run_file
from pipeline.cli.output import print_json, say
from pipeline.cli.running import run_and_report, window_companion
from streamer.errors import UsageError

if TYPE_CHECKING:
    from streamer.files import FileInfo
    from streamer.replay import ReplaySettings

HELP = "replay a recorded file into the analysis, or as a stream"

_SILENCE_S = 30.0  # the sender is our own: longer silence means that it, or its end message, is gone


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    parser.add_argument("file", type=Path, metavar="FILE", help="of a series of images (docs/replay.md)")
    _add_source(parser)
    _add_stream(parser)
    run_options = parser.add_argument_group("run")
    run_options.add_argument("--headless", action="store_true", help="without a window")
    run_options.add_argument(
        "--out", type=Path, metavar="FILE.nxs", help="result file (default: new, in runs/)"
    )
    run_options.add_argument("--no-record", action="store_true", help="analyse and show only; keep nothing")
    run_options.add_argument(
        "--compare", action="store_true", help="analyse a recorded run again and report what differs"
    )
    add_config(parser)
    add_analysis(parser)


def run(args: argparse.Namespace) -> int:
    """Analyse the file's frames again, stream them, or compare."""
    _expect_one_purpose(args)
    settings, info = _settings(args)
    for note in info.notes:
        say(f"{info.path}: {note}")
    say(_about(info, settings))
    if args.to:
        return _stream(args, settings, info)
    return compare_again(args, settings) if args.compare else _analyse(args, settings, info)


def _add_source(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("file")
    group.add_argument("--frames", type=_frame_range, metavar="A:B", help="frames A to B - 1, counted from 0")
    group.add_argument(
        "--format", default="", metavar="READER",
        help="where the extension is not enough: atomstream, dectris, mrc, tiff, npy, mib, ser, or one of"
        " rosettasciio's readers",
    )  # fmt: skip
    group.add_argument(
        "--dataset", default="", metavar="NAME",
        help="where a file has several: a DECTRIS channel, or an image's title or number",
    )  # fmt: skip
    group.add_argument(
        "--pixel-size-A", "--pixel-size", dest="pixel_size", type=float, metavar="Å",
        help="pixel size at the specimen [Å] (default: the file's)",
    )  # fmt: skip
    group.add_argument(
        "--scale", type=float, default=1.0, metavar="COUNTS_PER_UNIT",
        help="counts of one stored unit: counts = (stored - offset) * scale (default: 1)",
    )  # fmt: skip
    group.add_argument(
        "--offset", type=float, default=0.0, metavar="VALUE", help="stored value of no counts (default: 0)"
    )


def _add_stream(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("stream")
    group.add_argument(
        "--fps", type=float, metavar="F",
        help="frames a second (default: as recorded; 0: as fast as they are taken)",
    )  # fmt: skip
    group.add_argument(
        "--loop", type=int, default=1, metavar="N", help="how often (default: once; 0: until stopped)"
    )
    group.add_argument("--to", metavar="tcp://HOST:PORT", help="stream from this address, do not analyse")
    group.add_argument("--connect", action="store_true", help="--to is a receiver that has bound")
    group.add_argument(
        "--wire", choices=("atomstream", "dectris2", "dectris1"), default="atomstream",
        help="the stream's format (default: atomstream)",
    )  # fmt: skip
    group.add_argument(
        "--compression", choices=("bslz4", "lz4", "none"), default="bslz4",
        help="of frames that are not stored as a stream's payloads (default: bslz4)",
    )  # fmt: skip


def _frame_range(text: str) -> tuple[int, int | None]:
    found = re.fullmatch(r"(\d*):(\d*)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r}: expected A:B, as in 100:200, 100: or :200")
    return int(found[1] or 0), int(found[2]) if found[2] else None


def _expect_one_purpose(args: argparse.Namespace) -> None:
    if args.fps is not None and not (isfinite(args.fps) and args.fps >= 0):
        raise UsageError(f"--fps {args.fps:g}: expected 0 or more")
    if args.loop < 0:
        raise UsageError(f"--loop {args.loop}: expected 0 or more")
    if args.pixel_size is not None and not (isfinite(args.pixel_size) and args.pixel_size > 0):
        raise UsageError(f"--pixel-size-A {args.pixel_size:g}: expected more than 0")
    if not (isfinite(args.scale) and args.scale > 0 and isfinite(args.offset)):
        raise UsageError(f"--scale {args.scale:g} --offset {args.offset:g}: expected a scale above 0")
    if args.connect and not args.to:
        raise UsageError("--connect is for --to")
    if args.to and (args.out or args.no_record or args.compare):
        raise UsageError("--to streams and does nothing else: leave out --out, --no-record and --compare")
    if args.no_record and (args.out or args.compare):
        raise UsageError("--no-record excludes --out and --compare")
    if args.compare and (args.frames or args.loop != 1 or args.scale != 1 or args.offset or args.pixel_size):
        raise UsageError(
            "--compare repeats the recorded run: leave out --frames, --loop, --scale, --pixel-size-A"
        )


def _settings(args: argparse.Namespace) -> tuple["ReplaySettings", "FileInfo"]:
    """Open the file, choose its frames, and check with the first that it can be replayed so."""
    from streamer.files import Scaling, expect_harmless, open_file
    from streamer.records import Compression
    from streamer.replay import ReplaySettings, expect_replayable
    from streamer.sources import Scheme

    settings = ReplaySettings(
        path=str(args.file),
        format=args.format,
        dataset=args.dataset,
        loops=args.loop,
        rate_hz=0.0 if args.compare and args.fps is None else args.fps,
        scaling=Scaling(args.scale, args.offset),
        pixel_size_A=args.pixel_size,
        scheme=Scheme(args.wire),
        compression=Compression(args.compression),
        connect=args.connect,
        **_leaving(args),
    )
    expect_harmless(args.file, args.format, args.dataset)
    with closing(open_file(args.file, args.format, args.dataset)) as file:
        settings = replace(settings, frames=_selected(args.frames, file.info))
        expect_replayable(file, settings)
        return settings, file.info


def _leaving(args: argparse.Namespace) -> dict[str, Any]:
    """Return the settings of a stream that leaves this program; another stays on this machine."""
    if not args.to:
        return {}
    config = run_config(args)
    return {
        "address": args.to,
        "security": config.security,
        "server_key": config.source.server_key,
        "connect_timeout_s": config.source.connect_timeout_s,
    }


def _selected(wanted: tuple[int, int | None] | None, info: "FileInfo") -> range:
    first, stop = wanted or (0, None)
    stop = info.n_frames if stop is None else stop
    if not first < stop <= info.n_frames:
        raise UsageError(f"--frames {first}:{stop}: {info.path} has the frames 0:{info.n_frames}")
    return range(first, stop)


def _about(info: "FileInfo", settings: "ReplaySettings") -> str:
    """Say what the file is and where its calibrations come from."""
    height, width = info.shape
    size = f"{info.n_frames:,} frames of {height} x {width} px, {info.dtype.name}"
    if settings.pixel_size_A is not None:
        pixel = f"pixel size {settings.pixel_size_A:g} Å as given"
    elif info.pixel_size_A is not None:
        pixel = f"pixel size {info.pixel_size_A:.4g} Å from {info.pixel_size_from}"
    else:
        pixel = f"no pixel size ({info.pixel_size_from})"
    if info.frame_time_s is not None:
        time = f"frame time {info.frame_time_s:.4g} s from {info.frame_time_from}"
    else:
        time = f"no frame time ({info.frame_time_from})"
    return f"{info.path} ({info.format}): {size}; {pixel}; {time}"


def _analyse(args: argparse.Namespace, settings: "ReplaySettings", info: "FileInfo") -> int:
    from pipeline.plan import Companion, RunPlan
    from streamer.replay import run_replay

    config = run_config(args)
    _expect_pixel_size(config.source.pixel_size_A or info.pixel_size_A, config.analysis.backend, info)
    out = "" if args.no_record else str(run_file("replay", args.out, config.record.path))
    say(f"recording to {out}" if out else "nothing is recorded")
    config = run_config(
        args,
        source__frame_px=info.shape,
        source__pixel_size_A=config.source.pixel_size_A or info.pixel_size_A,
        record__path=out,
        **_patience(config.ingest.idle_timeout_s, info, settings),
    )
    plan = RunPlan(
        config=config,
        say=say,
        sender=Companion(run_replay, (settings,)),
        window=window_companion(args.headless, config.security),
        ends_with_window=settings.loops == 0,
    )
    return run_and_report(args, plan)


def _expect_pixel_size(pixel_size_A: float | None, backend: str, info: "FileInfo") -> None:
    if pixel_size_A is None and backend != "null":
        raise UsageError(
            f"{info.path} does not say how large a pixel is at the specimen ({info.pixel_size_from}):"
            " give --pixel-size-A"
        )


def _patience(configured_s: float, info: "FileInfo", settings: "ReplaySettings") -> dict[str, Any]:
    """Return when the run ends: with its only series, or a silence longer than any between two frames."""
    from streamer.replay import rate_of

    rate_hz = rate_of(info, settings)
    silence_s = configured_s or _SILENCE_S + (1 / rate_hz if rate_hz else 0.0)
    return {"ingest__idle_timeout_s": silence_s, "ingest__continuous": False}


def _stream(args: argparse.Namespace, settings: "ReplaySettings", info: "FileInfo") -> int:
    from tqdm import tqdm

    from pipeline.signals import StopSignals
    from streamer.replay import stream_file

    planned = len(settings.frames or range(info.n_frames)) * settings.loops
    with (
        StopSignals() as signals,
        tqdm(total=planned or None, unit="frame", leave=False, disable=None, file=sys.stderr) as bar,
    ):
        sent = stream_file(
            settings, signals.is_set, lambda address: say(f"sending from {address}"), bar.update
        )
    say(f"sent {sent.frames:,} frames, {sent.as_stored:,} of them as stored; {sent.late:,} were late")
    for damage in sent.damage:
        say(damage)
    if sent.unreadable:
        say(f"{sent.unreadable:,} frames could not be read and are missing from the stream")
    ok = not sent.unreadable
    if args.json:
        print_json({"verb": args.verb, "ok": ok, "interrupted": signals.requested, **asdict(sent)})
    return 0 if ok else 1
