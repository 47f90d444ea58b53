"""One picture with its title and scale bar; draws what it is handed and reports what the mouse does."""

import math
from typing import Any

import pyqtgraph as pg
from PySide6.QtCore import QRectF, Qt, Signal
from PySide6.QtGui import QColor, QResizeEvent
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from gui.colours import lookup_table
from gui.geometry import fitting_rectangle, scale_bar
from gui.labels import ShortLabel, plain_label
from gui.picture import Picture
from gui.picture_item import PictureItem
from gui.pixels import binned, display_bin
from gui.scale_bar_item import ScaleBarItem
from gui.settings import Region
from gui.theme import Theme

__all__ = ["PicturePanel"]

pg.setConfigOptions(imageAxisOrder="row-major", antialias=True)


class PicturePanel(QWidget):
    """A picture over recorded pixels (y, x), pixel centres at whole numbers, y downwards.

    Signals
    -------
    region_moved(object)
        The person zoomed or panned: the `Region` now in view.
    reset_wanted()
        Double click: the whole frame is wanted.
    clicked(float, float)
        (y, x) in recorded pixels.
    hovered(float, float)
        The same, for the pointer; NaN when it leaves.
    """

    region_moved = Signal(object)
    reset_wanted = Signal()
    clicked = Signal(float, float)
    hovered = Signal(float, float)

    def __init__(self, title: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("role", "panel")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.title = plain_label(title, "title")
        self.detail = ShortLabel("muted")
        self.detail.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self.header = QHBoxLayout()
        self.header.setContentsMargins(10, 6, 10, 4)
        self.header.setSpacing(8)
        self.header.addWidget(self.title)
        self.header.addWidget(self.detail, 1)
        self.canvas = pg.GraphicsView(useOpenGL=False)
        self.canvas.setFrameShape(pg.GraphicsView.Shape.NoFrame)
        self.box = pg.ViewBox(invertY=True, lockAspect=True, enableMenu=False, defaultPadding=0)
        self.canvas.setCentralItem(self.box)
        self.image = PictureItem()
        self.brightness = 1.0
        self.box.addItem(self.image)
        self.scale = ScaleBarItem(self.box)
        self.content = QHBoxLayout()
        self.content.setContentsMargins(1, 0, 1, 1)
        self.content.setSpacing(0)
        self.content.addWidget(self.canvas, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addLayout(self.header)
        layout.addLayout(self.content, 1)
        self.picture: Picture | None = None
        self._drawn_bin = 1
        self._region: Region | None = None
        self._pixel_size_A = math.nan
        self._connect()

    def _connect(self) -> None:
        self.box.sigRangeChangedManually.connect(self._report_region)
        self.box.sigRangeChanged.connect(self._update_scale)
        self.box.sigResized.connect(self._show_region)
        self.canvas.scene().sigMouseClicked.connect(self._report_click)
        self.canvas.scene().sigMouseMoved.connect(self._report_pointer)

    def apply_theme(self, theme: Theme) -> None:
        """Take over colours that a style sheet cannot reach."""
        self.canvas.setBackground(QColor(theme.canvas))

    def draw(self, picture: Picture | None, region: Region | None, pixel_size_A: float) -> None:
        """Show `picture`; a picture already shown is not sent to the screen again."""
        if region != self._region:
            self._region = region
            self._show_region()
        if picture is not self.picture or self._wanted_bin() != self._drawn_bin:
            self.picture = picture
            self._draw_picture(picture)
        if pixel_size_A != self._pixel_size_A:
            self._pixel_size_A = pixel_size_A
            self._update_scale()

    def _wanted_bin(self) -> int:
        if self.picture is None:
            return 1
        return display_bin(self.magnification() * self.picture.bin_px * self.devicePixelRatioF())

    def _draw_picture(self, picture: Picture | None) -> None:
        self._drawn_bin = factor = self._wanted_bin()
        if picture is None:
            self.image.clear()
            return
        pixels = binned(picture.pixels, factor)
        self.image.setImage(
            pixels,
            autoLevels=False,
            levels=picture.levels,
            lut=lookup_table(picture.colour_map, self.brightness),
        )
        (height, width), step = pixels.shape, picture.bin_px * factor
        self.image.setRect(QRectF(-0.5, -0.5, width * step, height * step))

    def _show_region(self, *_: Any) -> None:
        if self._region is None:
            return
        y_range, x_range = fitting_rectangle(self._region, self.box.height(), self.box.width())
        self.box.setRange(xRange=x_range, yRange=y_range, padding=0, disableAutoRange=True)
        self._update_scale()

    def magnification(self) -> float:
        """Return screen pixels per recorded pixel."""
        (low, high), _ = self.box.viewRange()
        return float(self.box.width() / (high - low)) if high > low else 1.0

    def _update_scale(self, *_: Any) -> None:
        self.scale.setVisible(self._region is not None)
        if self._region is not None and self.box.width() > 20:
            self.scale.show_bar(scale_bar(self._pixel_size_A, self.magnification(), self.box.width()))

    def _report_region(self, *_: Any) -> None:
        (x0, x1), (y0, y1) = self.box.viewRange()
        extent = min(x1 - x0, y1 - y0)
        if extent > 0:
            self._region = Region((y0 + y1) / 2, (x0 + x1) / 2, extent)
            self.region_moved.emit(self._region)

    def _report_click(self, event: Any) -> None:
        if event.button() != Qt.MouseButton.LeftButton or event.isAccepted():
            return  # accepted: it was for a corner or a side of the region
        if event.double():
            self.reset_wanted.emit()
            return
        place = self.box.mapSceneToView(event.scenePos())
        self.clicked.emit(place.y(), place.x())

    def _report_pointer(self, scene_position: Any) -> None:
        place = self.box.mapSceneToView(scene_position)
        self.hovered.emit(place.y(), place.x())

    def leaveEvent(self, event: Any) -> None:
        """Tell that the pointer is nowhere."""
        self.hovered.emit(math.nan, math.nan)
        super().leaveEvent(event)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Keep the same region in view."""
        super().resizeEvent(event)
        self._show_region()
