"""A picture that is made ready for the screen once, and not at every painting."""

import pyqtgraph as pg
from PySide6.QtGui import QImage

__all__ = ["PictureItem"]


class PictureItem(pg.ImageItem):  # type: ignore[misc]
    """Holds 32-bit colours: they are scaled to the screen in a fraction of an indexed picture's time.

    What is dimmed belongs into the lookup table: with an opacity a picture takes the slow way again.
    """

    qimage: QImage | None

    def render(self) -> None:
        """See pyqtgraph."""
        super().render()
        if self.qimage is not None:
            self.qimage = self.qimage.convertToFormat(QImage.Format.Format_RGB32)
