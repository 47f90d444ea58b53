"""The map: the picture panel with coloured columns and the colour bar, or with outlined particles."""

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QWidget

from gui.colour_bar import ColourBar
from gui.column_marks import ColumnMarks
from gui.counts_switch import CountsSwitch
from gui.format import breakable
from gui.labels import fit_overlay, plain_label, set_text
from gui.particle_marks import ParticleMarks
from gui.picture_panel import PicturePanel
from gui.resolve import Drawing
from gui.roi_item import RoiItem
from gui.theme import Theme

__all__ = ["MapPanel"]

_DIMMED = 0.55


class MapPanel(PicturePanel):
    """Shows a drawing's columns, or particles, over its dimmed backdrop.

    Signals
    -------
    roi_moved(object)
        Corners (y, x) [px] of the region of interest that was dragged.
    """

    roi_moved = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Atom counts", parent)
        self.brightness = _DIMMED
        self.marks = ColumnMarks(self.box)
        self.outlines = ParticleMarks(self.box)
        self.roi = RoiItem(self.box, self.roi_moved.emit)
        self.counts = CountsSwitch()
        self.header.insertWidget(1, self.counts)
        self.bar = ColourBar()
        self.content.addWidget(self.bar)
        self.badge = plain_label("", "badge")
        self.badge.setParent(self.canvas)
        self.badge.hide()
        self.placeholder = plain_label("", "placeholder")
        self.placeholder.setParent(self.canvas)
        for label in (self.badge, self.placeholder):
            label.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._mark = ""

    def apply_theme(self, theme: Theme) -> None:
        """See `PicturePanel`."""
        super().apply_theme(theme)
        self._mark = theme.mark
        self.bar.apply_theme(theme)
        self.badge.setStyleSheet(
            f"background: {theme.warn}; color: {theme.panel}; border-radius: 10px;"
            " padding: 3px 11px; font-weight: 600;"
        )
        self.placeholder.setStyleSheet(f"color: {theme.muted}; font-size: 15px;")

    def draw_map(self, drawing: Drawing) -> None:
        """Show backdrop, columns, colour bar, and what must be said over the picture."""
        self.draw(drawing.frame.backdrop, drawing.region, drawing.pixel_size_A)
        self.marks.draw(drawing.frame.markers, self.magnification(), drawing.selected, self._mark)
        self.outlines.draw(drawing.frame.particles)
        self._suit(counts_atoms=drawing.frame.counts_atoms)
        self.bar.draw(drawing.frame.markers)
        self.counts.draw(drawing.counts)
        self.roi.draw(drawing.roi, self._mark)
        self._overlay(drawing)

    def _suit(self, *, counts_atoms: bool) -> None:
        """Say what is shown, and take away what belongs to counts where there are none."""
        set_text(self.title, "Atom counts" if counts_atoms else "Particles")
        for part in (self.bar, self.counts):
            if part.isHidden() == counts_atoms:
                part.setVisible(counts_atoms)

    def _overlay(self, drawing: Drawing) -> None:
        area = self.canvas.size()
        fit_overlay(self.badge, drawing.badge, area)
        fit_overlay(self.placeholder, breakable(drawing.placeholder), area)
        self.badge.move((area.width() - self.badge.width()) // 2, 12)
        self.placeholder.move(
            (area.width() - self.placeholder.width()) // 2, (area.height() - self.placeholder.height()) // 2
        )
