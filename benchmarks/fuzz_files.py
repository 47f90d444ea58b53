"""Damaged files against every reader: no crash, no hang, no memory far above their size, no invented frames.

A session damages one small sound file (`benchmarks.file_samples`, `benchmarks.file_damage`) and reads it as
`atomstream replay` does. The file must be refused, or a frame be named as damaged, in one line; a frame that
is read must not consist of one value, as what HDF5 makes up for missing data does. Sessions run in a child
process, whose memory is limited where the system can do that (Linux), so that a crash of a library is seen
too. Everything in a session follows from its target and number, so that a finding can be repeated:

    python -m benchmarks.fuzz_files --seconds 600 --write
    python -m benchmarks.fuzz_files --target "dectris modules" --session 1234
"""

import argparse
import json
import multiprocessing
import random
import shutil
import sys
import tempfile
import time
import tracemalloc
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.file_damage import damage
from benchmarks.file_samples import SAMPLES, Frames, frames_of, why_not, write_sample
from streamer.compression import decode
from streamer.errors import FileReadError, PayloadError, UsageError
from streamer.files import FrameFile, expect_harmless, open_file, to_counts
from streamer.records import Frame, FrameHeader, SeriesKey
from streamer.replay import ReplaySettings, expect_replayable

MOST_ALLOCATED_BYTES = 64 * 2**20  # by Python and NumPy, where the files have some kilobytes
MOST_MEMORY_BYTES = 768 * 2**20  # address space beyond what the libraries take when they are loaded
MOST_FRAMES = 20  # are read of a file that has more
START_S = 180.0  # libraries are loaded meanwhile, perhaps on a busy machine
HANG_S = 20.0  # of a session, which takes some milliseconds
LONGEST_LINE = 1500
SOUND, DAMAGED = "sound", "damaged"
KEY = SeriesKey(1, "fuzz")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that must not happen."""

    target: str
    session: int
    what: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a session: of how many frames or files what; what was done to the file; what is wrong."""

    outcomes: Counter[str]
    done: str = ""
    wrong: str = ""


class Reader:
    """A child process that damages and reads files, started anew after a crash or a hang."""

    def __init__(self, target: str, folder: Path, name: Path) -> None:
        self._task = (target, folder, name)
        self._context = multiprocessing.get_context("spawn")
        self._start()

    def ask(self, session: int) -> Answer:
        """Run one session."""
        self._connection.send(session)
        try:
            if self._connection.poll(HANG_S):
                answer: Answer = self._connection.recv()
                return answer
            what = f"no answer within {HANG_S:g} s"
        except (EOFError, ConnectionError):
            self._process.join()
            what = f"the process ended with status {self._process.exitcode}"
        self.close()
        self._start()
        return self._probed(what)

    def _probed(self, what: str) -> Answer:
        """Ask whether the command, which tries HDF5 files in another process first, would have noticed."""
        _, folder, name = self._task
        try:
            expect_harmless(folder / DAMAGED / name, limit_s=HANG_S)
        except UsageError:
            return Answer(Counter({"UsageError of the probe": 1}), what)
        return Answer(Counter(), wrong=what)

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.kill()
        self._process.join()

    def _start(self) -> None:
        self._connection, theirs = self._context.Pipe()
        self._process = self._context.Process(target=_serve, args=(theirs, *self._task), daemon=True)
        self._process.start()
        theirs.close()
        if not self._connection.poll(START_S) or self._connection.recv() is not None:
            raise RuntimeError(f"no process that reads {self._task[0]} within {START_S:g} s")


def run(
    target: str, sessions: Iterator[int], seconds: float = float("inf"), show: bool = False
) -> tuple[Counter[str], list[Finding]]:
    """Run sessions until there are no more, or the time [s] is up; return outcomes and findings."""
    outcomes: Counter[str] = Counter()
    findings: list[Finding] = []
    deadline = time.monotonic() + seconds
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="atomstream-fuzz-")))
        name = write_sample(target, _made(folder / SOUND)).relative_to(folder / SOUND)
        reader = stack.enter_context(closing(Reader(target, folder, name)))
        for session in sessions:
            answer = reader.ask(session)
            outcomes.update(answer.outcomes)
            outcomes["sessions"] += 1
            if show:
                print(f"{answer.done}: {dict(answer.outcomes)}", file=sys.stderr)
            if answer.wrong:
                findings.append(Finding(target, session, f"{answer.wrong} [{answer.done}]"))
            if time.monotonic() > deadline:
                break
    return outcomes, findings


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _serve(connection: Connection, target: str, folder: Path, name: Path) -> None:
    """Answer sessions until the other end is closed: the child process."""
    warnings.simplefilter("error")
    frames, outcomes = frames_of(target), Counter[str]()
    _read(folder / SOUND / name, frames, outcomes)  # loads the libraries before memory is limited
    if outcomes != {"frame: sound": len(frames)}:
        raise RuntimeError(f"the sound file of {target} is read as {outcomes}")
    _limit_memory()
    tracemalloc.start()
    connection.send(None)  # ready
    while True:
        try:
            session = connection.recv()
        except EOFError:
            return
        connection.send(_session(folder, name, frames, f"{target} {session}"))


def _limit_memory() -> None:
    if sys.platform != "linux":
        return
    import resource

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MOST_MEMORY_BYTES,) * 2)


def _session(folder: Path, name: Path, frames: Frames, seed: str) -> Answer:
    rng = random.Random(seed)
    sound, damaged = folder / SOUND, folder / DAMAGED
    shutil.rmtree(damaged, ignore_errors=True)
    shutil.copytree(sound, damaged)
    done = damage(damaged, rng)
    tracemalloc.clear_traces()
    outcomes: Counter[str] = Counter()
    try:
        _read(damaged / name, frames, outcomes)
    except (UsageError, FileReadError) as error:
        outcomes[type(error).__name__] += 1
        return Answer(outcomes, f"{done} -> {error}", _bad_text(str(error), damaged) or _memory())
    except BaseException as error:
        import traceback

        where = traceback.extract_tb(error.__traceback__)
        own = [f"{Path(f.filename).name}:{f.lineno}" for f in where if "streamer" in f.filename]
        return Answer(outcomes, done, f"{type(error).__name__}: {error} at {own} {where[-1]}")
    return Answer(outcomes, done, _invented(outcomes) or _memory())


def _read(path: Path, sound: Frames, outcomes: Counter[str]) -> None:
    """Read a file as replay does; count what came of each frame."""
    settings = ReplaySettings(path=str(path), rate_hz=0.0)
    with closing(open_file(path)) as file:
        expect_replayable(file, settings)
        for index in range(min(file.info.n_frames, MOST_FRAMES)):
            try:
                image = _counts(file, index)
            except (FileReadError, PayloadError, UsageError) as error:
                outcomes[f"frame: {type(error).__name__}"] += 1
                if "\n" in str(error):
                    outcomes[f"frame: several lines: {error}"] += 1
                continue
            kind = _kind(image, index, sound, path.parent, file.info.dtype)
            outcomes["frame: said to be zeros" if "zeros" in str(file.info.notes) else kind] += 1


def _kind(image: Frames, index: int, sound: Frames, folder: Path, stored: np.dtype[Any]) -> str:
    if index < len(sound) and image.shape == sound[index].shape and (image == sound[index]).all():
        return "frame: sound"
    if image.size > 16 and (image == image.flat[0]).all() and not _stored_so(image, folder, stored):
        return f"frame: all {image.flat[0]}"
    return "frame: other pixels"


def _stored_so(image: Frames, folder: Path, stored: np.dtype[Any]) -> bool:
    """Whether pixels of one value stand so in one of the files: then nobody has invented them."""
    pixels = image.astype(stored)
    both = (pixels.tobytes(), pixels.byteswap().tobytes())
    files = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    return any(each in data for each in both for data in files)


def _counts(file: FrameFile, index: int) -> Any:
    info = file.info
    chunk = file.chunk(index)
    if chunk is None:
        return to_counts(file.frame(index), index, largest_is_no_data=info.largest_is_no_data)
    header = FrameHeader(KEY, index, info.shape, info.dtype, chunk[0])
    return decode(Frame(header, chunk[1]))


def _bad_text(text: str, folder: Path) -> str:
    if "\n" in text or len(text) > LONGEST_LINE:
        return f"a message of {len(text)} characters, {text.count(chr(10)) + 1} lines: {text[:300]!r}"
    return ""


def _invented(outcomes: Counter[str]) -> str:
    bad = [name for name in outcomes if name.startswith(("frame: all", "frame: several"))]
    return f"{bad[0]} ({outcomes[bad[0]]})" if bad else ""


def _memory() -> str:
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    return f"{peak} bytes were allocated" if peak > MOST_ALLOCATED_BYTES else ""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fuzz_files", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="for all targets together")
    parser.add_argument("--target", choices=SAMPLES, help="only this kind of file")
    parser.add_argument("--first", type=int, default=0, help="number of the first session")
    parser.add_argument("--session", type=int, help="repeat this session alone, and show it")
    parser.add_argument("--write", action="store_true", help="keep the report in results/fuzz-files-….json")
    chosen = parser.parse_args(arguments)
    targets = (chosen.target,) if chosen.target else tuple(name for name in SAMPLES if not why_not(name))
    left_out = [why for name in SAMPLES if (why := why_not(name))]
    print("".join(f"left out: {why}\n" for why in left_out), end="", file=sys.stderr)
    report: dict[str, Any] = {}
    ok = True
    for target in targets:
        sessions = count(chosen.first) if chosen.session is None else iter([chosen.session])
        outcomes, findings = run(
            target, sessions, chosen.seconds / len(targets), show=chosen.session is not None
        )
        ok = ok and not findings
        report[target] = {
            "sessions": outcomes.pop("sessions", 0),
            "outcomes": dict(outcomes.most_common()),
            "findings": len(findings),
        }
        for finding in findings[:200]:
            print(f"{finding.target}, session {finding.session}: {finding.what}", file=sys.stderr)
    results = {"ok": ok, "seconds": chosen.seconds, "first": chosen.first, "targets": report}
    if chosen.write:
        from benchmarks.common import describe_machine, write_results

        print(write_results("fuzz-files", {"machine": describe_machine(), **results}), file=sys.stderr)
    print(json.dumps(results, indent=1))
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
