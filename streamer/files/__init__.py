"""Recorded files as sources of frames: one small file a format, behind `FrameFile`."""

from streamer.files.convert import UNSCALED, Scaling, stream_dtype, to_counts
from streamer.files.open import open_file
from streamer.files.probe import expect_harmless
from streamer.files.protocol import Chunk, FileInfo, FrameFile

__all__ = [
    "UNSCALED",
    "Chunk",
    "FileInfo",
    "FrameFile",
    "Scaling",
    "expect_harmless",
    "open_file",
    "stream_dtype",
    "to_counts",
]
