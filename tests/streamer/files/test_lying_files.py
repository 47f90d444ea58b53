"""Files that declare what they do not hold: answered in one line that names the file, never with zeros."""

import os
import struct
import sys
from contextlib import closing

import h5py
import hdf5plugin
import numpy as np
import pytest
import tifffile

from streamer.errors import FileReadError, UsageError
from streamer.files import expect_harmless, open_file
from tests.streamer.files import writers as w

STACK = "/entry/data/data"
DATA_2 = "series_1_data_000002.h5"


def refused(path, match, **options):
    """The one line that a file is refused with."""
    with pytest.raises((UsageError, FileReadError), match=match) as refusal:
        open_file(path, **options)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def relinked(folder, link):
    """A master whose second data file is behind another link."""
    path = w.write_dectris_legacy(folder, w.counted())
    with h5py.File(path, "r+") as file:
        del file["/entry/data/data_000002"]
        file["/entry/data/data_000002"] = link
    return path


def replaced(folder, make):
    """A master whose second data file holds another stack."""
    path = w.write_dectris_legacy(folder, w.counted())
    with h5py.File(folder / DATA_2, "w") as file:
        make(file)
    return path


def test_what_hdf5_reads_in_circles_is_found_out_beforehand(tmp_path):
    path = tmp_path / "a_master.h5"
    with h5py.File(path, "w") as file:
        file["/entry/definition"] = "NXmx"
        file[STACK] = w.counted()
    expect_harmless(path)
    data = bytearray(path.read_bytes())
    at = data.index(b"GCOL") + 16  # texts of variable length: the first one's number, references and size
    data[at : at + 16] = bytes(16)
    path.write_bytes(data)
    with pytest.raises(UsageError, match=r"a_master\.h5 could not be opened within 5 s: it is damaged"):
        expect_harmless(path, limit_s=5.0)


def test_what_is_wrong_otherwise_is_left_to_the_reader(tmp_path):
    for name, content in {"a.h5": b"\x89HDF\r\n\x1a\n" + b"\xff" * 99, "b.npy": b"", "none.h5": None}.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        expect_harmless(tmp_path / name)


LINKS = {
    "to itself": (h5py.SoftLink("/entry/data/data_000002"), "more than 8 links"),
    "through the master": (
        h5py.ExternalLink("series_1_master.h5", "/entry/data/data_000002"),
        "more than 8 links",
    ),
    "to nothing": (h5py.SoftLink("/entry/nowhere"), "has no dataset /entry/nowhere"),
    "to a group": (h5py.ExternalLink(DATA_2, "/entry"), "has no dataset /entry"),
    "outside": (h5py.ExternalLink("../../no such file", STACK), "no such file is not there: copy"),
    "absolute": (h5py.ExternalLink("/nowhere/a.h5", STACK), "a.h5 is not there: copy the data files beside"),
    "to a folder": (h5py.ExternalLink(".", STACK), "is a folder, expected a file"),
}


@pytest.mark.parametrize("name", LINKS)
def test_a_link_that_leads_nowhere_is_named(name, tmp_path):
    link, match = LINKS[name]
    refused(relinked(tmp_path, link), match)


def test_a_link_to_a_link_is_followed(tmp_path):
    path = w.write_dectris_legacy(tmp_path, w.counted())
    with h5py.File(path, "r+") as file:
        file.move("/entry/data/data_000002", "/entry/instrument/stack")
        file["/entry/data/data_000002"] = h5py.SoftLink("/entry/instrument/stack")
    with closing(open_file(path)) as opened:
        np.testing.assert_array_equal(opened.frame(4), w.counted()[4])
    (tmp_path / DATA_2).unlink()
    refused(path, f"{DATA_2} is not there")


def unknown_filter(file):
    space = h5py.h5s.create_simple((3, *w.SHAPE))
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((1, *w.SHAPE))
    plist.set_filter(305, h5py.h5z.FLAG_OPTIONAL)  # LZO, which hdf5plugin does not bring
    group = file.create_group("/entry/data")
    stack = h5py.h5d.create(group.id, b"data", h5py.h5t.STD_U16LE, space, dcpl=plist)
    for index in range(3):
        stack.write_direct_chunk((index, 0, 0), b"packed")


STACKS = {
    "unknown filter": (unknown_filter, "filter 305 .* which is not installed here"),
    "rank": (lambda f: f.create_dataset(STACK, data=np.ones((9, 13), "<u2")), "has shape"),
    "type": (lambda f: f.create_dataset(STACK, data=np.ones((3, *w.SHAPE), "<u4")), "they are no one series"),
    "no such dataset": (lambda f: f.create_group("/entry/data"), "has no dataset /entry/data/data"),
    "days of frames": (
        lambda f: f.create_dataset(STACK, (2**40, *w.SHAPE), "<u2", chunks=(1, *w.SHAPE)),
        "declares 1,099,511,627,776 frames",
    ),
    "acres of pixels": (
        lambda f: f.create_dataset(STACK, (3, 2**20, 2**20), "<u2", chunks=(1, 64, 64)),
        "where 0 are stored",
    ),
    "pixels elsewhere": (
        lambda f: f.create_dataset(STACK, (3, *w.SHAPE), "<u2", external=[("passwd", 0, 6000)]),
        "keeps its values in passwd",
    ),
}


@pytest.mark.parametrize("name", STACKS)
def test_a_data_file_with_something_else_is_named(name, tmp_path):
    make, match = STACKS[name]
    assert DATA_2 in refused(replaced(tmp_path, make), match)


@pytest.mark.parametrize("signature", [b"HEAP", b"SNOD", b"TREE"])
def test_damage_in_the_structure_of_a_data_file_is_named_with_that_file(signature, tmp_path):
    path = w.write_dectris_legacy(tmp_path, w.counted())
    data = bytearray((tmp_path / DATA_2).read_bytes())
    data[(at := data.index(signature)) : at + 4] = b"\0\0\0\0"
    (tmp_path / DATA_2).write_bytes(data)
    assert DATA_2 in refused(path, "the file is damaged, copy it again|cannot open")


def test_damage_in_the_structure_of_a_run_is_one_line(tmp_path):
    path = w.write_dectris_legacy(tmp_path, w.counted())
    data = bytearray(path.read_bytes())
    data[(at := data.index(b"SNOD")) : at + 4] = b"\0\0\0\0"
    path.write_bytes(data)
    assert path.name in refused(path, "it is damaged")


@pytest.mark.parametrize("chunks", [(1, *w.SHAPE), (1, 12, 40), (2, *w.SHAPE)])
@pytest.mark.parametrize(
    "filters", [{}, {"compression": "gzip"}, hdf5plugin.LZ4()], ids=["none", "gzip", "lz4"]
)
def test_a_frame_that_was_never_written_is_not_read_as_zeros(chunks, filters, tmp_path):
    frames = w.counted()
    path = w.write_dectris_legacy(tmp_path, frames, per_file=7)
    with h5py.File(tmp_path / "series_1_data_000001.h5", "w") as file:
        stack = file.create_dataset(STACK, frames.shape, "<u2", chunks=chunks, **filters)
        stack[:4], stack[6:] = frames[:4], frames[6:]
    with closing(open_file(path)) as opened:
        for index in (0, 3, 6):
            np.testing.assert_array_equal(opened.frame(index), frames[index])
        for index in (4, 5):
            with pytest.raises(FileReadError, match=f"frame {index} of .*data_000001.h5.* never written"):
                opened.frame(index)
        if opened.chunk(0) is not None:
            with pytest.raises(FileReadError, match="frame 4 of"):
                opened.chunk(4)


def test_a_module_with_an_unwritten_frame_leaves_no_zeros_in_it(tmp_path):
    frames, path = w.counted(), tmp_path / "tiled_master.h5"
    layout = h5py.VirtualLayout(frames.shape, "<u2")
    for k, rows in enumerate((slice(0, 10), slice(10, 24))):
        part = frames[:, rows]
        with h5py.File(tmp_path / f"module_{k}.h5", "w") as file:
            stack = file.create_dataset("data", part.shape, "<u2", chunks=(1, *part.shape[1:]))
            for index in range(len(part)):
                if (k, index) != (1, 3):
                    stack[index] = part[index]
        layout[:, rows] = h5py.VirtualSource(f"module_{k}.h5", "data", part.shape)
    with h5py.File(path, "w") as file:
        file["/entry/definition"] = "NXmx"
        file.create_virtual_dataset(STACK, layout)
    with closing(open_file(path)) as opened:
        np.testing.assert_array_equal(opened.frame(4), frames[4])
        with pytest.raises(FileReadError, match=r"frame 3 cannot be read: .*module_1.h5"):
            opened.frame(3)


def test_damaged_metadata_do_not_cost_the_frames(tmp_path):
    path = w.write_dectris_legacy(tmp_path, w.counted())
    with h5py.File(path, "r+") as file:
        del file["/entry/instrument/detector/frame_time"]
        file["/entry/instrument/detector/frame_time"] = h5py.SoftLink("/entry/instrument/detector/frame_time")
    with closing(open_file(path)) as opened:
        assert opened.info.frame_time_s is None
        np.testing.assert_array_equal(opened.frame(6), w.counted()[6])


def test_a_saturation_value_beyond_all_counts_is_none(tmp_path):
    path = w.write_dectris_legacy(tmp_path, w.counted())
    with h5py.File(path, "r+") as file:
        file["/entry/instrument/detector/saturation_value"] = 1e300
    with closing(open_file(path)) as opened:
        assert opened.info.saturation_value is None


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no named pipes in folders")
@pytest.mark.parametrize("name", ["a.npy", "a.nxs", "a.tif"])
def test_a_pipe_is_not_waited_for(name, tmp_path):
    os.mkfifo(tmp_path / name)
    refused(tmp_path / name, "is a device or pipe, expected a file")


def test_pages_in_a_circle_are_not_followed_for_ever(tmp_path):
    path = w.write_tiff(tmp_path / "a.tif", w.counted(), compression="zlib")
    data = bytearray(path.read_bytes())
    pages, at = [], struct.unpack_from("<I", data, 4)[0]
    while at:
        pages.append(at)
        (n,) = struct.unpack_from("<H", data, at)
        last, (at,) = at + 2 + 12 * n, struct.unpack_from("<I", data, at + 2 + 12 * n)
    struct.pack_into("<I", data, last, pages[3])
    path.write_bytes(data)
    refused(path, "page 7 is followed by one before it")


def test_a_tiff_page_without_pixels_is_not_read_as_zeros(tmp_path):
    path = w.write_tiff(tmp_path / "a.tif", w.counted(), compression="zlib")
    with tifffile.TiffFile(path) as file:
        file.pages.useframes = False
        entry = file.pages[2].tags["StripByteCounts"].offset
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, entry + 8, 0)
    path.write_bytes(data)
    with closing(open_file(path)) as opened:
        opened.frame(1)
        with pytest.raises(FileReadError, match=r"page 2 of .* was never written"):
            opened.frame(2)


def test_a_mib_file_that_lost_a_block_names_the_frames_behind_it(tmp_path):
    frames = w.counted()
    path = w.write_mib(tmp_path / "a.mib", frames)
    data = path.read_bytes()
    at = 3 * (len(data) // w.N_FRAMES) + 1000
    path.write_bytes(data[:at] + data[at + 512 :])
    with closing(open_file(path)) as opened:
        np.testing.assert_array_equal(opened.frame(2), frames[2])
        with pytest.raises(FileReadError, match=r"frame 4 of .* does not lie where it should"):
            opened.frame(4)


def test_a_mib_header_of_another_size_is_named(tmp_path):
    path = w.write_mib(tmp_path / "a.mib", w.counted())
    data = path.read_bytes()
    at = data.index(b"MQ1,000003")
    path.write_bytes(data[:at] + data[at : at + 60].replace(b",0040,0024,", b",0024,0040,") + data[at + 60 :])
    with closing(open_file(path)) as opened, pytest.raises(FileReadError, match=r"frame 2 .*\(40, 24\) px"):
        opened.frame(2)


def overwritten(path, at, form, value):
    data = bytearray(path.read_bytes())
    struct.pack_into(form, data, at, value)
    path.write_bytes(data)
    return path


NUMBERS = {
    "mrc extended header": (
        lambda d, f: overwritten(w.write_mrc(d / "a.mrc", f), 92, "<i", 2**31 - 1), "extended header"
    ),
    "npy header": (
        lambda d, f: overwritten(w.write_npy(d / "a.npy", f), 6, "<B", 2), "truncated, or its header"
    ),
    "npy brackets": (lambda d, f: overwritten(w.write_npy(d / "a.npy", f), 10, "<B", ord("(")), r"a\.npy"),
    "mib pixels": (
        lambda d, f: overwritten(w.write_mib(d / "a.mib", f), 20, "4s", b"9999"), "one frame takes"
    ),
    "ser offset": (
        lambda d, f: overwritten(w.write_ser(d / "a.ser", f), -14 * 8, "<Q", 2**64 - 1), "element 0 is not"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NUMBERS)
def test_an_impossible_number_in_a_header_is_one_line(name, tmp_path):
    write, match = NUMBERS[name]
    refused(write(tmp_path, w.counted()), match)


def test_what_mrcfile_finds_strange_is_a_note(tmp_path):
    path = w.write_mrc(tmp_path / "a.mrc", w.counted())
    path.write_bytes(path.read_bytes() + b"\0" * 7)
    with closing(open_file(path)) as opened:
        assert "7 bytes larger than expected" in opened.info.notes[0]


def test_rosettasciio_is_not_let_loose_on_what_a_file_only_declares(tmp_path):
    path = w.write_ncem(tmp_path / "a.emd", w.counted())
    with h5py.File(path, "r+") as file:
        del file["signals/stack/data"]
        file.create_dataset("signals/stack/data", (7, 2**20, 2**20), "<u2", chunks=(1, 64, 64))
    refused(path, "where 0 are stored")


def test_chunks_that_were_never_written_are_noted(tmp_path):
    path = w.write_ncem(tmp_path / "a.emd", w.counted())
    with h5py.File(path, "r+") as file:
        attributes = dict(file["signals/stack/data"].attrs)
        del file["signals/stack/data"]
        stack = file.create_dataset("signals/stack/data", (7, *w.SHAPE), "<u2", chunks=(1, *w.SHAPE))
        stack[:5] = w.counted()[:5]
        stack.attrs.update(attributes)
    with closing(open_file(path)) as opened:
        assert "was not written whole (2 of its 7 rows): the rest is zeros" in opened.info.notes[0]


def test_a_virtual_data_set_for_rosettasciio_needs_its_sources(tmp_path):
    path = w.write_ncem(tmp_path / "a.emd", w.counted())
    layout = h5py.VirtualLayout((7, *w.SHAPE), "<u2")
    layout[:] = h5py.VirtualSource("gone.h5", "data", (7, *w.SHAPE))
    with h5py.File(path, "r+") as file:
        del file["signals/stack/data"]
        file.create_virtual_dataset("signals/stack/data", layout)
    refused(path, "gone.h5 of .* is not there")
