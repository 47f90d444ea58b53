"""The table of mirror images, on the shipped networks and made-up particles."""

from pathlib import Path

import pytest
from tqdm import tqdm

from streamer.errors import UsageError
from tests.training.test_training import data  # noqa: F401  a fixture
from tests.training.test_widths_table import cells_of
from training import orientations_table


@pytest.fixture(autouse=True)
def _no_monitor_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tqdm, "monitor_interval", 0)


def test_every_number_has_its_row_and_one_is_what_a_run_says(data: Path, tmp_path: Path) -> None:  # noqa: F811
    options = ["--data", str(data), "--doses", "1000", "--rounds", "1", "--out", str(tmp_path)]
    lines = orientations_table.main(options).read_text().splitlines()
    rows = [cells for line in lines if (cells := cells_of(line))]
    assert rows[0][0] == "Orientations, 1000 e/Å²"
    assert [row[0] for row in rows[1:]] == ["1", "2", "4"]
    psnr_dB = [float(row[-1]) for row in rows[1:]]
    assert psnr_dB[0] < psnr_dB[1] < psnr_dB[2], "the mean of several is nearer to the truth"


def test_without_data_it_says_how_to_make_them(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no .*; make it: atomstream simulate"):
        orientations_table.main(["--data", str(tmp_path / "none.h5")])
