"""Stimulus channels of a finished file: from a device's table, and back into one."""

import csv
from pathlib import Path

import h5py
import pytest

from pipeline.cli import main
from streamer.channel_files import Series, add_channels, read_channels, read_csv, write_csv
from streamer.check import check_file
from streamer.errors import UsageError
from tests.streamer.ingest_run import record, series_of


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    record(tmp_path / "run.nxs", *series_of(range(4), 4))
    return tmp_path / "run.nxs"


def table_of(folder: Path, text: str) -> Path:
    path = folder / "device.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_table_is_added_on_the_runs_clock(recording: Path, tmp_path: Path) -> None:
    with h5py.File(recording) as file:
        arrivals = file["entry/ledger/t_received"][:].tolist()
    text = "Time;heater power [mW];Pressure (mbar)\n-5;1.5;\n0;2.5;10\nnoon;1;1\n1;hot;11\n"
    command = ["channels", str(recording), "--csv", str(table_of(tmp_path, text)), "--since-start"]
    assert main([*command, "--to", str(tmp_path / "out.csv"), "--json"]) == 0
    channels = read_channels(recording)
    assert channels["heater_power"].unit == "mW"
    assert channels["heater_power"].value == [1.5, 2.5]
    assert channels["Pressure"].value == [10.0, 11.0]
    assert channels["Pressure"].t == pytest.approx([arrivals[0], arrivals[0] + 1])
    assert check_file(recording).ok
    with (tmp_path / "out.csv").open(newline="") as lines:
        rows = list(csv.reader(lines))
    assert rows[0] == ["frame_id", "time [s]", "Pressure [mbar]", "heater_power [mW]"]
    assert [row[0] for row in rows[1:]] == ["0", "1", "2", "3"]
    assert {tuple(row[2:]) for row in rows[1:]} == {("10.0", "2.5")}


def test_samples_that_were_sent_late_hold_from_their_own_time_on(recording: Path, tmp_path: Path) -> None:
    with h5py.File(recording) as file:
        t = file["entry/ledger/t_received"][:].tolist()
    add_channels(recording, {"bias": Series("V", [t[2], t[3], t[0]], [2.0, 3.0, 0.0])})
    write_csv(recording, tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="") as lines:
        assert [row["bias [V]"] for row in csv.DictReader(lines)] == ["0.0", "0.0", "2.0", "3.0"]


def test_lines_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    text = "time,bias [V]\n2024-05-01T12:00:00+00:00,1\n,3\n1714564801,x\n1714564802,2,9\n1714564803,3\n"
    table = read_csv(table_of(tmp_path, text), offset_s=0.5)
    assert table.bad_lines == [3, 4, 5]
    assert table.channels["bias"].t == [1714564800.5, 1714564802.5, 1714564803.5]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "first line"),
        ("bias\n1\n", "first line"),
        ("frame,bias\n1,2\n", "first line"),
        ("time,../x\n1,2\n", "no channel's name"),
        ("time,a,a\n1,2,3\n", "same name"),
    ],
)
def test_what_is_no_such_table_is_refused(text: str, named: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=named):
        read_csv(table_of(tmp_path, text))


def test_recorded_values_are_never_replaced(recording: Path, tmp_path: Path) -> None:
    table = read_csv(table_of(tmp_path, "time,bias [V]\n1,2\n"))
    add_channels(recording, table.channels)
    with pytest.raises(UsageError, match="never replaced"):
        add_channels(recording, table.channels)
    with pytest.raises(UsageError, match="cannot write"):
        write_csv(recording, recording)
