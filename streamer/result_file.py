"""The writer of a result file: frames as they came, results as they come, readable by others at any moment.

One process writes a file, through one `ResultWriter`. Frames and results are appended, never moved; what is
not flushed yet is lost if the process is killed, at most `RecordConfig.flush_frames` frames or what came
within `RecordConfig.flush_interval_s`. The parts are flushed in the order in which they refer to one
another, so that a reader, or a crash between two flushes, never finds a reference to what is not there:
frame ids and times before the frames, columns and particles before the tables that point into them, the
ledger last.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.compression import FILTER_HEADER, decode
from streamer.counters import Counters
from streamer.disk_space import DiskSpace
from streamer.errors import RecordingError
from streamer.file_layout import FileSpec, lay_out
from streamer.file_process import iso_time
from streamer.file_views import HYPERSPY_FRAME_AXIS
from streamer.records import AnalyserInfo, Compression, Frame, FrameHeader, FrameResult
from streamer.stimuli import Sample
from streamer.swmr import Column, SwmrFile, text

__all__ = ["ResultWriter"]

_WITHOUT_FILTER = 1


class ResultWriter:
    """One file being written.

    Any method may raise OSError (a full disk, a lost volume); the file must then be given up with `abandon`.

    Parameters
    ----------
    path : pathlib.Path
        Must not exist.
    spec : FileSpec

    Raises
    ------
    FileExistsError
        If the file exists: nothing is ever overwritten.
    """

    def __init__(self, path: Path, spec: FileSpec) -> None:
        self.path = path
        self.n_frames = 0
        self.n_results = 0
        self._spec = spec
        self._frame_bytes = spec.shape[0] * spec.shape[1] * spec.dtype.itemsize
        self._stack_compression = (
            Compression.LZ4 if spec.compression is Compression.LZ4 else Compression.BSLZ4
        )
        self._file = SwmrFile(path)
        try:
            self._layout = lay_out(self._file, spec)
            self._file.show_to_readers()
            self._space = DiskSpace(path, self._file.descriptor)
            self._space.ensure(self._file.size_bytes)
        except BaseException:
            self.abandon()
            path.unlink(missing_ok=True)  # there is nothing in it yet
            raise
        self.ledger = self._layout.ledger
        self._end_bytes = self._file.size_bytes
        self._intensity = self._layout.intensity
        self._times: list[float] = []
        self._frame_ids: list[int] = []
        self._results: list[FrameResult] = []
        self._n_columns = 0

    @property
    def size_bytes(self) -> int:
        """Size of the file."""
        return self._end_bytes

    def fits(self, header: FrameHeader) -> bool:
        """Whether the file was laid out for frames such as this one."""
        spec = self._spec
        filters = (header.compression is Compression.LZ4) == (self._stack_compression is Compression.LZ4)
        return filters and (header.shape, header.dtype) == (spec.shape, spec.dtype)

    def begin(self, t_start: float) -> None:
        """Set the zero of the time axis [Unix s], as the first frame tells it."""
        self._layout.start_time[()] = text(iso_time(t_start))
        self._layout.t_start.put(t_start)
        self._layout.start_time.flush()

    def append_frame(self, frame: Frame, time_s: float) -> int:
        """Store a frame, and return its row in the stack.

        A payload whose compression is the stack's is stored as it came, without a copy; an uncompressed one
        too, with the filter masked out for its chunk. Any other is decoded and stored uncompressed.

        Parameters
        ----------
        frame : Frame
            Of the shape and dtype in the file's spec.
        time_s : float
            Position on the time axis.

        Raises
        ------
        PayloadError
            If a payload that had to be decoded is damaged.
        """
        chunk, filter_mask = self._chunk(frame)
        row = self.n_frames
        self._end_bytes += len(chunk)
        self._space.ensure(self._end_bytes)
        self._intensity.resize(row + 1)
        self._intensity.write_chunk(row, chunk, filter_mask)
        self._times.append(time_s)
        self._frame_ids.append(frame.header.frame_id)
        self.n_frames = row + 1
        return row

    def append_result(self, result: FrameResult) -> int:
        """Store a frame's result, and return its row in the summary."""
        self._results.append(result)
        self.n_results += 1
        return self.n_results - 1

    def append_maps(self, result: FrameResult) -> bool:
        """Store a result's maps; return False where the file has no place for maps of that shape."""
        maps = {"denoised": result.denoised, "atom_count": result.atom_count}
        if not self._layout.maps or any(m is not None and m.shape != self._spec.shape for m in maps.values()):
            return False
        self._end_bytes += sum(m.nbytes for m in maps.values() if m is not None)
        self._space.ensure(self._end_bytes)
        columns = self._layout.maps
        row = columns["frame_id"].n_rows
        columns["frame_id"].append(np.array([result.frame_id]))
        for name, image in maps.items():
            columns[name].resize(row + 1)
            if image is not None:
                columns[name].write(row, image[np.newaxis])
        return True

    def note(self, t: float, line: str) -> None:
        """Add a line to the file's log."""
        self._layout.process.note(t, line)

    def mark(self, t: float, frame_id: int, line: str, source: str) -> bool:
        """Add a row to the file's notes; return False where their table is full."""
        return self._layout.process.mark(t, frame_id, line, source)

    def put_analyser(self, info: AnalyserInfo) -> None:
        """Name the engine and networks that produce the results."""
        self._layout.process.put_analyser(info)
        self._layout.particles.put_shapes(info.shapes)

    def append_samples(self, name: str, samples: Sequence[Sample]) -> None:
        """Store samples of one stimulus channel."""
        columns = self._layout.channels[name]
        columns["time"].append([sample.t for sample in samples])
        columns["value"].append([sample.value for sample in samples])
        columns["t_source"].append([sample.t_source for sample in samples])

    def beat(self, t: float) -> None:
        """Say that the writer is alive."""
        self._layout.process.put("t_heartbeat", t)

    def flush(self) -> None:
        """Show readers all frames and results appended so far; the ledger is flushed after this."""
        self._flush_frames()
        self._flush_results()
        self._layout.process.flush()
        self._end_bytes = max(self._end_bytes, self._file.size_bytes)

    def finish(
        self,
        state: str,
        reason: str,
        t_end: float,
        frames_due: int,
        counters: Counters,
        percentiles_s: Mapping[str, tuple[float, ...]],
    ) -> None:
        """Write what is known only now, and close the file; the ledger must have been flushed.

        Parameters
        ----------
        state : str
            ``complete`` or ``stopped``.
        reason : str
            Why the series ended.
        t_end : float
            Unix time [s].
        frames_due : int
            How many planned frames had to come: none after the last one where the series was cut short.
        counters : Counters
        percentiles_s : mapping of str to tuple of float
            Of the latency, as `Latencies.percentiles_s` gives them.
        """
        process = self._layout.process
        process.put_counters(counters, percentiles_s)
        process.put("t_end", t_end)
        process.put("frames_due", frames_due)
        process.put("end_reason", reason)
        process.put("state", state)
        self._file.number(HYPERSPY_FRAME_AXIS, "size").put(self.n_frames)
        self.flush()
        self._file.close()
        self._space.give_back()

    def discard(self) -> None:
        """Remove the file; only for one without frames, which was laid out on a wrong announcement."""
        if self.n_frames:
            raise RecordingError(f"{self.path} holds {self.n_frames} frames and is not removed")
        self._file.close()
        self.path.unlink()

    def abandon(self) -> None:
        """Let go of a file that cannot be written any more; what was flushed stays readable."""
        self._file.abandon()

    def _chunk(self, frame: Frame) -> tuple[memoryview | bytes, int]:
        compression, payload = frame.header.compression, frame.payload
        if compression is self._stack_compression and self._is_chunk(payload):
            return payload, 0
        if compression is Compression.NONE and len(payload) == self._frame_bytes:
            return payload, _WITHOUT_FILTER
        return decode(frame).tobytes(), _WITHOUT_FILTER

    def _is_chunk(self, payload: memoryview) -> bool:
        """Whether HDF5's filter will find in the payload's header what it needs."""
        if len(payload) <= FILTER_HEADER.size:
            return False
        n_bytes, block_bytes = FILTER_HEADER.unpack_from(payload)
        return bool(n_bytes == self._frame_bytes and block_bytes)

    def _flush_frames(self) -> None:
        if self._frame_ids:
            self._layout.indices_image.append(self._frame_ids)
            self._layout.time.append(self._times)
            self._frame_ids, self._times = [], []
            self._layout.indices_image.flush()
            self._layout.time.flush()
        self._intensity.flush()

    def _flush_results(self) -> None:
        if self._results:
            results, self._results = self._results, []
            self._append_columns(results)
            self._append_changes(results)
            self._layout.particles.append(results)
            self._append_summary(results)
        for column in self._layout.maps.values():
            column.flush()
        for channel in self._layout.channels.values():
            for column in channel.values():
                column.flush()

    def _append_columns(self, results: Sequence[FrameResult]) -> None:
        tables = [result.columns for result in results]
        lengths = [len(table) for table in tables]
        _append_rows(self._layout.columns, results, tables)
        self._layout.first_row.append(self._n_columns + np.cumsum([0, *lengths[:-1]]))
        self._n_columns += sum(lengths)

    def _append_changes(self, results: Sequence[FrameResult]) -> None:
        tables = [result.changes for result in results]
        if any(len(table) for table in tables):
            _append_rows(self._layout.changes, results, tables)

    def _append_summary(self, results: Sequence[FrameResult]) -> None:
        fields: dict[str, list[Any]] = {
            "frame_id": [r.frame_id for r in results],
            "total_atoms": [r.total_atoms for r in results],
            "total_atoms_std": [r.total_atoms_std for r in results],
            "n_columns": [len(r.columns) for r in results],
            "drift": [r.drift_px for r in results],
            "ood_score": [r.ood_score for r in results],
            "fused_atoms": [r.fused_atoms for r in results],
            "fused_atoms_std": [r.fused_atoms_std for r in results],
            "n_particles": [len(r.particles) for r in results],
        }
        for name, values in fields.items():
            self._layout.summary[name].append(values)
            self._layout.summary[name].flush()
        self._layout.first_row.flush()
        self._layout.particles.flush()


def _append_rows(
    columns: Mapping[str, Column], results: Sequence[FrameResult], tables: Sequence[NDArray[np.void]]
) -> None:
    """Append a table for each result, under its frame's id, and show them."""
    rows = np.concatenate(tables)
    frame_ids = [result.frame_id for result in results]
    columns["frame_id"].append(np.repeat(frame_ids, [len(table) for table in tables]))
    for name in rows.dtype.names or ():
        columns[name].append(rows[name])
    for column in columns.values():
        column.flush()
