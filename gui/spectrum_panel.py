"""The FFT tab: the power spectrum of the denoised or the raw picture, with rings at round spacings."""

import math
from typing import Any

import pyqtgraph as pg
from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QVBoxLayout, QWidget

from gui.colours import lookup_table
from gui.format import value_text
from gui.labels import plain_label, set_text
from gui.resolve import FrameDrawing
from gui.spectrum import Spectrum, spectrum
from gui.theme import Theme

__all__ = ["SpectrumPanel"]

_HINT = "move over a spot for its spacing"
_RING_PER_NM = 5.0
_RING_TEXT = f"{_RING_PER_NM:g} nm⁻¹  =  {1 / _RING_PER_NM:g} nm"


class SpectrumPanel(QWidget):
    """Computes nothing while it is hidden."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.source = QComboBox()
        self.source.addItems(["of raw", "of denoised"])
        self.reading = plain_label(_HINT, "muted")
        row = QHBoxLayout()
        row.setContentsMargins(8, 4, 8, 4)
        row.setSpacing(12)
        row.addWidget(self.source)
        row.addWidget(self.reading, 1)
        self.canvas = pg.GraphicsView(useOpenGL=False)
        self.canvas.setFrameShape(pg.GraphicsView.Shape.NoFrame)
        self.box = pg.ViewBox(invertY=True, lockAspect=True, enableMenu=False, defaultPadding=0)
        self.canvas.setCentralItem(self.box)
        self.image = pg.ImageItem()
        self.ring = pg.QtWidgets.QGraphicsEllipseItem()
        self.ring_text = pg.TextItem(_RING_TEXT, anchor=(0.5, 1.0))
        self.box.addItem(self.image)
        self.box.addItem(self.ring, ignoreBounds=True)
        self.box.addItem(self.ring_text, ignoreBounds=True)
        for item in (self.image, self.ring, self.ring_text):
            item.setVisible(False)  # until there is a picture
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addLayout(row)
        layout.addWidget(self.canvas, 1)
        self.spectrum: Spectrum | None = None
        self._key: object = None
        self._scale: object = None  # what the ring and the zoom were made for
        self.canvas.scene().sigMouseMoved.connect(self._read)

    def apply_theme(self, theme: Theme) -> None:
        """Take over the colours that a style sheet cannot reach."""
        self.canvas.setBackground(QColor(theme.canvas))
        pen = pg.mkPen(theme.accent, width=1, style=Qt.PenStyle.DotLine)
        self.ring.setPen(pen)
        self.ring_text.setColor("white")
        self.ring_text.fill = pg.mkBrush(0, 0, 0, 150)

    def draw(self, frame: FrameDrawing, pixel_size_A: float) -> None:
        """Show the spectrum of the picture that is chosen; none where there is no such picture."""
        picture = frame.raw if self.source.currentIndex() == 0 else frame.denoised
        pixels = None if picture is None else picture.pixels
        if not self.isVisible() or pixels is self._key:
            return
        self._key = pixels
        self.spectrum = None if picture is None else spectrum(picture.pixels, pixel_size_A * picture.bin_px)
        for item in (self.image, self.ring, self.ring_text):
            item.setVisible(self.spectrum is not None)
        if self.spectrum is not None:
            self._show(self.spectrum)

    def _show(self, shown: Spectrum) -> None:
        """Draw a spectrum; the zoom is kept as long as its scale is the same."""
        self.image.setImage(shown.pixels, autoLevels=False, levels=(0, 255), lut=lookup_table("inferno"))
        scale = shown.pixels.shape, shown.step_per_nm
        if scale != self._scale:
            self._scale = scale
            self._frame_picture(shown)
        self.ring_text.setVisible(shown.step_per_nm > 0)

    def _frame_picture(self, shown: Spectrum) -> None:
        n = shown.pixels.shape[0]
        self.image.setRect(QRectF(-0.5, -0.5, n, n))
        radius = _RING_PER_NM / shown.step_per_nm if shown.step_per_nm > 0 else 0.0
        self.ring.setRect(QRectF(n // 2 - radius, n // 2 - radius, 2 * radius, 2 * radius))
        self.ring_text.setPos(n // 2, n // 2 - radius)
        reach = min(n / 2, 2.2 * radius) if radius else n / 2
        self.box.setRange(
            xRange=(n / 2 - reach, n / 2 + reach), yRange=(n / 2 - reach, n / 2 + reach), padding=0
        )

    def _read(self, scene_position: Any) -> None:
        if self.spectrum is None:
            set_text(self.reading, _HINT)
            return
        place = self.box.mapSceneToView(scene_position)
        spacing = self.spectrum.spacing_nm(place.y(), place.x())
        known = math.isfinite(spacing)
        text = f"{value_text(1 / spacing, 2, 'nm⁻¹')}  =  {value_text(spacing, 3, 'nm')}" if known else _HINT
        set_text(self.reading, text)
