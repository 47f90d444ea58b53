"""A real result file in the window: recorded by the program itself, read back, played."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401 - registers the filters
import numpy as np
import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from gui.export import series_table
from gui.file_session import FileSession
from gui.settings import Model, Settings
from gui.status_text import recording_light
from gui.window import AnalysisWindow
from streamer.compression import encode
from streamer.errors import UsageError
from streamer.records import Compression, FrameStatus
from tests.gui.conftest import process_events

N_FRAMES = 12


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run of the whole program, with the maps of every third frame."""
    path = tmp_path_factory.mktemp("run") / "demo.nxs"
    command = [
        sys.executable, "-m", "pipeline.cli", "demo", "--headless", "--frames", str(N_FRAMES), "--size",
        "256", "--maps", "every=3", "--out", str(path), "--json",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1])["analysed"] == N_FRAMES
    return path


@pytest.fixture
def window(app: QApplication, no_widgets_left: None, recorded: Path) -> AnalysisWindow:
    made = AnalysisWindow(FileSession(recorded), Model(Settings()))
    made.stop_timer()
    made.resize(1280, 800)
    made.show()
    made.tick()
    made.draw_timeline()
    process_events()
    yield made
    made.close()


def test_a_file_that_has_gone_is_missed_and_found_again(
    app: QApplication, no_widgets_left: None, recorded: Path, tmp_path: Path
) -> None:
    path, elsewhere = tmp_path / "demo.nxs", tmp_path / "elsewhere.nxs"
    shutil.copy(recorded, path)
    now = [0.0]
    window = AnalysisWindow(FileSession(path, clock=lambda: now[0]), Model(Settings()))
    window.stop_timer()
    window.show()
    path.rename(elsewhere)
    for seconds in (3.0, 6.0):
        now[0] = seconds
        window.tick()
        window.commands.step_forward()
        process_events()
    assert "can no longer be read" in window.panels.alarm.label.text()
    assert window.panels.raw.picture is None
    assert len(window.session.history.rows) == N_FRAMES, "what was read stays"
    elsewhere.rename(path)
    now[0] = 9.0
    window.tick()
    process_events()
    assert not window.panels.alarm.isVisible()
    assert window.panels.raw.picture is not None
    window.close()


def test_every_recorded_frame_can_be_seen(recorded: Path) -> None:
    past = FileSession(recorded).history
    with h5py.File(recorded) as file:
        frames = file["/entry/stack/intensity"][:]
        first_row, n_columns = file["/entry/columns/first_row"][:], file["/entry/summary/n_columns"][:]
        y, fused = file["/entry/columns/y"][:], file["/entry/columns/fused_count"][:]
        fused_atoms = file["/entry/summary/fused_atoms"][:]
    assert len(past.rows) == N_FRAMES
    for k, row in enumerate(past.rows):
        view = past.at(float(row["t"]))
        assert view is not None
        assert view.header.frame_id == k
        h = view.header
        counts = h.raw_low + view.raw / 255 * (h.raw_high - h.raw_low)
        within = (frames[k] > h.raw_low) & (frames[k] < h.raw_high)
        np.testing.assert_allclose(counts[within], frames[k][within], atol=(h.raw_high - h.raw_low) / 254)
        np.testing.assert_array_equal(view.columns["y"], y[first_row[k] : first_row[k] + n_columns[k]])
        rows = slice(first_row[k], first_row[k] + n_columns[k])
        np.testing.assert_array_equal(view.columns["fused_count"], fused[rows])
        assert h.fused_atoms == pytest.approx(fused_atoms[k])
        assert bool(view.denoised.size) is (k % 3 == 0)


def test_the_window_opens_at_the_first_frame_and_steps(window: AnalysisWindow) -> None:
    assert "frame 0 " in window.panels.map.detail.text()
    assert window.panels.header.light.text() == "SAVED"
    assert not window.panels.header.live.isVisible()
    QTest.keyClick(window, Qt.Key.Key_Right)
    window.tick()
    assert "frame 1 " in window.panels.map.detail.text()
    assert window.panels.denoised.detail.text() == "not stored for this frame"
    assert not window.panels.map.badge.isVisible()
    marks = window.panels.map.marks.markers
    assert marks is not None
    assert len(marks.columns) == window.session.history.rows["n_columns"][1]


def test_playing_reaches_the_end_and_stops(window: AnalysisWindow) -> None:
    player = window.session.player
    assert player is not None
    window.panels.play_bar.speed_chosen.emit(10.0)
    QTest.keyClick(window, Qt.Key.Key_Space)
    assert player.playing
    for _ in range(2000):
        window.tick()
        process_events()
        if not player.playing:
            break
    assert not player.playing
    assert f"frame {N_FRAMES - 1} " in window.panels.map.detail.text()
    assert window.panels.play_bar.play.text() == "Play"


def test_dragging_the_slider_moves_through_the_series(window: AnalysisWindow) -> None:
    window.panels.play_bar.moved.emit(1.0)
    assert f"frame {N_FRAMES - 1} " in window.panels.map.detail.text()
    window.panels.play_bar.moved.emit(0.0)
    assert "frame 0 " in window.panels.map.detail.text()


def test_the_time_axes_of_recordings_have_a_length_of_their_own(window: AnalysisWindow) -> None:
    assert window.settings.value.recording_window_s == 0.0, "all of it"
    before = window.settings.value.time_window_s
    QTest.keyClick(window, Qt.Key.Key_W)
    assert window.settings.value.recording_window_s == 30.0
    for _ in range(3):
        QTest.keyClick(window, Qt.Key.Key_W)
    assert window.settings.value.recording_window_s == 0.0
    assert window.settings.value.time_window_s == before


def test_clicking_the_slider_goes_there(window: AnalysisWindow) -> None:
    slider = window.panels.play_bar.slider
    place = slider.rect().center()
    place.setX(round(0.75 * slider.width()))
    QTest.mouseClick(slider, Qt.MouseButton.LeftButton, pos=place)
    window.tick()
    times = window.session.history.rows["t"]
    wanted = times[0] + 0.75 * (times[-1] - times[0])
    assert window.state.value.t == times[np.argmin(np.abs(times - wanted))]


@pytest.mark.parametrize("content", [None, b"", b"not HDF5 at all"])
def test_a_file_that_is_none_is_refused_in_one_line(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "x.nxs"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=r"x\.nxs"):
        FileSession(path)


@pytest.fixture
def flawed(recorded: Path, tmp_path: Path) -> Path:
    """The same with frame 5 damaged, frame 6 skipped, and 40 rows of frame 7 without data."""
    path = tmp_path / "flawed.nxs"
    shutil.copy(recorded, path)
    with h5py.File(path, "r+") as file:
        stack, ledger = file["/entry/stack/intensity"], file["/entry/ledger"]
        payload = bytearray(stack.id.read_direct_chunk((5, 0, 0))[1])
        payload[12:16] = b"\x7f\xff\xff\xff"  # the length of the first block
        stack.id.write_direct_chunk((5, 0, 0), bytes(payload))
        image = stack[7]
        image[:40] = np.iinfo(image.dtype).max
        stack.id.write_direct_chunk((7, 0, 0), encode(image, Compression.BSLZ4))
        for frame_id, status in ((5, FrameStatus.DAMAGED), (6, FrameStatus.SKIPPED)):
            ledger["result_row"][frame_id], ledger["status"][frame_id] = -1, status
    return path


def test_a_damaged_frame_is_said_to_be_one_and_the_others_are_shown(
    app: QApplication, no_widgets_left: None, flawed: Path
) -> None:
    window = AnalysisWindow(FileSession(flawed), Model(Settings()))
    window.stop_timer()
    window.show()
    for _ in range(2 * N_FRAMES):  # the dose of all frames is read, one a tick
        window.tick()
        process_events()
    window.panels.tabs.setCurrentIndex(2)
    rows = window.session.history.rows
    assert np.flatnonzero(np.isnan(rows["mean_counts"])).tolist() == [5]
    window.commands.go_to(float(rows["t"][4]))
    window.draw_timeline()
    QTest.keyClick(window, Qt.Key.Key_Right)
    window.draw_timeline()
    panels = window.panels
    assert panels.map.detail.text().startswith("frame 5  ·  not analysed")
    assert panels.raw.detail.text() == "damaged: cannot be decoded"
    assert panels.raw.picture is None
    assert (panels.headline.atoms.text(), panels.headline.columns.text()) == ("–", "–")
    QTest.keyClick(window, Qt.Key.Key_Right)
    assert panels.map.detail.text().startswith("frame 6  ·  not analysed")
    assert panels.raw.picture is not None
    window.close()


def test_pixels_without_data_do_not_count(flawed: Path) -> None:
    past = FileSession(flawed).history
    view = past.at(float(past.rows["t"][7]))
    assert view is not None
    with h5py.File(flawed) as file:
        expected = float(file["/entry/stack/intensity"][7][40:].mean())
    assert view.header.mean_counts == pytest.approx(expected, rel=1e-6)
    assert view.header.raw_high < 1000
    assert view.raw[:40].max() == 0


def test_frames_that_were_not_analysed_have_no_results(flawed: Path) -> None:
    rows = FileSession(flawed).history.rows
    unanswered = np.isnan(rows["n_columns"])
    assert np.flatnonzero(unanswered).tolist() == [5, 6]
    names, table = series_table(rows, np.empty((0, 5)), np.empty((0, 4)), {})
    columns = [row[names.index("n_columns")] for row in table]
    assert columns[5:7] == [None, None]
    assert all(isinstance(n, int) and n > 0 for n in columns[:5] + columns[7:])


def test_the_dose_stays_known_when_the_file_is_read_anew(recorded: Path) -> None:
    past = FileSession(recorded).history
    for _ in range(N_FRAMES):
        past.look_at_dose()
    known = past.rows["mean_counts"].copy()
    assert np.isfinite(known).all()
    past.reload()
    np.testing.assert_array_equal(past.rows["mean_counts"], known)


def test_tables_that_take_long_to_read_are_read_less_often(
    recorded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, reading_s = [0.0], [0.0]
    session = FileSession(recorded, lambda: now[0])

    def read() -> None:
        now[0] += 5.0
        reading_s[0] += 5.0

    monkeypatch.setattr(session, "_reload_if_grown", read)
    while now[0] < 500.0:
        session.take()
        now[0] += 0.03
    assert 0.05 < reading_s[0] / now[0] < 0.12


def test_a_file_whose_recording_has_failed_is_not_called_saved(recorded: Path, tmp_path: Path) -> None:
    path = tmp_path / "failed.nxs"
    shutil.copy(recorded, path)
    with h5py.File(path, "r+") as file:
        file["/entry/process/state"][()] = b"failed"
        file["/entry/process/end_reason"][()] = b"the disk is full"
    light = recording_light(FileSession(path).status)
    assert (light.caption, light.detail) == ("RECORDING FAILED", "the disk is full")
