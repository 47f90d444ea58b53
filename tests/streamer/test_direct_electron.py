"""Without deapi, a Direct Electron source is one clear line."""

import importlib.util
from pathlib import Path

import pytest

from streamer.config import RunConfig, SourceConfig
from streamer.errors import UsageError
from tests.streamer.ingest_run import IngestRun


@pytest.mark.skipif(importlib.util.find_spec("deapi") is not None, reason="deapi is installed here")
def test_without_deapi_the_user_is_told_what_to_install(tmp_path: Path) -> None:
    run = IngestRun(RunConfig(source=SourceConfig(address="de://127.0.0.1:1")))
    with pytest.raises(
        UsageError, match=r"needs deapi, which is not installed: pip install 'atomstream\[de\]'"
    ):
        run.finish()
