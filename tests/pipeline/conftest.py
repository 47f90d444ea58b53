"""Fixtures for the analysis: networks whose answers are known."""

from pathlib import Path

import pytest

from pipeline.networks import Networks, find_networks
from pipeline.particle_networks import ParticleNetworks, find_particle_networks
from tests.pipeline.tiny_networks import (
    MATERIAL,
    PARTICLES,
    write_denoiser,
    write_networks,
    write_particle_networks,
)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_denoiser(write_networks(tmp_path_factory.mktemp("tiny_networks")), 3)


@pytest.fixture(scope="session")
def tiny_networks(tiny_folder: Path) -> Networks:
    return find_networks(tiny_folder, MATERIAL)


@pytest.fixture(scope="session")
def particle_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_particle_networks(tmp_path_factory.mktemp("tiny_particle_networks"))


@pytest.fixture(scope="session")
def particle_networks(particle_folder: Path) -> ParticleNetworks:
    return find_particle_networks(particle_folder, PARTICLES)
