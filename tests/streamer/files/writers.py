"""Writes small files of each format, with writers that are not ours or byte by byte from a description."""

import json
import struct
from importlib import import_module

import h5py
import hdf5plugin
import mrcfile
import numpy as np
import tifffile

SHAPE = (24, 40)  # not square: a transposed image shows
N_FRAMES = 7
PIXEL_SIZE_A = 0.25
FRAME_TIME_S = 0.04


def counted(dtype="<u2", n_frames=N_FRAMES, shape=SHAPE):
    """Frames of counts in which every frame, row and column differs."""
    frames = np.random.default_rng(7).poisson(3, (n_frames, *shape))
    frames[:, 0, 0] = 20 + np.arange(n_frames)  # tells one frame from another, and top from bottom
    return frames.astype(dtype)


def write_dectris_legacy(folder, frames, per_file=3, filters=None, frame_time_s=FRAME_TIME_S):
    """FileWriter's legacy format: a master with external links to data files."""
    master = folder / "series_1_master.h5"
    filters = hdf5plugin.Bitshuffle(nelems=0, cname="lz4") if filters is None else filters
    with h5py.File(master, "w") as file:
        file["/entry/definition"] = "NXmx"
        _detector(file, frame_time_s)
        for number, first in enumerate(range(0, len(frames), per_file), start=1):
            part = frames[first : first + per_file]
            name = f"series_1_data_{number:06d}.h5"
            _data_file(folder / name, part, filters, first + 1)
            file[f"/entry/data/data_{number:06d}"] = h5py.ExternalLink(name, "/entry/data/data")
    return master


def write_dectris_2024(folder, frames, per_file=3, channels=("threshold_1", "threshold_2")):
    """FileWriter's v2024.2 format: (n, channels, height, width) frames behind one virtual dataset."""
    master = folder / "series_2_master.h5"
    layout = h5py.VirtualLayout(frames.shape, frames.dtype)
    filters = hdf5plugin.Bitshuffle(nelems=0, cname="lz4")
    for number, first in enumerate(range(0, len(frames), per_file), start=1):
        part = frames[first : first + per_file]
        name = f"series_2_data_{number:06d}.h5"
        _data_file(folder / name, part, filters, first + 1)
        layout[first : first + len(part)] = h5py.VirtualSource(name, "/entry/data/data", part.shape)
    with h5py.File(master, "w") as file:
        file["/entry/definition"] = "NXmx"
        _detector(file, FRAME_TIME_S)
        file.create_virtual_dataset("/entry/data/data", layout)
        file["/entry/data/channel"] = np.array(channels, "S16")
    return master


def _data_file(path, frames, filters, image_nr_low):
    with h5py.File(path, "w") as file:
        chunks = (1,) * (frames.ndim - 2) + frames.shape[-2:]
        dataset = file.create_dataset("/entry/data/data", data=frames, chunks=chunks, **filters)
        dataset.attrs["image_nr_low"] = image_nr_low
        dataset.attrs["image_nr_high"] = image_nr_low + len(frames) - 1


def _detector(file, frame_time_s):
    if frame_time_s is not None:
        file["/entry/instrument/detector/frame_time"] = frame_time_s
        file["/entry/instrument/detector/frame_time"].attrs["units"] = "s"
    file["/entry/instrument/detector/x_pixel_size"] = 7.5e-5
    file["/entry/instrument/detector/detectorSpecific/saturation_value"] = np.uint32(60000)


def write_mrc(path, frames, voxel_A=PIXEL_SIZE_A):
    with mrcfile.new(path) as file:
        file.set_data(frames)
        file.voxel_size = voxel_A
    return path


def write_tiff(path, frames, **options):
    tifffile.imwrite(path, frames, photometric="minisblack", **options)
    return path


def write_tiff_by_frame(path, frames):
    """Write as a program that appends each frame; tifffile makes a series of each."""
    with tifffile.TiffWriter(path) as file:
        for frame in frames:
            file.write(frame, photometric="minisblack")
    return path


def write_imagej_tiff(path, frames, byteorder="<", unit="nm", pixel=PIXEL_SIZE_A / 10):
    per_unit = (1 / pixel, 1 / pixel)
    metadata = {"axes": "TYX", "unit": unit, "finterval": FRAME_TIME_S}
    tifffile.imwrite(path, frames, imagej=True, resolution=per_unit, metadata=metadata, byteorder=byteorder)
    return path


def write_ome_tiff(path, frames):
    metadata = {
        "axes": "TYX",
        "PhysicalSizeX": PIXEL_SIZE_A / 10,
        "PhysicalSizeXUnit": "nm",
        "PhysicalSizeY": PIXEL_SIZE_A / 10,
        "PhysicalSizeYUnit": "nm",
        "TimeIncrement": FRAME_TIME_S * 1000,
        "TimeIncrementUnit": "ms",
    }
    tifffile.imwrite(path, frames, ome=True, photometric="minisblack", metadata=metadata)
    return path


def write_dm_tiff(path, frames):
    """As DigitalMicrograph exports it: scales and units in private tags."""
    tags = [
        (65003, "s", 3, "nm", False),
        (65004, "s", 3, "nm", False),
        (65009, "d", 1, PIXEL_SIZE_A / 10, False),
        (65010, "d", 1, PIXEL_SIZE_A / 10, False),
        (65005, "s", 2, "s", False),
        (65011, "d", 1, FRAME_TIME_S, False),
    ]
    return write_tiff(path, frames, extratags=tags)


def write_npy(path, frames):
    np.save(path, frames)
    return path


def write_mib(path, frames, interval_s=FRAME_TIME_S, n_chips=1):
    """Merlin: a text header before each frame, big-endian pixels, the lowest row first."""
    n_bytes, layout = {1: (384, "   1x1"), 4: (768, "  2x2G")}[n_chips]
    depth = {1: "U08", 2: "U16", 4: "U32"}[frames.dtype.itemsize]
    height, width = frames.shape[1:]
    with path.open("wb") as file:
        for number, frame in enumerate(frames):
            time = f"12:00:{number * interval_s:09.6f}"
            fields = (
                f"MQ1,{number + 1:06d},{n_bytes:05d},{n_chips:02d},{width:04d},{height:04d},{depth},{layout},"
                f"{(1 << n_chips) - 1:02X},"
                f"2026-01-02 {time},0.000555,0,0,0,1.2E+2,5.11E+2,0,0,0,0,0,0,3RX,"
                f"MQ1A,2026-01-02T{time}000Z,555000ns,12,"
            )
            file.write(fields.encode().ljust(n_bytes, b"\0"))
            file.write(frame[::-1].astype(frame.dtype.newbyteorder(">")).tobytes())
    return path


def write_ser(path, frames, step_m=PIXEL_SIZE_A * 1e-10, version=0x0220, n_planned=None):
    """TIA: header, one dimension, elements, then the tables of offsets; the lowest row first."""
    codes = {"u1": 1, "u2": 2, "u4": 3, "i1": 4, "i2": 5, "i4": 6, "f4": 7, "f8": 8}
    offset = "<Q" if version >= 0x0220 else "<I"
    n_planned = n_planned or len(frames)
    header = struct.pack("<HHHIIII", 0x4949, 0x0197, version, 0x4122, 0x4152, n_planned, len(frames))
    name = b"Number"
    dimension = struct.pack("<IddII", n_planned, 0.0, 1.0, 0, len(name)) + name + struct.pack("<I", 0)
    first = len(header) + struct.calcsize(offset) + 4 + len(dimension)
    elements, starts, tags = b"", [], []
    height, width = frames.shape[1:]
    for frame in frames:
        starts.append(first + len(elements))
        code = codes[frame.dtype.str[1:]]
        elements += struct.pack("<ddiddihii", 0, step_m, 0, 0, step_m, 0, code, width, height)
        elements += frame[::-1].astype(frame.dtype.newbyteorder("<")).tobytes()
        tags.append(first + len(elements))
        elements += struct.pack("<HHI", 0x4152, 0, 1_700_000_000)
    fill = [0] * (n_planned - len(frames))
    table = b"".join(struct.pack(offset, o) for o in [*starts, *fill, *tags, *fill])
    where = struct.pack(offset, first + len(elements)) + struct.pack("<I", 1)
    path.write_bytes(header + where + dimension + elements + table)
    return path


def write_emi(path, frames):
    """TIA's description of a series beside the series itself: XML somewhere in a file."""
    write_ser(path.with_name(f"{path.stem}_1.ser"), frames)
    path.write_bytes(
        b"\0\1<ObjectInfo><AcquireDate>Mon Mar 28 16:14:37 2011</AcquireDate><ExperimentalDescription><Root>"
        b"<Data><Label>Mode</Label><Value>TEM uP SA Zoom Image</Value><Unit></Unit></Data></Root>"
        b"</ExperimentalDescription><AcquireInfo><CameraNamePath>Ceta</CameraNamePath></AcquireInfo></ObjectInfo>"
    )
    return path


def write_velox(path, frames, titles=("Ceta",), unit="m"):
    """Thermo Fisher Velox: (height, width, frames) images with their metadata as JSON."""
    with h5py.File(path, "w") as file:
        file["Version"] = np.array([json.dumps({"format": "Velox", "version": "1.15.0.0"}).encode()])
        for number, _ in enumerate(titles):
            image = file.create_group(f"Data/Image/{number:032x}")
            height, width = frames.shape[1:]
            image.create_dataset(
                "Data", data=np.moveaxis(frames, 0, 2), chunks=(height, width, 1), compression="gzip"
            )
            text = json.dumps(_velox_metadata(unit)).encode().ljust(8000, b"\0")
            columns = np.repeat(np.frombuffer(text, np.uint8)[:, None], len(frames), axis=1)
            image.create_dataset("Metadata", data=columns)
    return path


def _velox_metadata(unit):
    size = {"width": str(PIXEL_SIZE_A * 1e-10), "height": str(PIXEL_SIZE_A * 1e-10)}
    return {
        "Core": {"MetadataDefinitionVersion": "7.9", "MetadataSchemaVersion": "v1/2013/07"},
        "Instrument": {"InstrumentModel": "Titan"},
        "Acquisition": {"AcquisitionStartDatetime": {"DateTime": "1700000000"}, "BeamType": ""},
        "Optics": {"AccelerationVoltage": "300000"},
        "BinaryResult": {
            "PixelSize": size,
            "PixelUnitX": unit,
            "PixelUnitY": unit,
            "Offset": {"x": "0", "y": "0"},
            "Detector": "BM-Ceta",
            "DetectorIndex": "0",
        },
        "Scan": {"FrameTime": str(FRAME_TIME_S)},
        "Detectors": {"Detector-0": {"DetectorName": "BM-Ceta", "ExposureTime": str(FRAME_TIME_S)}},
        "Sample": "",
        "Stage": {},
        "Vacuum": {},
        "CustomProperties": {},
    }


def write_ncem(path, frames):
    """Berkeley EMD 0.2: one group with emd_group_type 1, a data set and its dimension vectors."""
    with h5py.File(path, "w") as file:
        file.attrs["version_major"], file.attrs["version_minor"] = 0, 2
        group = file.create_group("signals/stack")
        group.attrs["emd_group_type"] = 1
        group.create_dataset("data", data=frames, chunks=(1, *frames.shape[1:]))
        axes = (("t", FRAME_TIME_S, "s"), ("y", PIXEL_SIZE_A / 10, "nm"), ("x", PIXEL_SIZE_A / 10, "nm"))
        for number, (n, (name, step, unit)) in enumerate(zip(frames.shape, axes, strict=True), start=1):
            dim = group.create_dataset(f"dim{number}", data=np.arange(n) * step)
            dim.attrs["name"], dim.attrs["units"] = name, unit
    return path


def write_rosetta(path, plugin, frames, pixel_nm=PIXEL_SIZE_A / 10, **options):
    """By one of rosettasciio's writers."""
    axes = [
        {"name": "t", "scale": FRAME_TIME_S, "units": "s", "navigate": True},
        {"name": "y", "scale": pixel_nm, "units": "nm", "navigate": False},
        {"name": "x", "scale": pixel_nm, "units": "nm", "navigate": False},
    ]
    for index, (axis, size) in enumerate(zip(axes, frames.shape, strict=True)):
        axis |= {"size": size, "offset": 0.0, "index_in_array": index, "_type": "UniformDataAxis"}
    signal = {
        "data": frames,
        "axes": axes,
        "metadata": {
            "General": {"title": "movie"},
            "Signal": {"signal_type": "", "signal_dimension": 2},
            "_HyperSpy": {"General": {}},
        },
        "original_metadata": {},
        "attributes": {"_lazy": False, "ragged": False},
        "tmp_parameters": {},
        "learning_results": {},
        "models": {},
        "package_info": {"package": "tests", "package_version": "0"},
    }
    import_module(f"rsciio.{plugin}").file_writer(str(path), signal, **options)
    return path


def write_dm(path, frames, version=4, pixel_nm=PIXEL_SIZE_A / 10):
    """DigitalMicrograph 3 or 4: a tree of tags, after Greg Jefferis' description of the format."""
    codes = {"i2": 1, "f4": 2, "u1": 6, "i4": 7, "i1": 9, "u2": 10, "u4": 11, "f8": 12}
    dm = _DmTags(version)
    dimensions = [dm.number("", 5, n) for n in frames.shape[::-1]]
    calibrations = [
        dm.group("", dm.number("Origin", 6, 0.0), dm.number("Scale", 6, step), dm.text("Units", unit))
        for step, unit in ((pixel_nm, "nm"), (pixel_nm, "nm"), (FRAME_TIME_S, "s"))
    ]
    brightness = dm.group(
        "Brightness", dm.number("Origin", 6, 0.0), dm.number("Scale", 6, 1.0), dm.text("Units", "")
    )
    image_data = dm.group(
        "ImageData",
        dm.group("Calibrations", brightness, dm.group("Dimension", *calibrations)),
        dm.array("Data", frames),
        dm.number("DataType", 5, codes[frames.dtype.str[1:]]),
        dm.group("Dimensions", *dimensions),
        dm.number("PixelDepth", 5, frames.dtype.itemsize),
    )
    image = dm.group("", image_data, dm.group("ImageTags"), dm.text("Name", "movie"))
    dm.write(path, dm.group("ImageList", image))
    return path


class _DmTags:
    """Tags of version 3 (32-bit lengths) or 4 (64-bit lengths, with each tag's size)."""

    def __init__(self, version):
        self._version = version
        self._length = ">q" if version == 4 else ">i"

    def number(self, name, code, value):
        packed = struct.pack({5: "<I", 6: "<f"}[code], value)
        return self._tag(21, name, self._data([code], packed))

    def text(self, name, value):
        return self._tag(21, name, self._data([20, 4, len(value)], value.encode("utf-16-le")))

    def array(self, name, values):
        element = {"i2": 2, "i4": 3, "u2": 4, "u4": 5, "f4": 6, "f8": 7, "i1": 9, "u1": 10}
        code = element[values.dtype.str[1:]]
        packed = values.astype(values.dtype.newbyteorder("<")).tobytes()
        return self._tag(21, name, self._data([20, code, values.size], packed))

    def group(self, name, *tags):
        return self._tag(20, name, self._group_body(tags))

    def write(self, path, *tags):
        body = b"\1\0" + self._pack(len(tags)) + b"".join(tags) + b"\0" * 8
        path.write_bytes(
            struct.pack(">i", self._version) + self._pack(len(body)) + struct.pack(">i", 1) + body
        )

    def _group_body(self, tags):
        is_named = not tags or tags[0][1:3] != b"\0\0"  # a list's tags have no names and are not sorted
        return (b"\1\0" if is_named else b"\0\0") + self._pack(len(tags)) + b"".join(tags)

    def _data(self, info, packed):
        return b"%%%%" + self._pack(len(info)) + b"".join(self._pack(i) for i in info) + packed

    def _tag(self, kind, name, body):
        head = struct.pack(">BH", kind, len(name)) + name.encode()
        return head + (self._pack(len(body)) if self._version == 4 else b"") + body

    def _pack(self, value):
        return struct.pack(self._length, value)
