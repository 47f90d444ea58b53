"""A run of known changes, reduced to totals, rates by region and residence times, and written out."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.reporting.page import _stimuli_figure, make_page
from pipeline.reporting.run import make_report, region_of
from pipeline.reporting.tables import write_tables
from streamer.channel_files import Series
from streamer.errors import UsageError
from streamer.records import TRACKS_OF_AN_ANALYSER
from streamer.result_tables import Asked, Tables

FRAMES = 11  # a second apart
SQUARE = 14.0 * np.stack(np.meshgrid(range(5), range(5)), -1).reshape(-1, 2) + 20.0
CORNER, EDGE, INSIDE = 0, 2, 12


def run_tables(changes: list[tuple[int, int, int, int]]) -> Tables:
    """A square crystal of 25 columns of 3 atoms, that drifts by a pixel a frame.

    `changes` are (frame, site, before, after).
    """
    first = [(0, site, -1, 3) for site in range(25)]
    rows = [*first, *changes]
    frame_ids = np.arange(FRAMES)
    drift = np.stack([frame_ids, -frame_ids], -1).astype(np.float32)
    n_columns = np.full(FRAMES, 25, np.int32)
    frame, site, before, after = (np.array(values) for values in zip(*rows, strict=True))
    places = SQUARE[site] + drift[frame]
    times = 1000.0 + frame_ids
    columns = {
        "frame_id": np.repeat(frame_ids, 25),
        "y": (SQUARE[:, 0] + drift[:, :1]).ravel(),
        "x": (SQUARE[:, 1] + drift[:, 1:]).ravel(),
        "count": np.full(25 * FRAMES, 3, np.uint8),
        "fused_count": np.full(25 * FRAMES, 3, np.uint8),
    }
    return Tables(
        ledger={
            "frame_id": frame_ids,
            "t_received": times,
            "t_published": times + 0.02,
            "status": np.full(FRAMES, 2, np.uint8),
            "stack_row": frame_ids,
        },
        stack={"time": frame_ids.astype(float), "indices_image": frame_ids},
        summary={
            "frame_id": frame_ids,
            "n_columns": n_columns,
            "total_atoms": np.full(FRAMES, 74.0, np.float32),
            "total_atoms_std": np.full(FRAMES, 3.0, np.float32),
            "fused_atoms": np.full(FRAMES, 75.0, np.float32),
            "fused_atoms_std": np.full(FRAMES, 1.0, np.float32),
            "drift": drift,
        },
        columns=columns,
        changes={
            "frame_id": frame, "track_id": site + 100, "y": places[:, 0], "x": places[:, 1],
            "before": before, "after": after, "probability": np.full(len(rows), 0.9, np.float32),
        },
        first_row=25 * frame_ids,
        counters={},
        n_planned=FRAMES,
        n_due=FRAMES,
        state="complete",
        end_reason="end message",
        uneven=(),
        asked=Asked(),
    )  # fmt: skip


CHANGES = [(2, CORNER, 3, 2), (4, EDGE, 3, 5), (6, INSIDE, 3, 4), (7, CORNER, 2, 0), (9, EDGE, 5, 4)]


def test_atoms_gained_and_lost_are_told_apart_by_region() -> None:
    report = make_report(run_tables(CHANGES))
    rates = {rate.region: (rate.gained, rate.lost) for rate in report.rates}
    assert rates == {"bulk": (1, 0), "surface": (2, 1), "corner": (0, 3), "all": (3, 4)}
    corner = next(rate for rate in report.rates if rate.region == "corner")
    assert corner.lost_per_s == pytest.approx(3 / 10)
    assert corner.lost_per_s_error == pytest.approx(np.sqrt(1 + 4) / 10)
    assert corner.gained_per_s_error == pytest.approx(1 / 10)  # none seen: not known to be none


def test_places_are_those_of_the_first_frame_whatever_the_drift() -> None:
    changes = make_report(run_tables(CHANGES)).changes
    np.testing.assert_allclose(changes["y_px"][-1], SQUARE[EDGE, 0])
    np.testing.assert_allclose(changes["x_px"][-1], SQUARE[EDGE, 1])


def test_residence_times_are_complete_only_between_two_changes() -> None:
    report = make_report(run_tables(CHANGES))
    complete = report.stays[report.stays["complete"]]
    found = sorted((s["track_id"] - 100, s["count"], s["end_s"] - s["start_s"]) for s in complete)
    assert found == [(CORNER, 2, 5.0), (EDGE, 5, 5.0)]
    assert len(report.stays) == 25 + 4  # one for each count of atoms that a column had
    assert report.mean_stay_s == pytest.approx((24 * 10 + 7) / len(CHANGES))


@pytest.mark.parametrize(("site", "region"), [(CORNER, "corner"), (EDGE, "surface"), (INSIDE, "bulk")])
def test_a_region_is_told_by_the_neighbours(site: int, region: str) -> None:
    assert region_of(SQUARE[site], np.delete(SQUARE, site, axis=0)) == region


def test_a_run_without_changes_has_no_rates() -> None:
    report = make_report(run_tables([]))
    assert [(rate.gained, rate.lost) for rate in report.rates] == [(0, 0)] * 4
    assert np.isnan(report.mean_stay_s)
    assert report.duration_s == 10.0


def test_frames_that_are_not_in_the_stack_have_their_own_times() -> None:
    """A run that keeps every fifth frame, and one that was analysed again without its frames."""
    tables = run_tables(CHANGES)
    for kept in ([0, 5, 10], []):
        stack = {name: values[kept] for name, values in tables.stack.items()}
        totals = make_report(replace(tables, stack=stack)).totals
        np.testing.assert_array_equal(totals["time_s"], np.arange(FRAMES))
    late = {**tables.ledger, "t_detector": 5.0 + 0.9 * np.arange(FRAMES)}
    totals = make_report(replace(tables, stack=stack, ledger=late)).totals
    np.testing.assert_allclose(totals["time_s"], 0.9 * np.arange(FRAMES))


def test_results_that_came_in_another_order_make_the_same_report() -> None:
    tables = run_tables(CHANGES)
    order = np.array([1, 0, 3, 2, *range(4, FRAMES - 2), FRAMES - 1, FRAMES - 2])
    of_change = np.argsort(np.argsort(order)[tables.changes["frame_id"]], kind="stable")
    mixed = replace(
        tables,
        summary={name: values[order] for name, values in tables.summary.items()},
        changes={name: values[of_change] for name, values in tables.changes.items()},
    )
    expected, found = make_report(tables), make_report(mixed)
    np.testing.assert_array_equal(found.totals, expected.totals)
    np.testing.assert_array_equal(np.sort(found.changes), np.sort(expected.changes))
    np.testing.assert_array_equal(found.stays, expected.stays)
    assert found.rates == expected.rates


def test_who_follows_in_anothers_place_begins_with_tracks_of_its_own() -> None:
    """An analyser died after the fifth frame: the columns of its tracks are those of the second's."""
    tables = run_tables([(7, EDGE, 3, 4)])
    again = tables.changes["frame_id"] == 0
    at = np.where(again, 5, 7)
    second = {name: values.copy() for name, values in tables.changes.items()}
    second |= {"frame_id": at, "track_id": second["track_id"] + TRACKS_OF_AN_ANALYSER}
    second["y"] += (at - tables.changes["frame_id"]) * 1.0
    second["x"] -= (at - tables.changes["frame_id"]) * 1.0
    both = {n: np.concatenate([v[again], second[n]]) for n, v in tables.changes.items()}
    report = make_report(replace(tables, changes=both))
    assert {rate.region: rate.gained for rate in report.rates} == {
        "bulk": 0, "surface": 1, "corner": 0, "all": 1
    }  # fmt: skip
    first = report.stays["track_id"] < TRACKS_OF_AN_ANALYSER
    assert set(report.stays["end_s"][first]) == {5.0}
    assert float((report.stays["end_s"] - report.stays["start_s"]).sum()) == 25 * 10.0
    assert list(report.changes["region"][25:50]) == list(report.changes["region"][:25])


def test_a_run_whose_columns_were_not_followed_has_no_rates() -> None:
    tables = run_tables([])
    summary = {**tables.summary, "fused_atoms": np.full(FRAMES, np.nan, np.float32)}
    tables = replace(tables, summary=summary, changes={n: v[:0] for n, v in tables.changes.items()})
    report = make_report(tables)
    assert report.rates == ()
    assert "gained" not in make_page(Path("run.nxs"), tables, report, {})


def test_times_are_written_as_exactly_as_they_are_known(tmp_path: Path) -> None:
    tables = run_tables(CHANGES)
    times = 40_000.0 + 0.001 * np.arange(FRAMES)
    write_tables(make_report(replace(tables, stack={**tables.stack, "time": times})), tmp_path)
    with (tmp_path / "totals.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["time_s"]) for row in rows] == times.tolist()
    assert [np.float32(row["fused_atoms"]) for row in rows] == [75.0] * FRAMES


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    report = make_report(run_tables(CHANGES))
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UsageError, match=r"cannot write the tables into .*: Permission denied"):
        write_tables(report, tmp_path)


def test_tables_are_written_once(tmp_path: Path) -> None:
    report = make_report(run_tables(CHANGES))
    paths = write_tables(report, tmp_path / "tables")
    with (tmp_path / "tables" / "changes.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 25 + len(CHANGES)
    assert (rows[-1]["before"], rows[-1]["after"], rows[-1]["region"]) == ("5", "4", "surface")
    assert all(path.stat().st_size for path in paths)
    with pytest.raises(UsageError, match="never overwritten"):
        write_tables(report, tmp_path / "tables")


def test_parquet_holds_the_same(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    report = make_report(run_tables(CHANGES))
    write_tables(report, tmp_path)
    table = parquet.read_table(tmp_path / "totals.parquet")
    assert table.column("fused_atoms").to_pylist() == [75.0] * FRAMES


def test_the_page_is_whole_in_itself() -> None:
    tables = run_tables(CHANGES)
    page = make_page(Path("<run>.nxs"), tables, make_report(tables), {"source": "a & b"})
    assert page.count("data:image/png;base64,") == 4
    assert "http" not in page
    assert "Stimuli" not in page
    assert "&lt;run&gt;.nxs" in page
    assert "a &amp; b" in page
    assert "20.0" in page  # ms, the latency


def test_the_page_shows_stimuli_and_when_triggers_have_fired() -> None:
    tables = run_tables(CHANGES)
    t0 = float(tables.ledger["t_received"][0])
    channels = {"temperature": Series("K", [t0 - 1.0, t0 + 4.0], [300.0, 500.0]), "bias": Series()}
    figure = _stimuli_figure(tables, channels, [t0 + 7.0])
    above, below = figure.axes
    assert (above.get_ylabel(), below.get_ylabel()) == ("temperature [K]", "bias")
    drawn, fired = above.lines
    np.testing.assert_array_equal(drawn.get_xdata(), [-1.0, 4.0, 10.0])
    np.testing.assert_array_equal(drawn.get_ydata(), [300.0, 500.0, 500.0])
    np.testing.assert_array_equal(fired.get_xdata(), [7.0, 7.0])
    page = make_page(Path("run.nxs"), tables, make_report(tables), {}, channels, [t0 + 7.0])
    assert page.count("data:image/png;base64,") == 5
