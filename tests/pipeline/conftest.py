"""Fixtures for the analysis: networks whose answers are known."""

from pathlib import Path

import pytest

from pipeline.networks import Networks, find_networks
from tests.pipeline.tiny_networks import MATERIAL, write_networks


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_networks(tmp_path_factory.mktemp("tiny_networks"))


@pytest.fixture(scope="session")
def tiny_networks(tiny_folder: Path) -> Networks:
    return find_networks(tiny_folder, MATERIAL)
