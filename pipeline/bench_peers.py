"""Other programs beside this one, in one run on one machine, fed with the same frames where they can be.

Each compares what both can do. What only one of them does is said beside the figures, whichever it is.
"""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.bench_plan import Case
from pipeline.bench_run import Measured, measure
from pipeline.crew import Crew
from pipeline.networks import find_networks
from pipeline.plan import Companion
from streamer.errors import AtomstreamError, RunError
from streamer.flag import SharedFlag

__all__ = ["run_peers"]

_SCRIPTS = Path(__file__).parent / "peers"
_ENGINES = {"openvino": "OpenVINO", "torch": "PyTorch"}  # of the plain loop
_LIMIT_S = 180.0
_LOOP_SHARE = 15  # the networks get one of so many frames

Sender = Callable[[Case], Companion]


def run_peers(
    environments: Path,
    base: Case,
    sender_of: Sender,
    folder: Path,
    say: Callable[[str], None],
    n_frames: int = 3000,
) -> list[dict[str, Any]]:
    """Measure every comparison that can be made here.

    Parameters
    ----------
    environments : pathlib.Path
        Folder with the virtual environments ``.venv-merlin`` (LiberTEM-live) and ``.venv-pva`` (PvaPy).
    base : Case
    sender_of : callable
        Makes the process that sends a case's frames.
    folder : pathlib.Path
        On the disk that recordings are measured with.
    say : callable
    n_frames : int
        Of the comparison without networks; that with them takes a fifteenth.

    Returns
    -------
    list of dict
        ``task``, ``program``, ``fps``, ``also`` (what else it did), ``lost`` where frames are numbered;
        or ``missing``: why not run.
    """
    rows: list[dict[str, Any]] = []
    bench = _Comparison(environments, replace(base, rate_hz=0.0, n_frames=n_frames), sender_of, folder)
    for task, comparison in (
        ("every frame of a DECTRIS V1 stream, decompressed", bench.sums),
        ("every frame of a simulated detector, uncompressed, received", bench.frames),
        ("both networks on every frame of a DECTRIS V2 stream", bench.loops),
    ):
        for row in comparison():
            rows.append({"task": task, **row})
            say(f"{task}: {row['program']}: " + (row.get("missing") or f"{row['fps']:,.1f} frames/s"))
    return rows


class _Comparison:
    def __init__(self, environments: Path, base: Case, sender_of: Sender, folder: Path) -> None:
        self._environments, self._sender_of, self._folder = environments, sender_of, folder
        self._base = base

    def sums(self) -> Iterator[dict[str, Any]]:
        """Compare LiberTEM-live's sum over frames with our way to the networks."""
        case = replace(self._base, wire="dectris1", backend="null", batch_frames=1)
        sizes = [str(case.size_px), str(case.n_frames)]
        yield self._foreign("LiberTEM-live, sum over frames", "merlin", "libertem_sum.py", sizes, case,
                            "adds the frames up, in parallel; nothing is recorded")  # fmt: skip
        also = "normalises, measures drift and noise; not recorded"
        yield _ours(self._measured(replace(case, record=False)), "Atomstream, null networks", also)
        also = "does not decompress: records losslessly, with ledger"
        yield _ours(self._measured(replace(case, analyse=False)), "Atomstream, recording", also)

    def frames(self) -> Iterator[dict[str, Any]]:
        """Compare what PvaPy's monitor gets of PvaPy's simulated detector with what we receive of ours."""
        case = replace(self._base, wire="atomstream", compression="none", analyse=False, batch_frames=1)
        sizes = [str(case.size_px), str(case.n_frames)]
        for wanted, offered in (("kept", "without loss"), ("flooded", "all it can make")):
            program = f"PvaPy, ad-sim-server to a monitor, offered {offered}"
            yield self._foreign(program, "pva", "pvapy_frames.py", [*sizes, wanted], None,
                                "pvAccess, its own frames; nothing is recorded")  # fmt: skip
        for one, program, also in (
            (replace(case, record=False), "Atomstream, receiving", "checks each frame; not recorded"),
            (case, "Atomstream, recording", "records losslessly, with ledger"),
        ):
            yield _ours(self._measured(one), program, also)

    def loops(self) -> Iterator[dict[str, Any]]:
        """Compare a plain loop with the whole analysis."""
        n_frames = self._base.n_frames // _LOOP_SHARE
        case = replace(self._base, backend="openvino", batch_frames=1, n_frames=n_frames)
        networks = find_networks(None, "ceria")
        paths = [str(network.path) for network in (networks.denoise, networks.heights)]
        also = "peaks and counts; nothing is recorded, checked or followed"
        for engine, name in _ENGINES.items():
            given = [str(case.size_px), str(case.n_frames), engine, *paths]
            yield self._foreign(f"plain pyzmq + {name} loop", "", "plain_loop.py", given, case, also)
        for one, also in (
            (replace(case, record=False), "counts, drift, tracks, unfamiliarity; not recorded"),
            (case, "the same, frames and results recorded, with ledger"),
        ):
            yield _ours(self._measured(one), "Atomstream", also)

    def _measured(self, case: Case) -> Measured:
        return measure(case, self._sender_of, self._folder, "", 0)

    def _foreign(
        self, program: str, name: str, script: str, given: Sequence[str], case: Case | None, also: str
    ) -> dict[str, Any]:
        """Run another program, fed with a case's frames or by itself; say why where that cannot be done."""
        python = self._python(name)
        if python is None:
            where = self._environments / f".venv-{name}"
            return {"program": program, "missing": f"{where} is not there: see docs/benchmark.md"}
        command = [str(python), str(_SCRIPTS / script)]
        try:
            answer = _run(command, given, self._sender_of(case) if case else None)
        except AtomstreamError as error:
            return {"program": program, "missing": str(error)}
        fps = answer["frames"] / answer["seconds"]
        lost = {"lost": answer["lost"]} if "lost" in answer else {}
        return {"program": program, "fps": fps, **lost, "also": also, "answer": answer}

    def _python(self, name: str) -> Path | None:
        if not name:
            return Path(sys.executable)
        place = "Scripts/python.exe" if sys.platform == "win32" else "bin/python"
        python = self._environments / f".venv-{name}" / place
        return python if python.exists() else None


def _ours(measured: Measured, program: str, also: str) -> dict[str, Any]:
    return {"program": program, "fps": measured.fps, "lost": measured.counts["lost"], "also": also}


def _run(command: Sequence[str], given: Sequence[str], companion: Companion | None) -> dict[str, Any]:
    """Run a script, feed it once it listens if it is to be fed, and return what it prints at the end."""
    with Crew() as crew:
        begin = SharedFlag()
        address = []
        if companion is not None:
            sender = crew.start(companion.name, companion.target, *companion.args, begin)
            address = [sender.wait_ready(_LIMIT_S)["address"]]
        with _process([*command, *address, *given]) as process:
            lines = iter(process.stdout or ())
            for line in lines:
                if line.strip() == "listening":
                    break
            begin.set()
            last = [line for line in lines if line.startswith("{")]
            errors = process.stderr.read() if process.stderr else ""
    if process.returncode or not last:
        why = errors.strip().splitlines()[-1:] or [f"it ended with status {process.returncode}"]
        raise RunError(f"it failed: {why[0]}")
    answer: dict[str, Any] = json.loads(last[-1])
    return answer


@contextmanager
def _process(command: Sequence[str]) -> Iterator["subprocess.Popen[str]"]:
    """Run a program that is killed if it takes too long."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        timer = threading.Timer(_LIMIT_S, process.kill)
        timer.start()
        try:
            yield process
            process.wait()
        finally:
            timer.cancel()
            process.kill()
