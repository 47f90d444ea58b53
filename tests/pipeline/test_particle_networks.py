"""The networks that tell shapes are found and checked before any engine sees them."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from pipeline.backends.checks import check_logits
from pipeline.networks import Networks
from pipeline.particle_networks import ParticleNetworks, find_particle_networks, networks_for
from streamer.errors import BackendError
from tests.pipeline.tiny_networks import (
    MATERIAL,
    PARTICLES,
    PEDESTAL_PER_A,
    SHAPE_PIXEL_A,
    SHAPES,
    UNSURE_BELOW,
    write_networks,
    write_particle_networks,
)


def test_what_the_files_say_is_read(particle_folder: Path) -> None:
    networks = find_particle_networks(particle_folder, PARTICLES)
    assert networks.shape_names == networks.shapes.classes == SHAPES
    assert networks.shapes.unsure_below == UNSURE_BELOW
    assert networks.shapes.pixel_size_A == SHAPE_PIXEL_A
    assert (networks.channels, networks.pixel_size_A, networks.max_count) == (2, 0.2, 0)
    assert (networks.pedestal_per_A, networks.binning) == (PEDESTAL_PER_A, 4)
    assert set(networks.sha256) == {f"{PARTICLES}_restore.onnx", f"{PARTICLES}_shapes.onnx"}


def test_the_files_decide_what_is_done(tmp_path: Path) -> None:
    write_networks(tmp_path)
    write_particle_networks(tmp_path)
    assert isinstance(networks_for(tmp_path, MATERIAL), Networks)
    assert isinstance(networks_for(tmp_path, PARTICLES), ParticleNetworks)
    assert isinstance(networks_for(None, "ceria"), Networks)
    with pytest.raises(BackendError, match=r"no network silver_denoise\.onnx in .*; there is .*tinygold"):
        networks_for(tmp_path, "silver")


@pytest.mark.parametrize("missing", ["restore", "shapes"])
def test_one_of_two_is_not_enough(tmp_path: Path, missing: str) -> None:
    write_particle_networks(tmp_path)
    (tmp_path / f"{PARTICLES}_{missing}.onnx").unlink()
    with pytest.raises(BackendError, match=rf"no network {PARTICLES}_{missing}\.onnx"):
        networks_for(tmp_path, PARTICLES)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"classes": "[]"}, "classes is '\\[\\]', expected a JSON list of at most 8 names"),
        ({"classes": "small, large"}, "expected a JSON list"),
        ({"classes": '["small", "small"]'}, "expected a JSON list"),
        ({"classes": '["small", "unsure"]'}, "expected a JSON list"),
        ({"classes": '["a", "b", "c"]'}, r"\(N, 3\) for its 3 classes"),
        ({"unsure_below": "80 %"}, "unsure_below is '80 %', expected a probability"),
        ({"unsure_below": "1.5"}, "expected a probability"),
        ({"input": "denoised"}, "input is 'denoised', expected one of restored, frame"),
        ({"orientations": "1"}, "orientations is '1', expected 8, which are averaged; export it again"),
        ({"task": "heights"}, "task heights, expected shapes"),
        ({"pixel_size_A": "0"}, "expected a length"),
        ({"pixel_size_A": "0.7"}, "the pixel of tinygold_shapes.onnx, 0.7 Å, is no multiple of 0.2 Å"),
        ({"material": "Pt"}, "do not belong together: material is tinygold .* and Pt"),
    ],
)
def test_a_shape_network_that_does_not_fit_is_refused(
    tmp_path: Path, metadata: dict[str, str], message: str
) -> None:
    write_particle_networks(tmp_path, **metadata)
    with pytest.raises(BackendError, match=message):
        networks_for(tmp_path, PARTICLES)


def test_a_patch_of_another_size_is_refused(tmp_path: Path) -> None:
    path = write_particle_networks(tmp_path) / f"{PARTICLES}_shapes.onnx"
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 96
    onnx.save(model, path)
    with pytest.raises(BackendError, match=r"from .*96, 128.*; expected float32 \(N, 1, 128, 128\)"):
        networks_for(tmp_path, PARTICLES)


@pytest.mark.parametrize("pedestal", [None, "0", "high"])
def test_a_restoration_without_a_pedestal_is_refused(tmp_path: Path, pedestal: str | None) -> None:
    path = write_particle_networks(tmp_path) / f"{PARTICLES}_restore.onnx"
    model = onnx.load(path)
    properties = {p.key: p.value for p in model.metadata_props if p.key != "pedestal_per_A"}
    if pedestal is not None:
        properties["pedestal_per_A"] = pedestal
    onnx.helper.set_model_props(model, properties)
    onnx.save(model, path)
    with pytest.raises(BackendError, match=r"no metadata pedestal_per_A|expected a number above 0"):
        networks_for(tmp_path, PARTICLES)


@pytest.mark.parametrize(
    ("logits", "message"),
    [
        (np.zeros((2, 3), np.float32), r"answered with float32 \(2, 3\), expected float32 \(2, 2\)"),
        (np.zeros((2, 2)), "answered with float64"),
        (np.array([[0, 1], [np.nan, 0]], np.float32), "NaN or infinity"),
    ],
)
def test_an_unsound_answer_is_an_error(
    particle_networks: ParticleNetworks, logits: np.ndarray[Any, Any], message: str
) -> None:
    with pytest.raises(BackendError, match=message):
        check_logits(logits, 2, particle_networks.shapes)
