"""From data and settings to what is drawn, without Qt."""

import math

import msgspec
import numpy as np
import pytest

from gui.format import NOTHING
from gui.geometry import (
    fitting_rectangle,
    inside,
    nearest_column,
    neighbour_distance_px,
    particle_region,
    scale_bar,
    whole_frame,
)
from gui.pixels import average, binned, display_bin
from gui.pointer import pointer_texts
from gui.resolve import FrameDrawing, Scene, recording_range, resolve, resolve_frame, time_range
from gui.settings import Backdrop, Chosen, ContrastMode, CountsFrom, Region, Settings, ViewState
from streamer.records import COLUMN_DTYPE
from streamer.window_link import View
from tests.gui.publisher import Particle, make_status, make_view

PARTICLE = Particle(size=128, n_largest=5)
VIEW = make_view(PARTICLE, 7, size=128, t=1000.0)


def columns_at(*places: tuple[float, float]) -> np.ndarray:
    columns = np.zeros(len(places), COLUMN_DTYPE)
    columns["y"], columns["x"] = np.array(places).T
    columns["count"], columns["probability"], columns["track_id"] = 3, 0.9, -1
    return columns


def test_counts_become_colours_and_a_histogram() -> None:
    markers = resolve_frame(VIEW, (), Settings(sure_probability=0.6)).markers
    assert markers is not None
    np.testing.assert_array_equal(markers.colour, VIEW.columns["count"].astype(int) - 1)
    np.testing.assert_array_equal(markers.sure, VIEW.columns["probability"] >= 0.6)
    for count in range(1, 6):
        assert markers.histogram[count - 1] == (VIEW.columns["count"] == count).sum()


def test_fused_counts_take_the_place_of_a_frames_own() -> None:
    columns = VIEW.columns.copy()
    columns["fused_count"][:3] = 0, 7, 7
    columns["fused_probability"][:3] = 0.9, 0.3, np.nan
    view = msgspec.structs.replace(VIEW, columns=columns)
    frame = resolve_frame(view, (), Settings(counts=CountsFrom.FUSED, sure_probability=0.6))
    markers = frame.markers
    assert markers is not None
    np.testing.assert_array_equal(markers.colour, columns["fused_count"].astype(int) - 1)
    assert markers.texts()[:3] == ["0", "7", "?"]
    assert markers.sure[:3].tolist() == [False, False, False]
    assert markers.sure[3:].all()
    assert frame.headline.caption == "TOTAL ATOMS, FUSED"
    assert frame.headline.atoms == str(round(VIEW.header.fused_atoms))
    assert frame.headline.columns == str(len(columns) - 2)
    assert frame.headline.uncertain == "1 uncertain"


def test_a_run_that_follows_no_columns_says_so_instead_of_showing_fused_counts() -> None:
    columns = VIEW.columns.copy()
    columns["fused_count"], columns["fused_probability"] = 0, np.nan
    header = msgspec.structs.replace(VIEW.header, fused_atoms=np.nan, fused_atoms_std=np.nan)
    scene = Scene(view=msgspec.structs.replace(VIEW, header=header, columns=columns), newest_t=1000.0)
    for counts, expected in ((CountsFrom.SINGLE, ""), (CountsFrom.FUSED, "No fused counts")):
        settings = Settings(counts=counts)
        frame = resolve_frame(scene.view, (), settings)
        assert resolve(scene, frame, settings, ViewState()).badge.startswith(expected)
        assert (frame.headline.atoms == NOTHING) is (counts is CountsFrom.FUSED)


def test_the_scale_follows_the_largest_count_of_the_series() -> None:
    markers = resolve_frame(VIEW, (), Settings(), largest_count=15).markers
    assert markers is not None
    assert markers.n_colours == 16


def test_columns_and_backdrop_can_be_left_out() -> None:
    frame = resolve_frame(VIEW, (), Settings(show_columns=False, backdrop=Backdrop.NONE))
    assert frame.markers is None
    assert frame.backdrop is None
    assert resolve_frame(VIEW, (), Settings(backdrop=Backdrop.RAW)).backdrop is not None


def test_a_denoised_picture_that_is_empty_leaves_the_raw_one_beneath_the_columns() -> None:
    frame = resolve_frame(View(VIEW.header, VIEW.raw, 0 * VIEW.denoised, VIEW.columns), (), Settings())
    assert frame.backdrop is frame.raw


def test_no_frame_draws_nothing_and_says_what_is_waited_for() -> None:
    frame = resolve_frame(None, (), Settings())
    texts = [
        resolve(scene, frame, Settings(), ViewState()).placeholder
        for scene in (
            Scene(address="tcp://x:1"),
            Scene(connected=True),
            Scene(status=make_status(state="waiting", source="dectris2://d:31001")),
            Scene(connected=True, status=make_status(backend="", path="/data/a.nxs")),
            Scene(connected=True, status=make_status(backend="", received=0)),
        )
    ]
    assert "tcp://x:1" in texts[0]
    assert "Connected" in texts[1]
    assert texts[3].startswith("Nothing analyses this run's frames")
    assert texts[3].endswith("/data/a.nxs")
    assert texts[4] == texts[1]
    assert "dectris2://d:31001" in texts[2]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (Settings(), (0.0, 255.0)),
        (Settings(contrast=ContrastMode.MANUAL, manual_levels=(0.2, 0.6)), (51.0, 153.0)),
    ],
)
def test_levels_by_policy(settings: Settings, expected: tuple[float, float]) -> None:
    raw = resolve_frame(VIEW, (), settings).raw
    assert raw is not None
    assert raw.levels == pytest.approx(expected)


def test_percentile_levels_enclose_the_wanted_share() -> None:
    raw = resolve_frame(VIEW, (), Settings(contrast=ContrastMode.PERCENTILE, percentiles=(10.0, 90.0))).raw
    assert raw is not None
    low, high = raw.levels
    assert (VIEW.raw < low).mean() == pytest.approx(0.1, abs=0.03)
    assert (VIEW.raw > high).mean() == pytest.approx(0.1, abs=0.03)


def test_a_flat_picture_has_levels_too() -> None:
    flat = msgspec.structs.replace(VIEW, raw=np.full((128, 128), 7, np.uint8))
    raw = resolve_frame(flat, (), Settings(contrast=ContrastMode.PERCENTILE)).raw
    assert raw is not None
    assert raw.levels[0] < raw.levels[1]


def test_the_average_is_of_counts_not_of_grey_values() -> None:
    header = VIEW.header
    dark = msgspec.structs.replace(header, raw_low=0.0, raw_high=10.0)
    bright = msgspec.structs.replace(header, raw_low=10.0, raw_high=30.0)
    pictures = [np.full((128, 128), value, np.uint8) for value in (255, 0)]  # 10 counts and 10 counts
    views = tuple(
        msgspec.structs.replace(VIEW, header=h, raw=p) for h, p in zip((dark, bright), pictures, strict=True)
    )
    assert (average(views) == 0).all()  # 10 counts, drawn with the last one's levels


def test_binning_averages_instead_of_leaving_pixels_out() -> None:
    picture = np.array([[0, 100, 9], [200, 100, 9], [7, 7, 7]], np.uint8)
    np.testing.assert_array_equal(binned(picture, 2), [[100]])
    assert binned(picture, 1) is picture
    assert [display_bin(m) for m in (2.0, 1.0, 0.6, 0.5, 0.24)] == [1, 1, 1, 2, 4]


def test_the_pointer_reads_counts_position_and_column() -> None:
    frame = resolve_frame(VIEW, (), Settings())
    column = VIEW.columns[3]
    texts = pointer_texts(frame, Settings(), (float(column["y"]), float(column["x"])), 0.12)
    assert f"{column['count']} atom" in texts.map
    assert f"fused {column['fused_count']}, p 0.99" in texts.map
    assert f"{column['y'] * 0.012:.2f}" in texts.map
    expected = VIEW.raw[round(float(column["y"])), round(float(column["x"]))] / 255 * 14
    assert texts.raw.startswith(f"{expected:.1f}")
    away = pointer_texts(frame, Settings(average_frames=4), (-50.0, 0.0), 0.12)
    assert away.raw == "mean of 4"
    assert "frame 7" in away.map


def test_a_chosen_column_is_ringed_where_it_is_now() -> None:
    column = VIEW.columns[5]
    chosen = Chosen(1.0, 1.0, int(column["track_id"]), 0.0, 0.0)
    scene = Scene(view=VIEW, newest_t=1000.0)
    drawing = resolve(scene, FrameDrawing(), Settings(), ViewState(chosen=chosen))
    assert drawing.selected == (column["y"], column["x"])


def test_the_past_is_named_and_a_files_is_not() -> None:
    state = ViewState(t=900.0)
    for recorded, expected in ((False, "PAST  −1:40"), (True, "")):
        scene = Scene(view=VIEW, newest_t=VIEW.header.t_received + 100.5, recorded=recorded)
        assert resolve(scene, FrameDrawing(), Settings(), state).badge.startswith(expected)
        assert bool(resolve(scene, FrameDrawing(), Settings(), state).badge) is not recorded


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((0.0, 50.0, 120.0, None, None), (0.0, 50.0)),
        ((0.0, 500.0, 120.0, None, None), (380.0, 500.0)),
        ((0.0, 500.0, 0.0, None, None), (0.0, 500.0)),
        ((0.0, 500.0, 120.0, 300.0, 250.0), (180.0, 300.0)),
        ((0.0, 500.0, 120.0, 300.0, 20.0), (20.0, 140.0)),
    ],
)
def test_time_axes(arguments: tuple[float, ...], expected: tuple[float, float]) -> None:
    assert time_range(*arguments) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((0.0, 500.0, 0.0, 250.0), (0.0, 500.0)),
        ((0.0, 500.0, 600.0, 250.0), (0.0, 500.0)),
        ((0.0, 0.0, 30.0, 0.0), (0.0, 1.0)),
        ((0.0, 500.0, 120.0, 250.0), (190.0, 310.0)),
        ((0.0, 500.0, 120.0, 20.0), (0.0, 120.0)),
        ((0.0, 500.0, 120.0, 490.0), (380.0, 500.0)),
        ((0.0, 500.0, 120.0, None), (380.0, 500.0)),
    ],
)
def test_time_axes_of_a_recording(arguments: tuple[float, ...], expected: tuple[float, float]) -> None:
    assert recording_range(*arguments) == expected


@pytest.mark.parametrize(
    ("pixel_size_A", "magnification", "width", "text", "length"),
    [
        (0.1, 2.0, 600.0, "1 nm", 200.0),
        (0.2, 1.0, 300.0, "2 nm", 100.0),
        (0.1, 40.0, 600.0, "50 pm", 200.0),
        (math.nan, 1.0, 300.0, "100 px", 100.0),
        (1e3, 1.0, 300.0, "10 µm", 100.0),
    ],
)
def test_scale_bar(pixel_size_A: float, magnification: float, width: float, text: str, length: float) -> None:
    bar = scale_bar(pixel_size_A, magnification, width)
    assert (bar.text, bar.length_screen_px) == (text, pytest.approx(length))
    assert bar.length_screen_px <= width / 3 + 1e-6


def test_linked_panels_show_the_same_square_whatever_their_shape() -> None:
    region = Region(50.0, 60.0, 40.0)
    assert fitting_rectangle(region, 200.0, 400.0) == ((30.0, 70.0), (20.0, 100.0))
    assert whole_frame(100, 200) == Region(49.5, 99.5, 200.0)


def test_the_view_follows_the_particle_without_swimming() -> None:
    grid = [(40.0 + 5 * i, 60.0 + 5 * j) for i in range(5) for j in range(5)]
    whole = whole_frame(256, 256)
    first = particle_region(columns_at(*grid), whole, None)
    assert first is not None
    assert (first.y, first.x, first.extent_px) == (50.0, 70.0, 25.0)
    assert particle_region(columns_at(*grid, (200.0, 9.0), (5.0, 240.0)), whole, None) == first
    a_little_off = columns_at(*[(y + 1, x) for y, x in grid])
    assert particle_region(a_little_off, whole, first) is first
    far_off = columns_at(*[(y + 9, x) for y, x in grid])
    assert particle_region(far_off, whole, first) == Region(59.0, 70.0, 25.0)
    assert (
        particle_region(columns_at(*[(y * 5, x * 2) for y, x in grid]), whole_frame(110, 110), first) is None
    )
    assert particle_region(columns_at((1.0, 1.0)), whole, first) is first


def test_nearest_column_has_a_reach() -> None:
    columns = columns_at((10.0, 10.0), (10.0, 20.0))
    assert nearest_column(columns, 11.0, 18.0, 5.0) == 1
    assert nearest_column(columns, 11.0, 15.0, 4.0) is None
    assert nearest_column(columns[:0], 11.0, 15.0, 4.0) is None
    assert neighbour_distance_px(columns) == 10.0
    assert math.isnan(neighbour_distance_px(columns[:1]))


def test_a_polygon_need_not_be_convex() -> None:
    corners = ((0.0, 0.0), (0.0, 10.0), (10.0, 10.0), (10.0, 8.0), (2.0, 8.0), (2.0, 0.0))  # an L
    y, x = np.array([1.0, 5.0, 5.0, 11.0]), np.array([5.0, 9.0, 5.0, 9.0])
    assert inside(corners, y, x).tolist() == [True, True, False, False]
