"""Virtual data sets of every kind give the frames that h5py shows, from where they are stored."""

from contextlib import closing

import h5py
import hdf5plugin
import numpy as np
import pytest

from pipeline.cli import main
from streamer.compression import decode
from streamer.errors import FileReadError, UsageError
from streamer.files import open_file
from streamer.records import Compression, Frame, FrameHeader, SeriesKey
from tests.streamer.files import writers as w

N = w.N_FRAMES
ENDLESS = h5py.h5s.UNLIMITED
HEIGHT, WIDTH = w.SHAPE
STACK = "/entry/data/data"


def stored(k):
    """The frames of the k-th source."""
    return w.counted(n_frames=N) + np.uint16(100 * k)


def write_source(folder, k, frames=None, name=None):
    frames = stored(k) if frames is None else frames
    with h5py.File(folder / (name or f"source_{k}.h5"), "w") as file:
        options = hdf5plugin.Bitshuffle(nelems=0, cname="lz4")
        shape = {"chunks": (1, *frames.shape[1:]), "maxshape": (None, *frames.shape[1:])}
        file.create_dataset("/data", data=frames, **shape, **options)


def source(k, n_frames=N, shape=w.SHAPE):
    return h5py.VirtualSource(f"source_{k}.h5", "/data", (n_frames, *shape), maxshape=(None, *shape))


def layout(n_frames, shape=w.SHAPE, dtype="<u2"):
    return h5py.VirtualLayout((n_frames, *shape), dtype, maxshape=(None, *shape))


def offset_and_cut():
    made = layout(N)
    made[:4] = source(0)[3:]
    made[4:] = source(1)[:3]
    return made


def every_second():
    made = layout(4)
    made[:] = source(0)[::2]
    return made


def alternating():
    made = layout(3 * N)
    for k in range(3):
        made[k::3] = source(k)
    return made


def listed():
    made = layout(4)
    made[[0, 2, 3]] = source(0)[4:7]
    made[1:2] = source(1)[[5]]
    return made


def blocks():
    made = layout(4)
    made[:] = source(0)[h5py.MultiBlockSlice(start=1, stride=3, count=2, block=2)]
    return made


def backwards():
    """The mappings come in another order than the frames."""
    made = layout(N)
    made[5:] = source(1)[2:4]
    made[:5] = source(0)[:5]
    return made


def overlapping():
    made = layout(N)
    made[:] = source(0)
    made[2:4] = source(1)[:2]
    return made


def endless():
    made = layout(N)
    made[0:ENDLESS] = source(0)[0:ENDLESS]
    return made


def endless_and_alternating():
    made = layout(3 * N)
    for k in range(3):
        made[k:ENDLESS:3] = source(k)[0:ENDLESS]
    return made


def endless_and_offset():
    made = layout(N)
    made[0:2] = source(1)[1:3]
    made[2:ENDLESS] = source(0)[3:ENDLESS]
    return made


def shorter_than_the_source():
    """What the writer took for all of the source has grown since."""
    made = layout(4)
    made[:] = source(0, n_frames=4)
    return made


WHOLE = {
    make.__name__: make
    for make in (
        offset_and_cut, every_second, alternating, listed, blocks, backwards, overlapping, endless,
        endless_and_alternating, endless_and_offset, shorter_than_the_source,
    )
}  # fmt: skip


def cropped():
    made = layout(3, (20, 16))
    made[:] = source(0)[2:5, 1:21, 8:24]
    return made


def tiled():
    """Two modules and a gap."""
    made = layout(N, (2 * HEIGHT + 3, WIDTH))
    made[:, :HEIGHT] = source(0)
    made[:, HEIGHT + 3 :] = source(1)
    return made


def cropped_endless():
    made = layout(N, (20, WIDTH))
    made[0:ENDLESS] = source(0)[0:ENDLESS, :20]
    return made


def a_frame_patched():
    made = layout(N)
    made[:] = source(0)
    made[2, :5] = source(1)[2, :5]
    return made


def frames_from_rows():
    """The source is one long picture."""
    made = layout(2, (HEIGHT, WIDTH))
    flat = h5py.VirtualSource("long.h5", "/data", (4 * HEIGHT, WIDTH))
    made[0] = flat[:HEIGHT]
    made[1] = flat[HEIGHT : 2 * HEIGHT]
    return made


PARTS = {make.__name__: make for make in (cropped, tiled, cropped_endless, a_frame_patched, frames_from_rows)}


def write_master(folder, made, fillvalue=65535):
    path = folder / "master.h5"
    with h5py.File(path, "w") as file:
        file["/entry/definition"] = "NXmx"
        file.create_virtual_dataset(STACK, made, fillvalue=fillvalue)
    return path


@pytest.fixture
def folder(tmp_path):
    for k in range(3):
        write_source(tmp_path, k)
    write_source(tmp_path, 9, stored(0)[:4].reshape(-1, WIDTH), "long.h5")
    return tmp_path


def shown(path):
    with h5py.File(path) as file:
        return file[STACK][:]


def decoded(file, index):
    compression, payload = file.chunk(index)
    assert compression is Compression.BSLZ4
    header = FrameHeader(SeriesKey(1), index, file.info.shape, file.info.dtype, compression)
    return decode(Frame(header, payload))


@pytest.mark.parametrize("name", WHOLE)
def test_whole_frames_come_as_shown_and_as_stored(name, folder):
    path = write_master(folder, WHOLE[name]())
    expected = shown(path)
    with closing(open_file(path)) as file:
        assert file.info.n_frames == len(expected)
        assert file.info.notes == ()
        for index, image in enumerate(expected):
            assert image[0, 0] not in (0, 65535)
            np.testing.assert_array_equal(file.frame(index), image)
            np.testing.assert_array_equal(decoded(file, index), image)


@pytest.mark.parametrize("name", PARTS)
def test_frames_put_together_from_parts_come_as_shown(name, folder):
    path = write_master(folder, PARTS[name]())
    expected = shown(path)
    with closing(open_file(path)) as file:
        assert (file.info.n_frames, *file.info.shape) == expected.shape
        assert "put together from parts of others; pixels in none of them are 65535" in file.info.notes[0]
        for index, image in enumerate(expected):
            np.testing.assert_array_equal(file.frame(index), image)
        assert file.chunk(2 if name == "a_frame_patched" else 0) is None


def test_a_file_for_each_block(folder):
    space = h5py.h5s.create_simple((N, *w.SHAPE), (ENDLESS, *w.SHAPE))
    space.select_hyperslab((0, 0, 0), (ENDLESS, 1, 1), stride=(N, 1, 1), block=(N, *w.SHAPE))
    whole = h5py.h5s.create_simple((N, *w.SHAPE))
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_virtual(space, b"source_%b.h5", b"/data", whole)
    path = folder / "master.h5"
    with h5py.File(path, "w") as file:
        file["/entry/definition"] = "NXmx"
        group = file.create_group("/entry/data")
        h5py.h5d.create(group.id, b"data", h5py.h5t.STD_U16LE, space, dcpl=plist)
    expected = shown(path)
    with closing(open_file(path)) as file:
        assert file.info.n_frames == len(expected) == 3 * N
        for index in (0, N, 3 * N - 1):
            np.testing.assert_array_equal(decoded(file, index), expected[index])


def test_a_virtual_data_set_over_another(folder):
    made = offset_and_cut()
    with h5py.File(folder / "inner.h5", "w") as file:
        file.create_virtual_dataset("/data", made)
    outer = layout(3)
    outer[:] = h5py.VirtualSource("inner.h5", "/data", (N, *w.SHAPE))[2:5]
    path = write_master(folder, outer)
    with closing(open_file(path)) as file:
        for index, image in enumerate(shown(path)):
            np.testing.assert_array_equal(decoded(file, index), image)
    (folder / "source_1.h5").unlink()  # the last of the three
    with closing(open_file(path)) as file:
        assert file.info.n_frames == 2


def test_a_data_set_that_is_behind_itself(folder):
    outer = layout(3)
    outer[:] = h5py.VirtualSource("master.h5", STACK, (3, *w.SHAPE))
    with pytest.raises(UsageError, match="more than 8 links and virtual datasets"):
        open_file(write_master(folder, outer))


def test_frames_without_a_source_are_named_and_keep_their_numbers(folder):
    made = layout(N)
    made[:2] = source(0)[:2]
    made[3:6] = source(1)[:3]
    path = write_master(folder, made)  # h5py shows the fill value in frames 2 and 6
    assert (shown(path)[[2, 6]] == 65535).all()
    with closing(open_file(path)) as file:
        assert file.info.n_frames == 6
        end, gap = file.info.notes
        assert end == f"the last 1 of 7 frames are not there: {path}:{STACK} maps no data file to frame 6"
        assert gap == (
            f"1 of 7 frames cannot be read, the first is frame 2: {path}:{STACK} maps no data file to frame 2"
        )
        np.testing.assert_array_equal(file.frame(3), stored(1)[0])
        for read in (file.frame, file.chunk):
            with pytest.raises(FileReadError, match=r"frame 2 cannot be read: .*no data file to frame 2"):
                read(2)


@pytest.mark.parametrize("name", ["alternating", "tiled", "cropped"])
def test_a_source_that_became_shorter_leaves_no_frames_of_zeros(name, folder):
    n_left = 4
    path = write_master(folder, {**WHOLE, **PARTS}[name]())
    before = shown(path)
    write_source(folder, 0, stored(0)[:n_left])
    with closing(open_file(path)) as file:
        n_present = {"alternating": 3 * N, "tiled": n_left, "cropped": 2}[name]
        assert file.info.n_frames == n_present
        for index in range(n_present):
            if name == "alternating" and index % 3 == 0 and index >= 3 * n_left:
                with pytest.raises(
                    FileReadError, match=rf"source_0.h5:/data has shape \(4, .* frame {index}"
                ):
                    file.frame(index)
            else:
                np.testing.assert_array_equal(file.frame(index), before[index])
        assert any(
            "source_0.h5:/data has shape (4, 24, 40) and ends before frame" in n for n in file.info.notes
        )


@pytest.mark.parametrize(
    "name", ["every_second", "alternating", "tiled", "cropped", "endless_and_alternating"]
)
def test_a_missing_source_is_one_line_that_names_it(name, folder, capsys):
    path = write_master(folder, {**WHOLE, **PARTS}[name]())
    (folder / "source_0.h5").unlink()
    assert main(["replay", str(path), "--fps", "0", "--to", "tcp://127.0.0.1:*"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    missing = folder / "source_0.h5"
    assert line == f"atomstream: data file {missing} is not there: copy the data files beside the master"


def test_sources_that_were_moved_with_the_master_are_found_beside_it(folder, tmp_path_factory):
    made = layout(N)
    made[:] = h5py.VirtualSource(tmp_path_factory.mktemp("gone") / "source_0.h5", "/data", (N, *w.SHAPE))
    with closing(open_file(write_master(folder, made))) as file:
        np.testing.assert_array_equal(file.frame(6), stored(0)[6])


def test_counts_that_the_virtual_data_set_would_cut_off_are_not(folder):
    write_source(folder, 0, stored(0).astype("<u4") + 70000)
    path = write_master(folder, endless())
    assert (shown(path) == 65535).all()
    with closing(open_file(path)) as file:
        assert file.info.dtype == "<u4"
        np.testing.assert_array_equal(decoded(file, 3), stored(0)[3].astype("<u4") + 70000)
        assert "holds uint32" in file.info.notes[0]
        assert "shows uint16: its frames are taken as they are stored" in file.info.notes[0]


def test_sources_of_different_types_are_no_series(folder):
    write_source(folder, 1, stored(1).astype("<u4"))
    with pytest.raises(UsageError, match=r"source_1.h5 holds frames of \(24, 40\) uint32, .* no one series"):
        open_file(write_master(folder, offset_and_cut()))


def test_a_master_whose_virtual_data_set_lies_in_a_file_that_is_missing(folder):
    path = folder / "linked.nxs"
    with h5py.File(path, "w") as file:
        file["/entry/definition"] = "NXmx"
        file[STACK] = h5py.ExternalLink("linked_vds.h5", "data")
    with pytest.raises(UsageError, match=r"linked_vds\.h5 is not there"):
        open_file(path)
    with h5py.File(path, "r+") as file:
        file["/entry/data/data_000001"] = h5py.ExternalLink("source_0.h5", "/data")
    with closing(open_file(path)) as file:
        assert file.info.n_frames == N
        (note,) = file.info.notes
        assert "linked_vds.h5, which says what to show, is not there: all frames" in note
