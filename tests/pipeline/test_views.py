"""Pictures for windows, and the maps that are stored."""

import time
from itertools import pairwise

import numpy as np
import pytest
import zmq
from numpy.typing import NDArray

from pipeline.maps import atom_count_map, to_frame_grid
from pipeline.prepare import prepare
from pipeline.views import ViewClock, make_view, to_uint8
from pipeline.windows import Windows
from streamer.records import COLUMN_DTYPE, FrameResult, SeriesKey
from streamer.window_link import View
from tests.pipeline.test_prepare import TARGET_A, task


def scene(shape: tuple[int, int]) -> NDArray[np.float64]:
    """Something with a top left, smooth enough to be sampled in several ways; 0 to 1."""
    y, x = np.indices(shape) / np.array(shape)[:, None, None]
    return np.asarray(0.5 + 0.25 * np.cos(2 * np.pi * y) + 0.25 * np.sin(2 * np.pi * x))


def view_of(shape: tuple[int, int], pixel_size_A: float, size_px: int, hole: bool = False) -> View:
    image = np.rint(100 + 100 * scene(shape)).astype(np.uint16)
    if hole:
        image[10:20, 10:20] = 65535
    prepared = prepare(task(image), pixel_size_A, TARGET_A)
    denoised = (1 + scene(prepared.network_shape)).astype(np.float32)
    columns = np.zeros(3, COLUMN_DTYPE)
    result = FrameResult(7, SeriesKey(4), columns, 10.0, 1.0, 1.0, 2.0, 3.0, (0.5, -0.5), 0.25)
    return make_view(prepared, denoised, result, size_px)


@pytest.mark.parametrize(
    ("shape", "pixel_size_A", "size_px", "bin_px", "view_shape"),
    [
        ((128, 192), 0.2, 192, 1, (128, 192)),
        ((128, 192), 0.2, 100, 2, (64, 96)),
        ((130, 195), 0.2, 64, 4, (32, 48)),
        ((128, 192), 0.3, 192, 1, (128, 192)),
        ((128, 192), 0.11, 70, 3, (42, 64)),
    ],
)
def test_both_pictures_show_the_frame(
    shape: tuple[int, int], pixel_size_A: float, size_px: int, bin_px: int, view_shape: tuple[int, int]
) -> None:
    view = view_of(shape, pixel_size_A, size_px)
    h = view.header
    assert (h.bin_px, h.view_height, h.view_width) == (bin_px, *view_shape)
    assert view.raw.shape == view.denoised.shape == view_shape
    assert view.raw.dtype == view.denoised.dtype == np.uint8
    rows, places = ((np.arange(n) + 0.5) * bin_px - 0.5 for n in view_shape)
    y, x = np.meshgrid(rows / shape[0], places / shape[1], indexing="ij")
    expected = 0.5 + 0.25 * np.cos(2 * np.pi * y) + 0.25 * np.sin(2 * np.pi * x)
    raw = h.raw_low + view.raw / 255 * (h.raw_high - h.raw_low)
    denoised = h.denoised_low + view.denoised / 255 * (h.denoised_high - h.denoised_low)
    np.testing.assert_allclose(raw, 100 + 100 * expected, atol=6)
    np.testing.assert_allclose(denoised, 1 + expected, atol=0.06)


def test_the_header_tells_what_the_frame_was() -> None:
    h = view_of((128, 192), 0.2, 100).header
    assert (h.series_id, h.frame_id, h.height, h.width) == (4, 7, 128, 192)
    assert (h.total_atoms, h.total_atoms_std, h.drift_y_px, h.drift_x_px, h.ood_score) == (
        10,
        1,
        0.5,
        -0.5,
        0.25,
    )
    assert h.pixel_size_A == 0.2
    assert h.mean_counts == pytest.approx(150, abs=1)


def test_pixels_without_data_do_not_set_the_levels() -> None:
    h = view_of((128, 192), 0.2, 192, hole=True).header
    assert h.raw_high < 210
    assert h.mean_counts == pytest.approx(150, abs=2)


def test_a_flat_picture_has_levels_too() -> None:
    picture, low, high = to_uint8(np.full((20, 20), 7.0, np.float32))
    assert low < high
    assert picture.max() == 0


def test_pictures_come_at_most_as_often_as_asked() -> None:
    clock = ViewClock(10.0)
    times = np.arange(0, 10, 0.033)
    shown = [t for t in times if clock.due(t)]
    assert 95 <= len(shown) <= 101
    assert all(b - a > 0.06 for a, b in pairwise(shown))
    assert clock.due(20.0)
    assert not clock.due(20.05)


def test_no_picture_is_made_while_nobody_looks() -> None:
    with zmq.Context() as context:
        publisher, window = context.socket(zmq.XPUB), context.socket(zmq.SUB)
        with publisher, window:
            publisher.bind("tcp://127.0.0.1:0")
            window.connect(publisher.getsockopt_string(zmq.LAST_ENDPOINT))
            windows = Windows(publisher, 1e9)
            wanted = Wanted(windows)
            assert not wanted.becomes(True, within_s=0.2)
            window.subscribe(b"status")
            assert not wanted.becomes(True, within_s=0.2)
            window.subscribe(b"view")
            assert wanted.becomes(True)
            window.unsubscribe(b"view")
            assert wanted.becomes(False)
            window.subscribe(b"")
            assert wanted.becomes(True)


class Wanted:
    """Asks until the answer is the one expected, or time is up."""

    def __init__(self, windows: Windows) -> None:
        self._windows = windows
        self._now_s = 0.0

    def becomes(self, expected: bool, within_s: float = 10.0) -> bool:
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            self._now_s += 1.0
            if self._windows.want_picture(self._now_s) is expected:
                return True
            time.sleep(0.005)
        return False


def test_the_count_map_shows_each_column_at_its_place() -> None:
    columns = np.zeros(3, COLUMN_DTYPE)
    columns["y"], columns["x"], columns["count"] = [10.3, 30.0, 0.2], [20.0, 40.6, 0.0], [3, 7, 5]
    atoms = atom_count_map(columns, (48, 64), 0.2)
    assert (atoms[10, 20], atoms[30, 41], atoms[0, 0]) == (3, 7, 5)
    assert set(np.unique(atoms)) == {0, 3, 5, 7}
    assert (atoms == 3).sum() == 29  # pixels within three of the centre
    assert atoms.dtype == np.float16


def test_an_empty_count_map() -> None:
    assert not atom_count_map(np.zeros(0, COLUMN_DTYPE), (48, 64), 0.2).any()


def test_a_map_goes_back_to_the_frames_pixels() -> None:
    image = np.indices((40, 60)).sum(0).astype(np.float32)
    assert to_frame_grid(image, (40, 60)) is image
    finer = to_frame_grid(image, (80, 90))
    rows, places = np.arange(78)[:, None] / 2, np.arange(87) * 60 / 90
    np.testing.assert_allclose(finer[:78, :87], rows + places, rtol=1e-5, atol=1e-4)
