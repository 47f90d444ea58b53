"""Checking and repairing result files: what is wrong is found, what can be mended is."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest

from pipeline.cli import main
from streamer.check import check_file, repair
from streamer.config import AnalysisConfig, RecordConfig
from streamer.errors import FileReadError, UsageError
from streamer.losses import analysis_losses
from streamer.records import FrameFailure, FrameStatus, Policy
from streamer.result_tables import Asked, open_result, read_tables
from streamer.superblock import clear_marks, is_marked_open, lookup3
from tests.streamer.ingest_run import SHAPE, image_of, record, result_of, running, series_of

N = 12


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A good file: twelve frames, each analysed."""
    path = tmp_path_factory.mktemp("recorded") / "run.nxs"
    with running(path, AnalysisConfig(queue_frames=N)) as (detector, run, analyser):
        end = analyser()
        detector.send(*series_of(range(N), N))
        for _ in range(N):
            end.answer(result_of(end.next_task()))
        run.finish()
    return path.read_bytes()


@pytest.fixture
def path(recorded: bytes, tmp_path: Path) -> Path:
    (tmp_path / "run.nxs").write_bytes(recorded)
    return tmp_path / "run.nxs"


def _change(path: Path, change: Callable[[h5py.File], None]) -> None:
    with h5py.File(path, "r+", libver=("v110", "v110")) as file:
        change(file)


def _set(name: str, row: int, value: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        file[name][row] = value

    return change


def _cut(*names: str) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        for name in names:
            file[name].resize(file[name].shape[0] - 3, axis=0)
        file["entry/process/state"][()] = b"recording"

    return change


def test_a_good_file_passes(path: Path) -> None:
    steps: list[tuple[int, int]] = []
    report = check_file(path, lambda done, total: steps.append((done, total)))
    assert report.ok
    assert steps == [(i + 1, N) for i in range(N)]
    assert report.to_dict()["ok"] is True


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (_set("entry/ledger/frame_id", 4, 7), "not consecutive"),
        (_set("entry/ledger/status", 4, FrameStatus.MISSING), "in the stack and called missing"),
        (_set("entry/ledger/status", 4, FrameStatus.RECORDED), "have a result and are not analysed"),
        (_set("entry/ledger/stack_row", 4, -1), "refers to 11 rows of the stack, which has 12"),
        (_set("entry/ledger/stack_row", 4, 5), "refers to 12 rows of the stack"),
        (_set("entry/ledger/result_row", 4, -1), "called analysed and have no result"),
        (_set("entry/ledger/result_row", 4, 5), "refers to 12 rows of the summary"),
        (_set("entry/stack/indices_image", 4, 40), "frames of the stack have other ids"),
        (_set("entry/summary/frame_id", 4, 40), "frames of the summary have other ids"),
        (_set("entry/summary/n_columns", 4, 9), "first_row does not fit"),
        (_set("entry/columns/frame_id", 4, 40), "columns belong to other frames"),
        (_set("entry/summary/n_particles", 4, 9), "particles/first_row does not fit"),
        (_set("entry/particles/first_row", 4, 9), "particles/first_row does not fit"),
        (_set("entry/particles/frame_id", 4, 40), "particles belong to other frames"),
        (_set("entry/process/counters/skipped", (), 3), "3 frames skipped by the counters, 0 by the ledger"),
        (_set("entry/process/counters/unrecorded", (), 2), "received 12 is not recorded + named losses, 14"),
        (_set("entry/process/counters/missing", (), -1), "planned 12 is more than received + missing, 11"),
        (_set("entry/ledger/status", 4, FrameStatus.DAMAGED), "called damaged and nothing says why"),
    ],
)
def test_a_contradiction_is_found(path: Path, change: Callable[[h5py.File], None], problem: str) -> None:
    _change(path, change)
    report = check_file(path)
    assert not report.ok
    assert any(problem in found for found in report.problems), report.problems


def test_a_frame_that_does_not_decode_is_named(path: Path) -> None:
    def damage(file: h5py.File) -> None:
        dataset = file["entry/stack/intensity"]
        chunk = bytearray(dataset.id.read_direct_chunk((5, 0, 0))[1])
        dataset.id.write_direct_chunk((5, 0, 0), bytes(chunk[: len(chunk) // 2]))

    _change(path, damage)
    report = check_file(path)
    assert (report.decoded, report.lost) == (N - 1, 1)
    assert report.problems[0].startswith("frame 5: ")


def test_a_frame_lost_in_the_analysis_is_named_and_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tqdm.tqdm.monitor_interval", 0)  # its thread would outlive the test
    path = tmp_path / "run.nxs"
    with running(path, AnalysisConfig(queue_frames=N)) as (detector, run, analyser):
        end = analyser()
        detector.send(*series_of([0, 1, 2, 3, 5], 6))
        for task in [end.next_task() for _ in range(5)]:
            header = task.frame.header
            failed = FrameFailure.of(header, "backend: NaN in the answer of column-height")
            end.answer(failed if header.frame_id in (1, 2) else result_of(task))
        assert run.finish()["lost"] == 3
    assert main(["check", str(path), "--json"]) == 1
    out, page = capsys.readouterr()
    report = json.loads(out)
    assert (report["ok"], report["lost"], report["analysis_lost"], report["problems"]) == (False, 3, 2, [])
    assert report["losses"][1] == {
        "n_frames": 2, "status": "damaged", "reason": "backend: NaN in the answer of column-height",
        "frame_ids": "1-2", "lost": True,
    }  # fmt: skip
    assert "ids       6 = received 5 + missing 1   planned 6" in page
    assert "received  5 = recorded 5 + damaged on arrival 0" in page
    assert "recorded  5 = analysed 3 + skipped by policy 0 + lost in the analysis 2" in page
    assert "lost      2  damaged  backend: NaN in the answer of column-height  1-2" in page
    assert "the file is whole; lost: 3 frames, 2 of them in the analysis" in page


@pytest.mark.parametrize(
    ("asked", "state", "lost"),
    [
        (Asked(enabled=True, policy=Policy.WAIT), "complete", {3, 4, 5, 6, 7}),
        (Asked(enabled=True, policy=Policy.WAIT), "stopped", {3, 6, 7}),
        (Asked(enabled=True, policy=Policy.LATEST), "complete", {3, 6, 7}),
        (Asked(enabled=True, policy=Policy.WAIT, every=2), "complete", {3, 4, 6}),
        (Asked(enabled=False), "complete", {3}),
    ],
)
def test_what_was_lost_in_the_analysis_depends_on_what_was_asked_for(
    path: Path, asked: Asked, state: str, lost: set[int]
) -> None:
    with open_result(path) as file:
        tables = read_tables(file)
    assert tables.asked == Asked(enabled=True, policy=Policy.WAIT)
    ledger = {name: column.copy() for name, column in tables.ledger.items()}
    ledger["status"][3] = FrameStatus.DAMAGED
    ledger["status"][4:6] = FrameStatus.SKIPPED
    ledger["status"][6:8] = FrameStatus.RECORDED
    ledger["status"][8], ledger["stack_row"][8] = FrameStatus.DAMAGED, -1
    changed = replace(tables, ledger=ledger, asked=asked, state=state)
    assert set(np.flatnonzero(analysis_losses(changed)).tolist()) == lost


def test_reasons_that_differ_in_numbers_only_are_one_line(path: Path) -> None:
    def damage(file: h5py.File) -> None:
        for i in (2, 3, 7):
            file["entry/ledger/status"][i] = FrameStatus.DAMAGED
            file["entry/ledger/reason"][i] = (
                f"damaged payload: frame {i}: the lz4 payload of {9**i} bytes (decl"[:63]
            )
        file["entry/ledger/status"][5], file["entry/ledger/reason"][5] = FrameStatus.DAMAGED, b"backend: NaN"

    _change(path, damage)
    assert list(map(str, check_file(path).losses)) == [
        "3 damaged (damaged payload: frame #: the lz4 payload of # bytes (dec): 2-3, 7",
        "1 damaged (backend: NaN): 5",
    ]


def test_a_map_that_does_not_decode_is_named(tmp_path: Path) -> None:
    path = tmp_path / "run.nxs"
    maps = np.ones(SHAPE, np.float16)
    record_maps = RecordConfig(maps_every=1)
    with running(path, AnalysisConfig(), record=record_maps) as (detector, run, analyser):
        end = analyser()
        detector.send(*series_of(range(2), 2))
        for _ in range(2):
            end.answer(result_of(end.next_task(), denoised=maps, atom_count=maps))
        run.finish()
    assert check_file(path).ok
    _change(path, lambda file: file["entry/maps/denoised"].id.write_direct_chunk((1, 0, 0), bytes(40)))
    assert check_file(path).problems[0].startswith("map denoised in row 1 cannot be read")


def test_a_wrong_checksum_is_found_where_a_copy_has_them(path: Path) -> None:
    """As h5repack adds them; what a detector sends has none."""

    def add_checksums(file: h5py.File) -> None:
        frames, name = file["entry/stack/intensity"][:], file["entry/stack"]["intensity"].name
        del file[name]
        file.create_dataset(
            name, data=frames, chunks=(1, *SHAPE), fletcher32=True, **hdf5plugin.Bitshuffle(cname="lz4")
        )

    def flip_a_bit(file: h5py.File) -> None:
        dataset = file["entry/stack/intensity"].id
        mask, chunk = dataset.read_direct_chunk((3, 0, 0))
        dataset.write_direct_chunk((3, 0, 0), chunk[:-1] + bytes([chunk[-1] ^ 1]), mask)

    _change(path, add_checksums)
    assert check_file(path).ok
    _change(path, flip_a_bit)
    report = check_file(path)
    assert (report.lost, report.decoded) == (1, N - 1)
    assert report.problems[0].startswith("frame 3: ")


@pytest.mark.parametrize(
    "names",
    [
        ("entry/ledger/status", "entry/ledger/reason", "entry/ledger/result_row"),
        ("entry/stack/intensity",),
        ("entry/stack/intensity", "entry/stack/time"),
        ("entry/summary/drift", "entry/columns/first_row"),
        ("entry/columns/x",),
        ("entry/particles/size",),
        ("entry/particles/first_row", "entry/columns/y"),
        ("entry/summary/n_particles", "entry/particles/outline"),
        ("entry/ledger/frame_id", "entry/stack/intensity", "entry/columns/y"),
    ],
    ids=lambda names: " ".join(name.rpartition("/")[2] for name in names),
)
def test_tables_of_uneven_length_are_made_to_agree(path: Path, names: tuple[str, ...]) -> None:
    """As a crash between the flushes of two columns leaves them."""
    _change(path, _cut(*names))
    assert not check_file(path).ok
    report = repair(path)
    assert report.problems == ()
    assert (report.rows, report.state) == (N, "repaired")
    n_frames = N - 3 if "entry/stack/intensity" in names else N
    assert (report.recorded, report.missing) == (n_frames, N - n_frames)
    if n_frames < N:
        assert f"{N - n_frames} missing (lost when the recording was killed): 9-11" in map(str, report.losses)
    with h5py.File(path) as file:
        for row in range(n_frames):
            np.testing.assert_array_equal(file["entry/stack/intensity"][row], image_of(row))


def test_a_mended_file_is_not_called_whole(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came after the last flush left no trace in it."""
    monkeypatch.setattr("tqdm.tqdm.monitor_interval", 0)  # its thread would outlive the test
    _change(path, _cut("entry/columns/x"))
    assert main(["check", str(path)]) == 1
    assert main(["check", str(path), "--repair"]) == 1, "the last frame's result is lost"
    assert "whole as far as its killed writer had flushed it; lost: 1 frames" in capsys.readouterr().out


def test_a_closed_file_is_left_alone_by_repair(path: Path, recorded: bytes) -> None:
    assert repair(path).ok
    assert path.read_bytes() == recorded


def test_marks_of_a_dead_writer_are_cleared_as_h5clear_does(path: Path, recorded: bytes) -> None:
    head = bytearray(recorded[:44])
    head[11] = 5  # open for writing, and for SWMR
    path.write_bytes(bytes(head) + lookup3(bytes(head)).to_bytes(4, "little") + recorded[48:])
    assert is_marked_open(path)
    with pytest.raises(OSError, match="already open"):
        h5py.File(path, "r")
    clear_marks(path)
    assert not is_marked_open(path)
    assert path.read_bytes() == recorded


@pytest.mark.parametrize(
    ("data", "expected"), [(b"", 0xDEADBEEF), (b"Four score and seven years ago", 0x17770551)]
)
def test_the_checksum_is_lookup3(data: bytes, expected: int) -> None:
    """The values that lookup3.c gives for its own examples."""
    assert lookup3(data) == expected


@pytest.mark.parametrize(
    "content", [b"", b"no HDF5", b"\x89HDF\r\n\x1a\n", b"\x89HDF\r\n\x1a\n" + bytes(100)]
)
def test_what_is_no_result_file_is_one_clear_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "other.nxs").write_bytes(content)
    for action in (check_file, repair):
        with pytest.raises(UsageError, match=r"other\.nxs"):
            action(tmp_path / "other.nxs")
    with pytest.raises(UsageError, match="cannot read"):
        check_file(tmp_path / "none.nxs")


@pytest.mark.parametrize(
    "name",
    [
        "/entry",
        "/entry/ledger/status",
        "/entry/changes",
        "/entry/columns/y",
        "/entry/process/counters/missing",
    ],
)
def test_a_damaged_header_is_named_and_not_read_for_ever(path: Path, name: str) -> None:
    with h5py.File(path, "r") as file:
        at = h5py.h5o.get_info(file[name].id).addr
    content = bytearray(path.read_bytes())
    content[at + 16] ^= 0xFF  # of what its checksum covers
    path.write_bytes(content)
    with pytest.raises(FileReadError, match=r"cannot be read: .*checksum"):
        check_file(path)


def test_a_truncated_file_is_refused(path: Path, recorded: bytes) -> None:
    path.write_bytes(recorded[: len(recorded) // 3])
    with pytest.raises(UsageError, match="truncated: its end is missing, copy it again"):
        check_file(path)


def test_an_error_of_another_kind_goes_through(path: Path) -> None:
    with pytest.raises(KeyError, match="mine"), open_result(path):
        raise KeyError("mine")


def test_another_programs_hdf5_file_is_not_touched(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.nxs", "w", libver=("v110", "v110")) as file:
        file["data"] = 1
    before = (tmp_path / "other.nxs").read_bytes()
    with pytest.raises(UsageError, match="not a result file of this program"):
        repair(tmp_path / "other.nxs")
    assert (tmp_path / "other.nxs").read_bytes() == before


def test_a_run_without_analysis_passes(tmp_path: Path) -> None:
    record(tmp_path / "run.nxs", *series_of(range(3), 3))
    assert check_file(tmp_path / "run.nxs").ok
