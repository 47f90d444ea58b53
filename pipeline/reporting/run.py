"""A recorded run in numbers: totals against time, changes by region, rates, residence times. Pure functions.

Everything is taken from the fused counts (`pipeline.follower`): a column's count changes when it was decided
anew. Where a column stands is told by its neighbours in the projected lattice at that moment: columns within
1.3 times the distance of nearest neighbours (4 for ceria along [100], 6 along [110]). One with all of them is
*bulk*, one with at most half of them a *corner*, any other *surface*.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from streamer.records import TRACKS_OF_AN_ANALYSER
from streamer.result_tables import Tables, damaged_on_arrival

__all__ = [
    "CHANGE_ROW", "REGIONS", "STAY_ROW", "TOTAL_ROW", "Rate", "RunReport", "make_report", "region_of",
]  # fmt: skip

REGIONS = ("bulk", "surface", "corner")
TOTAL_ROW = np.dtype(
    [
        ("frame_id", "<i8"), ("time_s", "<f8"), ("n_columns", "<i4"), ("total_atoms", "<f4"),
        ("total_atoms_std", "<f4"), ("fused_atoms", "<f4"), ("fused_atoms_std", "<f4"),
        ("drift_y_px", "<f4"), ("drift_x_px", "<f4"),
    ]
)  # fmt: skip
CHANGE_ROW = np.dtype(
    [
        ("frame_id", "<i8"), ("time_s", "<f8"), ("track_id", "<i8"), ("y_px", "<f4"), ("x_px", "<f4"),
        ("before", "<i2"), ("after", "<i2"), ("probability", "<f4"), ("region", "U7"),
    ]
)  # fmt: skip
"""A change of a count; y and x in pixels of the first frame. `before` is −1 for a column's first count."""
STAY_ROW = np.dtype(
    [
        ("track_id", "<i8"), ("count", "<i2"), ("start_s", "<f8"), ("end_s", "<f8"), ("complete", "?"),
        ("region", "U7"),
    ]
)  # fmt: skip
"""How long a column kept a count; not `complete` where its beginning or its end was not seen."""

_NEIGHBOUR = 1.3
_USUAL_PERCENT = 90.0  # of the columns' numbers of neighbours: that of the bulk


@dataclass(frozen=True, slots=True)
class Rate:
    """Atoms gained and lost in one region, and per second with the standard error of a Poisson process.

    `changes_up` and `changes_down` are the numbers of changes: of one atom or of several.
    """

    region: str
    gained: int
    lost: int
    changes_up: int
    changes_down: int
    gained_per_s: float
    gained_per_s_error: float
    lost_per_s: float
    lost_per_s_error: float


@dataclass(frozen=True, slots=True)
class RunReport:
    """The numbers of one run.

    Attributes
    ----------
    totals, changes, stays : numpy.ndarray of TOTAL_ROW, CHANGE_ROW, STAY_ROW
        In the order of time.
    rates : tuple of Rate
        One for each region, then one for all; none where columns were not followed.
    mean_stay_s : float
        Mean residence time by all time observed over the number of changes seen, which also counts the stays
        whose end was not seen (maximum likelihood for an exponential distribution); NaN without changes.
    duration_s : float
        From the first analysed frame to the last.
    """

    totals: NDArray[np.void]
    changes: NDArray[np.void]
    stays: NDArray[np.void]
    rates: tuple[Rate, ...]
    mean_stay_s: float
    duration_s: float


def make_report(tables: Tables) -> RunReport:
    """Reduce a run's tables to what is reported."""
    totals = _totals(tables)
    duration_s = float(np.ptp(totals["time_s"])) if len(totals) else 0.0
    changes = _changes(tables, totals)
    stays = _stays(changes, totals)
    rates = [_rate(region, changes[changes["region"] == region], duration_s) for region in REGIONS]
    rates.append(_rate("all", changes, duration_s))
    if not np.isfinite(totals["fused_atoms"]).any():
        rates = []
    n_ends = int((changes["before"] > 0).sum())
    observed_s = float((stays["end_s"] - stays["start_s"]).sum())
    mean_stay_s = observed_s / n_ends if n_ends else float("nan")
    return RunReport(totals, changes, stays, tuple(rates), mean_stay_s, duration_s)


def region_of(place: NDArray[np.float64], others: NDArray[np.float64]) -> str:
    """Return the region of a column at `place` (2,) among the `others` (n, 2), in any one unit."""
    if len(others) < 2:
        return REGIONS[-1]
    tree = cKDTree(others)
    spacing = float(np.median(np.asarray(tree.query(others, 2)[0])[:, 1]))
    reach = _NEIGHBOUR * spacing
    usual = float(np.percentile(tree.query_ball_point(others, reach, return_length=True) - 1, _USUAL_PERCENT))
    n = int(tree.query_ball_point(place, reach, return_length=True))
    if n >= usual:
        return "bulk"
    return "corner" if n <= usual / 2 else "surface"


def _totals(tables: Tables) -> NDArray[np.void]:
    summary, n = tables.summary, len(tables.summary["frame_id"])
    rows = np.zeros(n, TOTAL_ROW)
    for name in ("frame_id", "n_columns", "total_atoms", "total_atoms_std"):
        rows[name] = summary[name]
    for name in ("fused_atoms", "fused_atoms_std"):
        rows[name] = summary.get(name, np.full(n, np.nan))
    rows["drift_y_px"], rows["drift_x_px"] = summary["drift"].T
    at = _rows_of(rows["frame_id"], tables.ledger["frame_id"])
    rows["time_s"] = np.where(at >= 0, _times_s(tables)[at], np.nan)
    return _by_time(rows)


def _times_s(tables: Tables) -> NDArray[np.float64]:
    """Return when each frame of the ledger was taken, since the first one [s].

    The stack says it of the frames that are in it; of others the ledger does, by the detector's clock where
    there is one.
    """
    ledger, stack = tables.ledger, tables.stack
    received = ledger["t_received"]
    detector = ledger.get("t_detector", np.full(len(received), np.nan))
    first = int(np.nanargmin(np.where(damaged_on_arrival(ledger), np.nan, received)))
    since = detector - detector[first]
    times = np.where(np.isnan(since), received - received[first], since)
    at = _rows_of(stack["indices_image"], ledger["frame_id"])
    times[at[at >= 0]] = stack["time"][at >= 0]
    return times


def _changes(tables: Tables, totals: NDArray[np.void]) -> NDArray[np.void]:
    stored = tables.changes
    rows = np.zeros(len(stored.get("frame_id", ())), CHANGE_ROW)
    if not len(rows):
        return rows
    for name in ("frame_id", "track_id", "before", "after", "probability"):
        rows[name] = stored[name]
    at = _rows_of(rows["frame_id"], totals["frame_id"])
    rows, at = rows[at >= 0], at[at >= 0]
    rows["time_s"] = totals["time_s"][at]
    kept = np.isin(stored["frame_id"], totals["frame_id"])
    for axis in "yx":
        rows[f"{axis}_px"] = stored[axis][kept] - totals[f"drift_{axis}_px"][at]
    rows = _by_time(rows)
    rows["region"] = list(_regions(rows))
    return rows


def _by_time(rows: NDArray[np.void]) -> NDArray[np.void]:
    """Order rows, which are stored as results come: of several analysers the later one may come first."""
    rows = rows[np.isfinite(rows["time_s"])]  # a crash can leave results of frames that the ledger lacks
    return rows[np.argsort(rows["time_s"], kind="stable")]


def _follower_of(changes: NDArray[np.void]) -> NDArray[np.int64]:
    """Return the number of who followed; one that takes another's place begins anew, with its own tracks."""
    return np.asarray(changes["track_id"] // TRACKS_OF_AN_ANALYSER)


def _rows_of(wanted: NDArray[np.int64], frame_ids: NDArray[np.int64]) -> NDArray[np.int64]:
    row_of = {int(frame_id): row for row, frame_id in enumerate(frame_ids)}
    return np.array([row_of.get(int(frame_id), -1) for frame_id in wanted], np.int64)


def _regions(changes: NDArray[np.void]) -> Iterator[str]:
    """Yield each change's region among the columns that are there after it."""
    there: dict[int, tuple[float, float]] = {}
    follower = 0
    for frame_id in dict.fromkeys(changes["frame_id"].tolist()):
        together = changes[changes["frame_id"] == frame_id]
        if (newest := int(_follower_of(together).max())) > follower:
            there, follower = {}, newest
        arrived = {
            int(c["track_id"]): (float(c["y_px"]), float(c["x_px"])) for c in together if c["after"] > 0
        }
        there |= arrived
        for change in together:
            others = [place for track_id, place in there.items() if track_id != change["track_id"]]
            yield region_of(
                np.array([change["y_px"], change["x_px"]], float), np.array(others).reshape(-1, 2)
            )
        for change in together[together["after"] == 0]:
            there.pop(int(change["track_id"]), None)


def _stays(changes: NDArray[np.void], totals: NDArray[np.void]) -> NDArray[np.void]:
    """Return how long every column kept each of its counts."""
    rows: list[tuple[object, ...]] = []
    followers = _follower_of(changes)
    for track_id in np.unique(changes["track_id"]):
        of_track = changes[changes["track_id"] == track_id]
        later = changes["time_s"][followers > _follower_of(of_track)[0]]
        ends = [*of_track["time_s"][1:].tolist(), float(min(later, default=totals["time_s"].max()))]
        for k, (change, end_s) in enumerate(zip(of_track, ends, strict=True)):
            if change["after"] > 0:
                complete = bool(change["before"] >= 0 and k + 1 < len(of_track))
                rows.append((track_id, change["after"], change["time_s"], end_s, complete, change["region"]))
    return np.array(rows, STAY_ROW)


def _rate(region: str, changes: NDArray[np.void], duration_s: float) -> Rate:
    known = changes[changes["before"] >= 0]
    step = known["after"].astype(int) - known["before"].astype(int)
    gained, lost = int(step[step > 0].sum()), int(-step[step < 0].sum())
    up, down = int((step > 0).sum()), int((step < 0).sum())
    per_s = 1.0 / duration_s if duration_s > 0 else float("nan")
    errors = [per_s * _poisson_error(steps) for steps in (step[step > 0], step[step < 0])]
    return Rate(region, gained, lost, up, down, gained * per_s, errors[0], lost * per_s, errors[1])


def _poisson_error(steps: NDArray[np.int64]) -> float:
    """Return the standard error of a sum of steps that come at random; of none, that of one atom."""
    return float(np.sqrt(max(int((steps**2).sum()), 1)))
