"""Particles in the window: what is written and drawn, live and from a file, read from its pixels."""

import math
import os
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PySide6.QtCore import QPoint, QPointF
from PySide6.QtGui import QColor, QImage

from gui.particle_marks import SURE, UNSURE
from gui.particles import resolve_particles, sound_particles
from gui.recorded import RecordedPast
from gui.resolve import resolve_frame
from gui.settings import Backdrop, Settings
from gui.window import AnalysisWindow
from streamer.config import AnalysisConfig
from streamer.records import COLUMN_DTYPE, OUTLINE_POINTS, PARTICLE_DTYPE, AnalyserInfo
from streamer.window_link import View
from tests.gui.conftest import OpenWindow, process_events, show_until
from tests.gui.publisher import Particle, Publisher, make_view
from tests.streamer.ingest_run import particles_of, result_of, running, series_of

SHAPES = ("cube", "icosahedron")
RADIUS_PX = 40.0
ANGLES = 2 * np.pi * np.arange(OUTLINE_POINTS) / OUTLINE_POINTS


def particles(*centres: tuple[float, float]) -> np.ndarray:
    """Round particles, every other one unsure."""
    rows = np.zeros(len(centres), PARTICLE_DTYPE)
    for row, (y, x) in zip(rows, centres, strict=True):
        row["y"], row["x"], row["size"] = y, x, 4.8
        row["outline"] = np.stack([y + RADIUS_PX * np.sin(ANGLES), x + RADIUS_PX * np.cos(ANGLES)], axis=1)
        row["shape_probabilities"] = [0.08, 0.92, *[math.nan] * 6]
        row["shape"] = 1
    rows["shape"][1::2] = -1
    rows["shape_probabilities"][1::2, :2] = (0.45, 0.55)
    return rows


def view_with(rows: np.ndarray) -> View:
    view = make_view(Particle(size=256), 0, size=256, t=time.time())
    header = msgspec.structs.replace(view.header, shapes=SHAPES, total_atoms=math.nan)
    return View(header, view.raw, view.denoised, np.zeros(0, COLUMN_DTYPE), rows)


ROWS = particles((70, 70), (180, 180))


def test_what_is_said_of_a_particle() -> None:
    sure, unsure = resolve_particles(ROWS, SHAPES)
    assert (sure.text, sure.sure) == ("icosahedron 92 %, 4.8 nm", True)
    assert (unsure.text, unsure.sure) == ("unsure (icosahedron 55 %?), 4.8 nm", False)
    assert len(sure.outline) == OUTLINE_POINTS
    assert sure.outline[0] == pytest.approx((70, 110))


def test_a_cut_particle_says_so_and_a_shape_without_a_name_has_its_number() -> None:
    cut = ROWS[:1].copy()
    cut["touches_border"] = 1
    assert resolve_particles(cut, SHAPES)[0].text == "icosahedron 92 %, 4.8 nm, cut by the edge"
    assert resolve_particles(ROWS[:1], ())[0].text.startswith("shape 0 8 %")


def test_particles_are_switched_off_with_the_columns() -> None:
    view = view_with(ROWS)
    shown, hidden = (resolve_frame(view, (), Settings(show_columns=on)) for on in (True, False))
    assert (len(shown.particles), len(hidden.particles)) == (2, 0)
    assert shown.counts_atoms is hidden.counts_atoms is False


def test_the_figures_count_particles_where_no_columns_are_counted() -> None:
    headline = resolve_frame(view_with(ROWS), (), Settings()).headline
    assert (headline.caption, headline.atoms, headline.atoms_std) == ("PARTICLES", "2", "1 unsure")
    assert (headline.columns_caption, headline.columns) == ("MEAN SIZE", f"{ROWS['size'].mean():.1f}\u2009nm")
    of_columns = resolve_frame(make_view(Particle(size=256), 0, size=256), (), Settings())
    assert (of_columns.headline.caption, of_columns.counts_atoms) == ("TOTAL ATOMS", True)


def test_particles_that_cannot_be_drawn_are_left_out() -> None:
    bad = particles((70, 70), (100, 100), (180, 180))
    bad["outline"][1, 3, 0] = np.inf
    assert sound_particles(bad)["y"].tolist() == [70, 180]
    assert len(sound_particles(np.resize(ROWS, 5000))) == 256


@pytest.fixture
def window(open_window: OpenWindow, publisher: Publisher) -> AnalysisWindow:
    window = open_window(Settings(backdrop=Backdrop.NONE))
    publisher.send(view_with(ROWS))
    show_until(window, lambda: window.session.history.newest is not None)
    return window


def hues_on_outline(window: AnalysisWindow, centre: tuple[float, float]) -> list[QColor]:
    """The brightest colour within two screen pixels of each of many places along an outline."""
    panel = window.panels.map
    image = panel.canvas.grab().toImage()
    found = []
    for angle in np.linspace(0, 2 * np.pi, 240):
        y, x = centre[0] + RADIUS_PX * np.sin(angle), centre[1] + RADIUS_PX * np.cos(angle)
        place = panel.canvas.mapFromScene(panel.box.mapViewToScene(QPointF(x, y)))
        found.append(_brightest(image, place))
    return found


def _brightest(image: QImage, place: QPoint) -> QColor:
    steps = [(dx, dy) for dx in range(-2, 3) for dy in range(-2, 3)]
    colours = [QColor(image.pixel(place.x() + dx, place.y() + dy)) for dx, dy in steps]
    return max(colours, key=QColor.lightness)


def test_a_sure_outline_is_a_line_and_an_unsure_one_dashes_of_another_colour(window: AnalysisWindow) -> None:
    for centre, colour, least, most in (((70, 70), SURE, 0.97, 1.0), ((180, 180), UNSURE, 0.5, 0.95)):
        found = hues_on_outline(window, centre)
        drawn = [c for c in found if c.lightness() > 60]
        assert least <= len(drawn) / len(found) <= most
        assert all(abs(c.hue() - colour.hue()) < 20 for c in drawn)


_AT_TWICE_THE_RESOLUTION = """
import numpy as np, pyqtgraph as pg
from gui.app import application
from gui.particle_marks import ParticleMarks
from gui.particles import ParticleMark

app = application()
canvas, box = pg.GraphicsView(), pg.ViewBox(invertY=True, lockAspect=True)
canvas.setCentralItem(box)
marks = ParticleMarks(box)
canvas.resize(400, 400)
canvas.show()
box.setRange(xRange=(0, 100), yRange=(0, 100), padding=0)
marks.draw((ParticleMark(((60, 70), (60, 80), (80, 80), (80, 70)), "cube 90 %", True),))
app.processEvents()
shot = canvas.grab().toImage().convertToFormat(pg.QtGui.QImage.Format.Format_Grayscale8)
assert shot.width() == 800
pixels = np.frombuffer(shot.constBits(), np.uint8).reshape(shot.height(), -1)[:, :800]
y, x = np.nonzero(pixels[650:] > 60)  # below the outline, in half screen pixels
print(x.min(), x.max())
"""


def test_a_text_is_below_its_particle_at_twice_the_resolution() -> None:
    environment = os.environ | {"QT_SCALE_FACTOR": "2", "QT_QPA_PLATFORM": "offscreen"}
    command = [sys.executable, "-c", _AT_TWICE_THE_RESOLUTION]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    left, right = map(int, done.stdout.split())
    assert (left + right) / 2 == pytest.approx(8 * 75, abs=12)


def test_the_key_for_columns_takes_outlines_away(window: AnalysisWindow) -> None:
    window.commands.toggle_columns()
    process_events()
    assert all(c.lightness() < 60 for c in hues_on_outline(window, (70, 70)))


def test_the_panels_say_particles(window: AnalysisWindow) -> None:
    assert window.panels.map.title.text() == "Particles"
    assert window.panels.headline.caption.text() == "PARTICLES"
    assert window.panels.headline.atoms.text() == "2"
    assert window.panels.map.bar.isHidden()
    assert window.panels.map.counts.isHidden()


def test_number_and_size_of_particles_are_drawn_against_time(window: AnalysisWindow) -> None:
    number, size = window.panels.timeline.plots[:2]
    assert [plot.title for plot in (number, size)] == ["Particles", "Mean size"]
    assert [curve.reading for curve in number.curves] == ["2", "1"]
    assert [float(curve.y[-1]) for curve in number.curves] == [2.0, 1.0]
    assert size.curves[0].y[-1] == pytest.approx(ROWS["size"].mean())
    assert "nm" in size.reading
    assert "columns" not in [plot.name for plot in window.panels.timeline.plots]


def test_columns_bring_the_colour_bar_back(window: AnalysisWindow, publisher: Publisher) -> None:
    publisher.send(make_view(Particle(size=256), 1, size=256, series_id=2))
    show_until(window, lambda: window.session.history.newest.header.series_id == 2)  # type: ignore[union-attr]
    assert window.panels.map.title.text() == "Atom counts"
    assert window.panels.map.bar.isVisible()
    assert window.panels.map.counts.isVisible()


def test_a_view_with_an_unsound_outline_is_shown_without_it(
    open_window: OpenWindow, publisher: Publisher
) -> None:
    window = open_window()
    bad = ROWS.copy()
    bad["outline"][0] = np.nan
    publisher.send(view_with(bad))
    show_until(window, lambda: window.session.history.newest is not None)
    newest = window.session.history.newest
    assert newest is not None
    assert newest.particles["y"].tolist() == [180]


def test_a_files_particles_are_those_that_were_recorded(tmp_path: Path) -> None:
    shapes = ("cube", "octahedron", "icosahedron")
    with running(tmp_path / "run.nxs", AnalysisConfig(queue_frames=9)) as (detector, run, analyser):
        end = analyser()
        end.introduce(AnalyserInfo("openvino", shapes=shapes))
        detector.send(*series_of(range(6), 6))
        for _ in range(6):
            end.answer(result_of(end.next_task()))
        run.finish()
    past = RecordedPast(tmp_path / "run.nxs")
    for index, t in enumerate(past.rows["t"].tolist()):
        view = past.at(t)
        assert view is not None
        assert view.header.shapes == shapes
        expected = particles_of(index)
        row = past.rows[index]
        assert row["n_particles"] == len(expected)
        assert row["n_unsure"] == (expected["shape"] < 0).sum()
        whole = expected["size"][expected["touches_border"] == 0]
        np.testing.assert_allclose(row["particle_size_nm"], whole.mean() if len(whole) else np.nan)
        for name in expected.dtype.names:
            np.testing.assert_array_equal(view.particles[name], expected[name])
