"""Headers that several versions of Merlin's own software wrote, out of the notes of fpd's authors.

The pixels after them are ours: nobody but the detector's software writes such files.
"""

import re
from contextlib import closing

import numpy as np
import pytest

from streamer.errors import UsageError
from streamer.files import open_file
from streamer.merlin_header import time_of
from tests.integration.make_venvs import MERLIN_HEADERS

pytestmark = pytest.mark.skipif(bool(MERLIN_HEADERS.missing), reason=MERLIN_HEADERS.missing)

HEADER = re.compile(r"MQ1,\d[^'\s]*(?: +[^'\s]+)*")
DTYPES = {"U16": ">u2", "U32": ">u4"}


def headers():
    """The headers, those of raw files last."""
    if MERLIN_HEADERS.missing:
        return []
    text = (MERLIN_HEADERS.folder / MERLIN_HEADERS.within / "fpd_file.py").read_text(encoding="utf-8")
    found = {line for line in HEADER.findall(text) if line.count(",") > 8}
    return sorted(found, key=lambda line: (line.split(",")[6] == "R64", line))


def write(path, header, n_frames=3):
    """A file of frames after that header, zeros between as the software leaves them; returns the frames."""
    _, _, n_bytes, _, width, height, depth, *_ = header.split(",")
    shape = (n_frames, int(height), int(width))
    frames = np.random.default_rng(1).poisson(40, shape).astype(DTYPES.get(depth, ">u2"))
    frames[:, 0, 0] = 0x0102  # the byte order shows
    parts = [header.encode().ljust(int(n_bytes), b"\0") + frame[::-1].tobytes() for frame in frames]
    path.write_bytes(b"".join(parts))
    return frames


@pytest.mark.parametrize("header", [h for h in headers() if ",R64," not in h])
def test_what_merlin_s_software_writes_is_understood(header, tmp_path):
    frames = write(tmp_path / "a.mib", header)
    with closing(open_file(tmp_path / "a.mib")) as file:
        assert (file.info.n_frames, file.info.shape) == (len(frames), frames.shape[1:])
        assert file.info.dtype == frames.dtype
        assert file.info.frame_time_s is None  # the stamps are all alike
        for index, frame in enumerate(frames):
            np.testing.assert_array_equal(file.frame(index), frame)
    stamp = re.search(r"MQ1A,(\S{26})", header)[1]  # its nanoseconds are cut off
    assert time_of(header).isoformat() == stamp


@pytest.mark.parametrize("header", [h for h in headers() if ",R64," in h])
def test_raw_frames_are_refused(header, tmp_path):
    write(tmp_path / "a.mib", header)
    with pytest.raises(UsageError, match="R64; expected U08, U16 or U32"):
        open_file(tmp_path / "a.mib")


def test_they_are_of_several_versions():
    assert len(headers()) == 9
    assert {line.split(",")[6] for line in headers()} == {"U16", "U32", "R64"}
