"""Configuration: TOML in, typed records out, nothing unknown accepted."""

from math import inf
from pathlib import Path

import pytest

from streamer.config import (
    AnalysisConfig,
    IngestConfig,
    RecordConfig,
    RunConfig,
    SourceConfig,
    TriggerConfig,
    load_config,
    to_toml,
)
from streamer.errors import UsageError
from streamer.records import Policy

LOSS = "name = 'loss'\nwhen = 'lost'\nabove = 0.0"


def _write(folder: Path, text: str) -> Path:
    path = folder / "run.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_what_is_written_reads_back_equal(tmp_path: Path) -> None:
    config = RunConfig(
        source=SourceConfig(address="dectris2://127.0.0.1:31001", pixel_size_A=0.21),
        record=RecordConfig(path='C:\\data\\a "quoted" name.nxs', flush_frames=7),
        analysis=AnalysisConfig(policy=Policy.LATEST, max_wait_ms=12.5),
        ingest=IngestConfig(result_timeout_s=inf),
        trigger=(TriggerConfig(name="a", when="region_atoms", region=(0.0, 0.5, inf, inf), above=1.0),),
    )
    assert load_config(_write(tmp_path, to_toml(config))) == config


def test_defaults_need_no_file_content(tmp_path: Path) -> None:
    assert load_config(_write(tmp_path, "")) == RunConfig()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[analysis]\nbatch_frame = 4", "batch_frame"),
        ("[analysis]\nbatch_frames = 0", "batch_frames"),
        ("[analysis]\npolicy = 'newest'", "policy"),
        ("[source]\npixel_size_A = -1.0", "pixel_size_A"),
        ("[analysis]\naverage_frames = 4\ndenoise_frames = 5", "exclude one another"),
        ("[recording]\npath = 'x'", "recording"),
        ("[analysis", "run.toml"),
        ("[source]\nconnect_timeout_s = inf", "connect_timeout_s"),
        ("[source]\npixel_size_A = inf", "pixel_size_A"),
    ],
)
def test_wrong_configuration_is_refused_by_name(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        load_config(_write(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            f"[[trigger]]\n{LOSS}\n[[trigger]]\nname = 'watch'\nwhen = 'total_atom'",
            r"'total_atom' - at `\$\.trigger\[1\]\.when` \(name = 'watch'\); expected one of .*total_atoms",
        ),
        (
            "[[trigger]]\nname = 'watch'\nwhenn = 'lost'",
            r"'watch'\); expected one of name, when, above, below,",
        ),
        ("[analysis]\npolicy = 'newest'", r"policy`; expected one of wait, latest$"),
        ("[analysis]\nbatch_frame = 4", r"analysis`; expected one of enabled, backend, policy,"),
        ("[recording]\npath = 'x'", r"`recording`; expected one of source, ingest, record,"),
        ("[analysis]\nbatch_frames = 0", r"Expected `int` >= 1 - at `\$\.analysis\.batch_frames`$"),
    ],
)
def test_what_could_stand_there_instead_is_said(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        load_config(_write(tmp_path, text))


def test_a_file_that_is_no_text_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "run.nxs").write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(UsageError, match=r"configuration .*run\.nxs: 'utf-8' codec"):
        load_config(tmp_path / "run.nxs")


def test_missing_file_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        load_config(tmp_path / "absent.toml")
