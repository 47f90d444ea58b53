"""TIFF stacks, by ``tifffile``: mapped where the pixels lie in one piece, otherwise one page at a time."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from streamer.errors import FileReadError, UsageError
from streamer.files.limits import one_line
from streamer.files.protocol import Chunk, FileInfo
from streamer.files.tiff_pages import expect_pages_end
from streamer.files.units import angstroms, isotropic_angstroms, seconds
from streamer.plain import positive

__all__ = ["TiffStack"]

_TIME_LIKE = "TZIQR"  # axes that may count frames: time, depth, and what no one described
_DM_UNIT_TAGS, _DM_SCALE_TAGS = (65003, 65004), (65009, 65010)  # y, x; as DigitalMicrograph exports them
_DM_FRAME_UNIT_TAG, _DM_FRAME_SCALE_TAG = 65005, 65011
_LIBRARY_LOG = logging.getLogger("tifffile")
_DAMAGE = ("TiffPages", "series")  # in what it logs: the chain of pages is broken, or shorter than announced
_PLAIN_SERIES = ("generic", "uniform", "shaped")  # whose order in the file is all that they mean
_OME_DEFAULT = {"PhysicalSizeX": "µm", "PhysicalSizeY": "µm", "TimeIncrement": "s"}


class TiffStack:
    """The first series of images in a TIFF, BigTIFF, OME-TIFF or ImageJ file, and what goes on with it.

    ``tifffile`` makes a series of each image that was written by itself.

    Parameters
    ----------
    path : pathlib.Path

    Raises
    ------
    UsageError
        If ``tifffile`` is not installed, finds the file wrong or truncated, or its images are not a stack of
        single-channel frames.
    """

    def __init__(self, path: Path) -> None:
        try:
            import tifffile
        except ImportError as error:
            raise UsageError(
                "TIFF files need the package tifffile: pip install 'atomstream[formats]'"
            ) from error
        expect_pages_end(path)
        with _complaints() as complaints:
            try:
                self._file = tifffile.TiffFile(path)
            except Exception as error:  # of a damaged file: whatever it stumbles over
                raise UsageError(f"cannot read {path} as TIFF: {one_line(error)}") from error
            try:
                series = _alike(_all_series(path, self._file))
                _expect_stack(path, series[0])
                self._pages = series[0].pages if len(series) == 1 else [p for s in series for p in s.pages]
                self._mapped = _mapped(path, series[0], self._file.byteorder) if len(series) == 1 else None
                self._info = _describe(path, self._file, series)
                _expect_undamaged(path, complaints)
            except BaseException:
                self._file.close()
                raise

    @property
    def info(self) -> FileInfo:
        """What tags, ImageJ's or OME's description say."""
        return self._info

    def frame(self, index: int) -> NDArray[Any]:
        """Return a view of one mapped frame, or decode its page."""
        if self._mapped is not None:
            view: NDArray[Any] = self._mapped[index]
            return view
        try:
            page = self._pages[index]
            if page is None:
                raise FileReadError(f"page {index} of {self._info.path} is missing")
            if 0 in page.dataoffsets or 0 in page.databytecounts:  # tifffile would give zeros
                raise FileReadError(f"page {index} of {self._info.path} was never written, or not all of it")
            image: NDArray[Any] = page.asarray().reshape(self._info.shape)
        except FileReadError:
            raise
        except Exception as error:  # each codec has its own
            raise FileReadError(
                f"page {index} of {self._info.path} cannot be read: {one_line(error)}"
            ) from error
        return image

    def chunk(self, index: int) -> Chunk | None:
        """Return None: no compression of TIFF is one that streams carry."""
        return None

    def close(self) -> None:
        """Close the file and let go of the mapping."""
        self._mapped = None
        self._file.close()


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """Collect what ``tifffile`` logs as errors, after which it goes on with the pages it has found.

    Nothing of it reaches other handlers meanwhile; afterwards the library's log is as it was.
    """
    messages: list[str] = []

    def collect(record: logging.LogRecord) -> bool:
        if record.levelno >= logging.ERROR:
            messages.append(record.getMessage())
        return False

    _LIBRARY_LOG.addFilter(collect)
    try:
        yield messages
    finally:
        _LIBRARY_LOG.removeFilter(collect)


def _expect_undamaged(path: Path, complaints: list[str]) -> None:
    for complaint in complaints:
        if any(word in complaint for word in _DAMAGE):
            what = complaint.partition("> ")[2]
            raise UsageError(f"{path} is truncated or damaged ({what}): copy it again")


def _all_series(path: Path, file: Any) -> list[Any]:
    try:
        return [file.series[0], *file.series[1:]]
    except Exception as error:  # of a damaged file: whatever it stumbles over
        raise UsageError(f"cannot read {path} as TIFF: {one_line(error)}") from error


def _alike(series: list[Any]) -> list[Any]:
    """Return the first series and those that hold more frames of the same kind, one a page."""
    first, *others = series
    if not _is_plain(first):
        return [first]
    kind = (first.axes[-2:], first.shape[-2:], first.dtype)
    more = [
        each for each in others if _is_plain(each) and (each.axes[-2:], each.shape[-2:], each.dtype) == kind
    ]
    return [first, *more]


def _is_plain(series: Any) -> bool:
    return series.kind in _PLAIN_SERIES and len(series.pages) == prod(series.shape[:-2])


def _expect_stack(path: Path, series: Any) -> None:
    axes = series.axes
    extra = {axis: n for axis, n in zip(axes[:-2], series.shape[:-2], strict=True) if n > 1}
    if axes[-2:] != "YX" or set(extra) - set(_TIME_LIKE):
        raise UsageError(
            f"{path} has axes {axes} of lengths {series.shape}; expected single-channel frames (axes TYX):"
            " save one channel as its own file"
        )
    if len(extra) > 1:
        raise UsageError(f"{path} has several axes of frames ({axes}): save one of them as its own file")


def _mapped(path: Path, series: Any, byte_order: str) -> NDArray[Any] | None:
    """Map the pixels if they lie in one piece; None if they are compressed or scattered."""
    if series.dataoffset is None:
        if len(series.pages) != prod(series.shape[:-2]):
            raise UsageError(f"{path}: {len(series.pages)} pages are not the frames of {series.shape}")
        return None
    size, needed = path.stat().st_size, series.dataoffset + series.nbytes
    if size < needed:
        raise UsageError(f"{path} is truncated: it has {size} bytes of {needed}, copy it again")
    stored = np.dtype(series.dtype).newbyteorder(byte_order)
    frames: NDArray[Any] = np.memmap(path, stored, "r", series.dataoffset, series.shape)
    return frames.reshape(-1, *series.shape[-2:])


def _describe(path: Path, file: Any, series: list[Any]) -> FileInfo:
    first, n_left_out = series[0], len(file.series) - len(series)
    dtype = np.dtype(first.dtype).newbyteorder(file.byteorder)
    pixel_size_A, pixel_size_from = _pixel_size(file)
    frame_time_s, frame_time_from = _frame_time(file)
    return FileInfo(
        path=path,
        format="TIFF",
        n_frames=sum(prod(each.shape[:-2]) for each in series),
        shape=(first.shape[-2], first.shape[-1]),
        dtype=dtype,
        pixel_size_A=pixel_size_A,
        pixel_size_from=pixel_size_from,
        frame_time_s=frame_time_s,
        frame_time_from=frame_time_from,
        notes=(f"other images in the file are left out ({n_left_out} series)",) if n_left_out else (),
    )


def _pixel_size(file: Any) -> tuple[float | None, str]:
    """Return the pixel size [Å]. A bare XResolution is a print resolution and counts for nothing."""
    tags = file.pages[0].tags
    found = {
        "OME PhysicalSizeX": _ome_pixel_size_A(_ome(file)),
        "ImageJ unit and XResolution": _imagej_pixel_size_A(file.imagej_metadata or {}, tags),
        "DigitalMicrograph tags 65004 and 65010": _dm_pixel_size_A(tags),
    }
    for name, value in found.items():
        if value is not None:
            return value, name
    return None, "neither ImageJ, OME nor DigitalMicrograph fields give one"


def _frame_time(file: Any) -> tuple[float | None, str]:
    """Return the frame time [s] and where it stands."""
    ome, imagej = _ome(file), file.imagej_metadata or {}
    from_ome = seconds(ome.get("TimeIncrement"), ome.get("TimeIncrementUnit", _OME_DEFAULT["TimeIncrement"]))
    if from_ome is not None:
        return from_ome, "OME TimeIncrement"
    from_imagej = seconds(imagej.get("finterval"), imagej.get("tunit", "s"))
    if from_imagej is not None:
        return from_imagej, "ImageJ finterval"
    from_dm = seconds(
        *(_dm_tag(file.pages[0].tags, tag) for tag in (_DM_FRAME_SCALE_TAG, _DM_FRAME_UNIT_TAG))
    )
    if from_dm is not None:
        return from_dm, "DigitalMicrograph tags 65005 and 65011"
    return None, "neither ImageJ, OME nor DigitalMicrograph fields give one"


def _ome(file: Any) -> Mapping[str, str]:
    """Return the attributes of the first image's Pixels element; empty if there is no OME description."""
    if not file.ome_metadata:
        return {}
    try:
        root = ElementTree.fromstring(file.ome_metadata)
    except ElementTree.ParseError:
        return {}
    element = root.find(".//{*}Pixels")
    return {} if element is None else element.attrib


def _ome_pixel_size_A(ome: Mapping[str, str]) -> float | None:
    sides = [
        angstroms(ome.get(name), ome.get(f"{name}Unit", _OME_DEFAULT[name]))
        for name in ("PhysicalSizeY", "PhysicalSizeX")
    ]
    return isotropic_angstroms(*sides)


def _imagej_pixel_size_A(imagej: Mapping[str, Any], tags: Any) -> float | None:
    resolutions = (tags.valueof(name) for name in ("YResolution", "XResolution"))
    return isotropic_angstroms(*(angstroms(_inverse(value), imagej.get("unit")) for value in resolutions))


def _inverse(resolution: Any) -> float | None:
    """Return units per pixel, of a rational (pixels, units)."""
    if not isinstance(resolution, tuple) or len(resolution) != 2 or not resolution[0]:
        return None
    return positive(resolution[1] / resolution[0])


def _dm_pixel_size_A(tags: Any) -> float | None:
    sides = [
        angstroms(_dm_tag(tags, scale), _dm_tag(tags, unit))
        for unit, scale in zip(_DM_UNIT_TAGS, _DM_SCALE_TAGS, strict=True)
    ]
    return isotropic_angstroms(*sides)


def _dm_tag(tags: Any, code: int) -> Any:
    value = tags.valueof(code)
    return value.strip("\x00") if isinstance(value, str) else value
