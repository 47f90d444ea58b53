"""Turn a checkpoint into the ONNX file that the analysis runs, or ONNX files into TensorRT's engines."""

import argparse
from contextlib import closing
from pathlib import Path

from pipeline.cli.options import frame_size, new_file, run_config
from pipeline.cli.output import print_json, say
from pipeline.cli.parts import load
from streamer.errors import UsageError

HELP = "trained checkpoint to ONNX, or the networks to TensorRT engines"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    parser.add_argument(
        "checkpoint", type=Path, nargs="?", metavar="CHECKPOINT.pt", help="as written by atomstream train"
    )
    parser.add_argument("--out", type=Path, metavar="FILE.onnx", help="must be new")
    group = parser.add_argument_group("engines, built ahead of a run: it takes minutes")
    group.add_argument("--engine", action="store_true", help="build TensorRT's engines of the networks")
    group.add_argument("--config", type=Path, metavar="FILE.toml", help="the run's, for all of the below")
    group.add_argument(
        "--size", type=frame_size, default=(512, 512), metavar="H[xW]", help="frames [px of 0.2 Å]"
    )
    group.add_argument("--batch", type=int, metavar="N", help="frames that the networks take at once")
    group.add_argument("--precision", choices=("f16", "bf16", "f32"), help="default: f16")
    group.add_argument("--material", metavar="NAME", help="ceria (default), gold or gold-columns")
    group.add_argument("--models", metavar="FOLDER", help="ONNX networks (default: the shipped ones)")
    group.add_argument("--denoise-frames", type=int, metavar="N", help="for runs that denoise from N frames")


def run(args: argparse.Namespace) -> int:
    """Export one checkpoint, or build engines."""
    if args.engine:
        return _build_engines(args)
    if args.checkpoint is None or args.out is None:
        raise UsageError("give a checkpoint and --out FILE.onnx, or --engine to build TensorRT's engines")
    if not args.checkpoint.exists():
        raise UsageError(f"there is no checkpoint {args.checkpoint}")
    out = new_file(args.out)
    export = load("training.export", "train")
    path = export.main(export.ExportConfig(checkpoint=str(args.checkpoint), out=str(out)))
    say(f"network in {path}")
    if args.json:
        print_json({"verb": args.verb, "ok": True, "file": str(path)})
    return 0


def _build_engines(args: argparse.Namespace) -> int:
    """Load the networks as a run would, which builds what is missing, and name the files."""
    from pipeline.backends import BatchShape
    from pipeline.backends.registry import make_backend
    from pipeline.particle_networks import networks_of
    from pipeline.tiling import tile_shape

    analysis = run_config(args).analysis
    networks = networks_of(analysis)
    engines = Path(analysis.engines) if analysis.engines else None
    shape = BatchShape(analysis.batch_frames, *tile_shape(args.size))
    with closing(make_backend("tensorrt", networks, 0, analysis.precision, engines)) as backend:
        info = backend.load(shape)
        paths = [str(path) for path in backend.engine_files(shape)]  # type: ignore[attr-defined]
    for path in paths:
        say(f"engine in {path}")
    say(f"for {info.device}, TensorRT {info.version}, {info.precision}, {shape.frames} x {shape.height} x"
        f" {shape.width} px")  # fmt: skip
    if args.json:
        print_json({"verb": args.verb, "ok": True, "files": paths, "device": info.device})
    return 0
