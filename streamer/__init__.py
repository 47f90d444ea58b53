"""Streams in, results and files out: the part of Atomstream that never touches a pixel."""
