"""Every difference between two analyses is found, named and nothing else is."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.cli import make_parser
from pipeline.cli.comparing import _config_as_stored
from pipeline.compare import RunResults, compare, format_comparison, read_results
from streamer.config import (
    AnalysisConfig,
    ControlConfig,
    RecordConfig,
    RunConfig,
    SecurityConfig,
    SourceConfig,
    TriggerConfig,
    to_toml,
)
from streamer.errors import UsageError
from streamer.records import FrameFailure, FrameStatus, SeriesEnd, SeriesKey
from tests.streamer.ingest_run import KEY, frame_of, record, result_of, running, series_of, start_of

ENGINE = {"backend": "openvino", "device": "CPU", "network heights.onnx": "ab12"}


def table(n, seed):
    rng = np.random.default_rng(seed)
    return {
        "y": rng.random(n, np.float32),
        "count": rng.integers(1, 9, n, np.uint8),
        "track_id": rng.integers(0, 99, n),
    }


def results(frame_ids=(4, 7, 9)) -> RunResults:
    return RunResults(
        path=Path("a.nxs"),
        statuses=dict.fromkeys(frame_ids, FrameStatus.ANALYSED),
        stack_rows={frame_id: row for row, frame_id in enumerate(frame_ids)},
        columns={i: table(5, i) for i in frame_ids},
        summaries={
            i: {
                "total_atoms": np.float32(10 * i),
                "n_columns": np.int32(5),
                "drift": np.array([i, np.nan], np.float32),
            }
            for i in frame_ids
        },
        engine=ENGINE,
        configuration="",
    )


def changed(run, frame_id, part, name, value):
    parts = {i: dict(v) for i, v in getattr(run, part).items()}
    parts[frame_id][name] = value
    return replace(run, **{part: parts})


def only_difference(again):
    (difference,) = compare(results(), again).differences
    return difference


def test_the_same_results_are_the_same_nan_included():
    comparison = compare(results(), results())
    assert comparison.same
    assert (comparison.frames, comparison.columns) == (3, 15)
    assert "no difference" in format_comparison(comparison)


def test_one_bit_in_one_column_is_found():
    y = results().columns[7]["y"].copy()
    y[3] = np.nextafter(y[3], np.float32(2))
    difference = only_difference(changed(results(), 7, "columns", "y", y))
    assert (difference.frame_id, difference.field, difference.n_values) == (7, "columns.y", 1)
    assert 0 < difference.largest < 1e-6


def test_of_several_values_the_furthest_pair_is_named():
    count = results().columns[9]["count"].copy()
    old = count.copy()
    count[1] += 1
    count[4] = 200
    difference = only_difference(changed(results(), 9, "columns", "count", count))
    assert (difference.n_values, difference.largest) == (2, 200 - int(old[4]))
    assert (difference.stored, difference.again) == (str(old[4]), "200")


def test_a_number_that_became_nan_is_found():
    difference = only_difference(changed(results(), 4, "summaries", "total_atoms", np.float32(np.nan)))
    assert (difference.field, difference.again) == ("summary.total_atoms", "nan")
    assert np.isnan(difference.largest)


def test_another_number_of_columns_is_one_difference():
    fewer = {name: values[:4] for name, values in results().columns[4].items()}
    again = changed(results(), 4, "summaries", "n_columns", np.int32(4))
    again = replace(again, columns={**again.columns, 4: fewer})
    difference = only_difference(again)
    assert (difference.field, difference.stored, difference.again) == ("summary.n_columns", "5", "4")


@pytest.mark.parametrize(("status", "text"), [(None, "not analysed"), (FrameStatus.DAMAGED, "DAMAGED")])
def test_a_frame_that_was_not_analysed_again_is_found(status, text):
    statuses = {i: s for i, s in results().statuses.items() if i != 7} | ({7: status} if status else {})
    difference = only_difference(replace(results(), statuses=statuses))
    assert (difference.frame_id, difference.field, difference.again) == (7, "status", text)


def test_a_field_that_only_one_run_has_is_found():
    difference = only_difference(changed(results(), 4, "columns", "strain", np.zeros(5)))
    assert (difference.field, difference.stored) == ("columns.strain", "not there")


def test_other_weights_are_named_but_are_no_difference():
    comparison = compare(results(), replace(results(), engine={**ENGINE, "network heights.onnx": "cd34"}))
    assert comparison.same
    assert comparison.engine_changes == ("network heights.onnx was ab12, is cd34",)


def test_frames_are_renumbered_for_the_comparison():
    again = results((0, 1, 2)).renumbered([4, 7, 9])
    assert list(again.statuses) == list(again.columns) == list(again.summaries) == [4, 7, 9]


def test_the_page_shows_some_differences_and_counts_the_rest():
    many = tuple(range(40))
    again = results(many)
    for i in many:
        again = changed(again, i, "summaries", "total_atoms", np.float32(-1))
    page = format_comparison(compare(results(many), again))
    assert "and 20 more" in page
    assert "40 of 40 frames differ" in page


def test_results_are_read_from_a_file(tmp_path):
    path = tmp_path / "a.nxs"
    with running(path, AnalysisConfig()) as (detector, run, analyser):
        worker = analyser()
        ids = (0, 1, 3, 5)
        detector.send(start_of(6), *(frame_of(i) for i in ids), SeriesEnd(KEY))
        tasks = [worker.next_task() for _ in ids]
        for task in reversed(tasks[:3]):  # results come in any order
            worker.answer(result_of(task))
        worker.answer(FrameFailure.of(tasks[3].frame.header, "too dark"))
        run.finish()
    read = read_results(path)
    assert read.statuses == {
        0: FrameStatus.ANALYSED, 1: FrameStatus.ANALYSED, 3: FrameStatus.ANALYSED, 5: FrameStatus.DAMAGED,
    }  # fmt: skip
    assert read.stack_rows == {0: 0, 1: 1, 3: 2, 5: 3}
    for task in tasks[:3]:
        expected = result_of(task)
        columns = read.columns[expected.frame_id]
        for name in expected.columns.dtype.names:
            np.testing.assert_array_equal(columns[name], expected.columns[name])
        assert read.summaries[expected.frame_id]["total_atoms"] == expected.total_atoms
    assert compare(read, read).same
    assert "[analysis]" in read.configuration


def test_a_run_that_kept_some_of_its_frames_is_compared_by_those(tmp_path):
    path = tmp_path / "a.nxs"
    with running(path, AnalysisConfig(), record=RecordConfig(every=2)) as (detector, run, analyser):
        worker = analyser()
        detector.send(*series_of(range(4), 4))
        for _ in range(4):
            worker.answer(result_of(worker.next_task()))
        run.finish()
    read = read_results(path)
    assert (list(read.stack_rows), read.not_kept) == ([0, 2], 2)


def test_a_second_analysis_repeats_the_first_but_for_its_connections(tmp_path):
    stored = RunConfig(
        source=SourceConfig(address="dectris2://10.0.0.1:31001", pixel_size_A=0.2, server_key="lab.key"),
        record=RecordConfig(path="first.nxs", paused=True, every=5),
        analysis=AnalysisConfig(threads=3, analysers=0, remote="tcp://0.0.0.0:5000"),
        control=ControlConfig(bind="tcp://0.0.0.0:5001", metrics="0.0.0.0:9464"),
        security=SecurityConfig(insecure=True),
        trigger=(TriggerConfig(name="a", when="lost", above=0.0, webhook="http://lab/heater"),),
    )
    results_of_it = replace(results(), configuration=to_toml(stored))
    args = make_parser().parse_args(["replay", "first.nxs", "--compare", "--backend", "null"])
    config = _config_as_stored(args, results_of_it, tmp_path, tmp_path / "again.nxs")
    assert (config.record.paused, config.record.every) == (False, 1)
    assert (config.analysis.threads, config.analysis.analysers, config.analysis.remote) == (3, 2, "")
    assert config.control == ControlConfig()
    assert [(rule.name, rule.webhook) for rule in config.trigger] == [("a", "")]


def test_a_run_without_analysis_cannot_be_compared(tmp_path):
    path = tmp_path / "a.nxs"
    record(path, *series_of(range(2), 2, SeriesKey(1)))
    with pytest.raises(UsageError, match="without analysis"):
        read_results(path)
