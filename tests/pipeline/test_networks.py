"""Networks are found and checked before any engine sees them."""

from pathlib import Path

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.networks import find_networks
from pipeline.onnx_header import read_onnx_header
from streamer.errors import BackendError
from tests.pipeline.tiny_networks import MATERIAL, MAX_COUNT, write_denoiser, write_networks

HEIGHTS = f"{MATERIAL}_heights.onnx"
DENOISE = f"{MATERIAL}_denoise.onnx"


def test_what_a_file_says_is_what_onnx_reads(tiny_folder: Path) -> None:
    path = tiny_folder / HEIGHTS
    model = onnx.load(path)
    header = read_onnx_header(path.read_bytes(), path.name)
    assert [t.name for t in header.inputs] == [v.name for v in model.graph.input]
    assert [t.name for t in header.outputs] == [v.name for v in model.graph.output]
    assert header.metadata == {p.key: p.value for p in model.metadata_props}
    assert header.outputs[1].shape == (None, MAX_COUNT, None, None)
    assert all(t.is_float32 for t in (*header.inputs, *header.outputs))


def test_the_shipped_networks_fit() -> None:
    networks = find_networks(None, "ceria")
    assert networks.channels == 2
    assert networks.max_count == 12
    assert networks.pixel_size_A == 0.2
    assert set(networks.sha256) == {"ceria_denoise.onnx", "ceria_heights.onnx"}


def test_properties_come_from_the_file(tmp_path: Path) -> None:
    networks = find_networks(write_networks(tmp_path, dose_e_per_A2="[30, 3000.0]"), MATERIAL)
    assert networks.max_count == MAX_COUNT
    assert networks.dose_range_e_per_A2 == (30.0, 3000.0)
    assert all(len(digest) == 64 for digest in networks.sha256.values())


def test_a_denoiser_of_several_frames_widens_the_batch(tiny_folder: Path) -> None:
    networks = find_networks(tiny_folder, MATERIAL, 3)
    assert networks.channels == networks.denoise.channels == networks.heights.channels == 4
    assert (networks.denoise.own_channels, networks.heights.own_channels) == (4, 2)
    assert set(networks.sha256) == {f"{MATERIAL}_denoise3.onnx", HEIGHTS}
    with pytest.raises(BackendError, match=rf"no network {MATERIAL}_denoise7\.onnx in .*denoise3\.onnx"):
        find_networks(tiny_folder, MATERIAL, 7)


def test_a_denoiser_of_another_number_of_frames_is_refused(tmp_path: Path) -> None:
    write_denoiser(write_networks(tmp_path), 3)
    (tmp_path / f"{MATERIAL}_denoise3.onnx").rename(tmp_path / f"{MATERIAL}_denoise5.onnx")
    with pytest.raises(BackendError, match="channels 4, expected 6"):
        find_networks(tmp_path, MATERIAL, 5)


def test_a_denoiser_of_the_middle_frame_is_refused(tmp_path: Path) -> None:
    write_denoiser(write_networks(tmp_path), 3, gives="middle")
    with pytest.raises(BackendError, match="the frame it gives middle, expected newest"):
        find_networks(tmp_path, MATERIAL, 3)


def test_a_missing_network_is_named_with_those_that_are_there(tmp_path: Path) -> None:
    write_networks(tmp_path)
    with pytest.raises(
        BackendError, match=rf"no network gold_denoise\.onnx in .*; there is {DENOISE}, {HEIGHTS}"
    ):
        find_networks(tmp_path, "gold")
    with pytest.raises(BackendError, match="there is none"):
        find_networks(tmp_path / "nowhere", MATERIAL)


def change(path: Path, how) -> None:  # type: ignore[no-untyped-def]
    model = onnx.load(path)
    how(model)
    onnx.save(model, path)


def rename_output(model: onnx.ModelProto) -> None:
    model.graph.output[0].name = "height"


def fix_size(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 512


def take_doubles(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.DOUBLE


def set_metadata(key: str, value: str | None):  # type: ignore[no-untyped-def]
    def how(model: onnx.ModelProto) -> None:
        properties = {p.key: p.value for p in model.metadata_props if p.key != key}
        onnx.helper.set_model_props(model, properties if value is None else {**properties, key: value})

    return how


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (rename_output, r"outputs \['height', 'count_logits'\], expected \['column_probability'"),
        (fix_size, r"frames has shape \(None, 2, 512, None\); expected float32"),
        (take_doubles, "not float32"),
        (set_metadata("task", "denoise"), "task denoise, expected heights"),
        (set_metadata("pixel_size_A", None), "has no metadata pixel_size_A"),
        (set_metadata("pixel_size_A", "0.2 nm"), "pixel_size_A is '0.2 nm', expected a length"),
        (set_metadata("pixel_size_A", "-1"), "expected a length"),
        (set_metadata("pixel_size_A", "0.3"), "do not belong together: pixel_size_A is 0.2 .* and 0.3"),
        (set_metadata("material", "Au"), "do not belong together: material is tiny .* and Au"),
    ],
)
def test_a_network_that_does_not_fit_is_refused(tmp_path: Path, how, message: str) -> None:  # type: ignore[no-untyped-def]
    write_networks(tmp_path)
    change(tmp_path / HEIGHTS, how)
    with pytest.raises(BackendError, match=message):
        find_networks(tmp_path, MATERIAL)


@given(st.binary(max_size=200))
def test_garbage_is_refused_or_holds_nothing(data: bytes) -> None:
    try:
        header = read_onnx_header(data, "garbage.onnx")
    except BackendError:
        return
    assert not any(t.shape for t in header.inputs)


@given(st.data())
def test_a_truncated_file_is_refused(tiny_folder: Path, data: st.DataObject) -> None:
    whole = (tiny_folder / HEIGHTS).read_bytes()
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    try:
        header = read_onnx_header(cut, "cut.onnx")
    except BackendError:
        return
    assert header != read_onnx_header(whole, "whole.onnx")
