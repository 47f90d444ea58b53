"""What lies under the pointer, in words. Pure."""

import math
from dataclasses import dataclass

from gui.format import value_text
from gui.geometry import nearest_column
from gui.picture import Picture
from gui.resolve import FrameDrawing
from gui.settings import ContrastMode, Settings

__all__ = ["PointerTexts", "pointer_texts"]

_DEFAULT_REACH_PX = 8.0


@dataclass(frozen=True, slots=True)
class PointerTexts:
    """The texts beside the three pictures' titles."""

    raw: str
    denoised: str
    map: str


def pointer_texts(
    frame: FrameDrawing, settings: Settings, place: tuple[float, float] | None, pixel_size_A: float
) -> PointerTexts:
    """Say what each picture shows at `place` (y, x) [px]; without one, how it is drawn."""
    if place is None or frame.raw is None or frame.raw.value_at(*place) is None:
        raw, denoised = _how(settings, raw=True), _how(settings, raw=False)
        if frame.text and frame.raw is None:
            raw = "damaged: cannot be decoded"
        if frame.text and frame.denoised is None:
            denoised = "not stored for this frame"
        return PointerTexts(raw, denoised, frame.text)
    return PointerTexts(
        _value(frame.raw, place, 1, "counts"),
        _value(frame.denoised, place, 2, "× vacuum"),
        f"{_position(place, pixel_size_A)}{_column(frame, place)}",
    )


def _how(settings: Settings, *, raw: bool) -> str:
    parts = []
    if raw and settings.average_frames > 1:
        parts.append(f"mean of {settings.average_frames}")
    if settings.contrast is not ContrastMode.AUTO:
        parts.append(settings.contrast.value)
    return "  ·  ".join(parts)


def _value(picture: Picture | None, place: tuple[float, float], digits: int, unit: str) -> str:
    value = None if picture is None else picture.value_at(*place)
    return "" if value is None else value_text(value, digits, unit)


def _position(place: tuple[float, float], pixel_size_A: float) -> str:
    y, x = place
    if math.isfinite(pixel_size_A) and pixel_size_A > 0:
        return f"y {y * pixel_size_A / 10:.2f}  x {x * pixel_size_A / 10:.2f} nm"
    return f"y {y:.0f}  x {x:.0f} px"


def _column(frame: FrameDrawing, place: tuple[float, float]) -> str:
    markers = frame.markers
    if markers is None:
        return ""
    known = math.isfinite(markers.spacing_px)
    index = nearest_column(markers.columns, *place, 0.5 * markers.spacing_px if known else _DEFAULT_REACH_PX)
    if index is None:
        return ""
    column = markers.columns[index]
    plural = "" if column["count"] == 1 else "s"
    text = f"  ·  {column['count']} atom{plural}, p {column['probability']:.2f}"
    if column["fused_probability"] == column["fused_probability"]:
        text += f"  ·  fused {column['fused_count']}, p {column['fused_probability']:.2f}"
    return text
