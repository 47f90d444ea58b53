"""Half precision: the rewritten model is as good as the original, whatever normalises inside."""

import shutil
from collections import Counter
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from pipeline.backends import BatchShape, make_backend
from pipeline.backends.onnx_channels import looking_at_first
from pipeline.backends.onnx_opset import in_readable_opset
from pipeline.backends.onnx_precision import in_precision
from pipeline.backends.onnx_weights import in_full, stored_in_half
from pipeline.backends.quiet_openvino import shared_core
from pipeline.columns import measure_batch
from pipeline.networks import INPUT_NAME, OUTPUT_NAMES, NetworkFile, Networks, find_networks
from pipeline.particle_networks import networks_of
from pipeline.preprocess import PIXEL_SIZE_A, normalise
from simulator.demo_states import load_states
from simulator.movie import Movie, MovieSettings
from streamer.config import AnalysisConfig
from streamer.errors import BackendError
from tests.pipeline.reference import equal_counts

CHANNELS = 8
MODELS = Path(__file__).parents[2] / "pipeline" / "models"
SHIPPED = [path for path in sorted(MODELS.glob("*.onnx")) if not path.stem.endswith("_i8")]


@pytest.fixture(scope="module")
def shipped() -> Networks:
    return find_networks(None, "ceria")


SEEDS = (1, 2, 3)  # of the movies: a difference of one count in a thousand takes thousands of columns to see


DOSES_E_PER_A2 = (100.0, 300.0, 3000.0)


def movie(seed: int) -> list[NDArray[Any]]:
    """The first frames of a demonstration's movie, a hundred columns each, all but free of noise."""
    settings = MovieSettings(size_px=256, dose_e_per_A2=3e5, seed=seed)  # 16 bits hold more than this
    return [frame.image for frame in islice(Movie(settings, load_states()), 4)]


@pytest.fixture(scope="module")
def truth() -> NDArray[np.float32]:
    """The frames without noise, in units of the vacuum level, once for each dose."""
    images = np.stack([image for seed in SEEDS for image in movie(seed)]).astype(np.float32)
    level = np.median(images.mean(-1), axis=-1)[:, None, None]
    return np.tile(images / level, (len(DOSES_E_PER_A2), 1, 1))


@pytest.fixture(scope="module")
def frames(truth: NDArray[np.float32]) -> NDArray[np.float32]:
    """The frames as a counting detector takes them at each dose."""
    electrons = np.repeat(DOSES_E_PER_A2, len(truth) // len(DOSES_E_PER_A2)) * PIXEL_SIZE_A**2
    return normalise(np.random.default_rng(1).poisson(truth * electrons[:, None, None])).frames


def on_onnxruntime(network: NetworkFile, frames: NDArray[np.float32], precision: str) -> list[Any]:
    onnxruntime = pytest.importorskip("onnxruntime")
    model = in_precision(network.path.read_bytes(), precision)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = list(OUTPUT_NAMES[network.header.metadata["task"]])
    return [
        np.concatenate(o)
        for o in zip(*(session.run(names, {INPUT_NAME: f[None]}) for f in frames), strict=True)
    ]


def on_openvino(network: NetworkFile, frames: NDArray[np.float32], precision: str) -> list[Any]:
    core = shared_core()
    model = core.read_model(in_precision(network.path.read_bytes(), precision))
    model.reshape({INPUT_NAME: list(frames.shape)})
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": precision})
    answer = compiled(frames)
    return [answer[name] for name in OUTPUT_NAMES[network.header.metadata["task"]]]


ENGINES = {"f16": on_onnxruntime, "bf16": on_openvino}  # ONNX Runtime has no bfloat16 convolution for CPUs


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("precision", "share"), [("f16", 0.999), ("bf16", 0.99)])
def test_the_shipped_networks_say_the_same(
    precision: str,
    share: float,
    shipped: Networks,
    frames: NDArray[np.float32],
    truth: NDArray[np.float32],
) -> None:
    """The denoised frames lose less than 0.1 dB against the truth; counts are equal on this share."""
    engine = ENGINES[precision]
    (full,), (low,) = (
        on_onnxruntime(shipped.denoise, frames, "f32"),
        engine(shipped.denoise, frames, precision),
    )
    lost_dB = 10 * np.log10(((low[:, 0] - truth) ** 2).mean() / ((full[:, 0] - truth) ** 2).mean())
    assert abs(lost_dB) < 0.1
    tables = [
        [c.table for c in measure_batch(p[:, 0], logits, 0.5, 8.0)]
        for p, logits in (
            on_onnxruntime(shipped.heights, frames, "f32"),
            engine(shipped.heights, frames, precision),
        )
    ]
    same, total = equal_counts(*tables)
    print(f"{precision}: {lost_dB:.3f} dB, {same} of {total} counts")
    assert total > 4000
    assert same / total >= share


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_shipped_network_in_whole_numbers_counts_nearly_the_same(
    shipped: Networks, frames: NDArray[np.float32]
) -> None:
    """Few counts differ at all; how many more are wrong is in docs/evaluation/whole-numbers.md."""
    whole = find_networks(None, "ceria", whole_numbers=True)
    assert whole.heights.path.stat().st_size < 0.6 * shipped.heights.path.stat().st_size
    tables = [
        [c.table for c in measure_batch(p[:, 0], logits, 0.5, 8.0)]
        for p, logits in (
            on_onnxruntime(shipped.heights, frames, "f32"),
            in_whole_numbers(whole, frames),
        )
    ]
    same, total = equal_counts(*tables)
    print(f"i8: {same} of {total} counts")
    assert total > 4000
    assert same / total >= 0.94


def in_whole_numbers(networks: Networks, frames: NDArray[np.float32]) -> tuple[Any, Any]:
    with closing(make_backend("openvino", networks, precision="i8")) as backend:
        info = backend.load(BatchShape(1, *frames.shape[2:]))
        assert info.precision == "i8"
        assert set(info.networks) == {"ceria_denoise.onnx", "ceria_heights_i8.onnx"}
        answers = []
        for frame in frames:
            backend.submit(frame[None])
            output = backend.collect()
            answers.append((output.column_probability.copy()[:, None], output.count_logits.copy()))
    probability, logits = (np.concatenate(parts) for parts in zip(*answers, strict=True))
    return probability, logits


def test_a_network_in_whole_numbers_that_is_missing_or_is_none_is_named(
    tiny_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(BackendError, match=r"no network tiny_heights_i8\.onnx in .*; there is "):
        networks_of(AnalysisConfig(models=str(tiny_folder), material="tiny", precision="i8"))
    folder = shutil.copytree(tiny_folder, tmp_path / "models")
    shutil.copy(folder / "tiny_heights.onnx", folder / "tiny_heights_i8.onnx")
    with pytest.raises(BackendError, match="weights None, expected int8"):
        networks_of(AnalysisConfig(models=str(folder), material="tiny", precision="i8"))


def test_other_backends_and_particles_have_none(shipped: Networks) -> None:
    with pytest.raises(BackendError, match="the torch backend does not compute in i8"):
        make_backend("torch", shipped, precision="i8")
    with pytest.raises(BackendError, match="the networks for gold are not there in i8"):
        networks_of(AnalysisConfig(material="gold", precision="i8"))


def normalising_network(kind: str) -> bytes:
    """Convolution, a normalisation of large values, convolution."""
    rng = np.random.default_rng(1)
    weights = {
        "first": rng.normal(0, 60.0, (CHANNELS, 2, 3, 3)),
        "second": rng.normal(0, 0.1, (1, CHANNELS, 3, 3)),
        "scale": np.ones(CHANNELS),
        "bias": np.zeros(CHANNELS),
        "tiny": np.array(1e-4),
    }
    pads = [1, 1, 1, 1]
    middle = {
        "instance": [helper.make_node("InstanceNormalization", ["a", "scale", "bias"], ["n"])],
        "over channels": [
            helper.make_node("Mul", ["a", "a"], ["square"]),
            helper.make_node("ReduceMean", ["square", "axes"], ["mean"]),
            helper.make_node("Add", ["mean", "tiny"], ["safe"]),
            helper.make_node("Sqrt", ["safe"], ["root"]),
            helper.make_node("Reciprocal", ["root"], ["inverse"]),
            helper.make_node("Mul", ["a", "inverse"], ["n"]),
        ],
        "layer": [
            helper.make_node("Transpose", ["a"], ["last"], perm=[0, 2, 3, 1]),
            helper.make_node("LayerNormalization", ["last", "scale", "bias"], ["normal"]),
            helper.make_node("Transpose", ["normal"], ["n"], perm=[0, 3, 1, 2]),
        ],
    }[kind]
    nodes = [
        helper.make_node("Conv", [INPUT_NAME, "first"], ["a"], pads=pads),
        *middle,
        helper.make_node("Conv", ["n", "second"], ["b"], pads=pads),
        helper.make_node("Sigmoid", ["b"], ["out"]),
    ]
    initialisers = [numpy_helper.from_array(w.astype(np.float32), n) for n, w in weights.items()]
    initialisers.append(numpy_helper.from_array(np.array([1], np.int64), "axes"))
    shape = ["N", 2, "H", "W"]
    graph = helper.make_graph(
        nodes,
        kind,
        [helper.make_tensor_value_info(INPUT_NAME, TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["N", 1, "H", "W"])],
        initialisers,
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8
    ).SerializeToString()


@pytest.mark.parametrize("kind", ["instance", "over channels", "layer"])
def test_statistics_stay_in_float32(kind: str) -> None:
    """Values of a few hundred: their squares do not fit into float16."""
    onnxruntime = pytest.importorskip("onnxruntime")
    model = normalising_network(kind)
    low = in_precision(model, "f16")
    frames = np.random.default_rng(2).normal(0, 3, (1, 2, 16, 16)).astype(np.float32)
    (expected,), (got,) = (
        onnxruntime.InferenceSession(m, providers=["CPUExecutionProvider"]).run(None, {INPUT_NAME: frames})
        for m in (model, low)
    )
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, atol=0.01)
    onnx.checker.check_model(onnx.load_from_string(low), full_check=True)


@pytest.mark.parametrize("precision", ["f16", "bf16"])
def test_every_convolution_gets_low_weights_and_the_tail_stays(precision: str, shipped: Networks) -> None:
    low = TensorProto.FLOAT16 if precision == "f16" else TensorProto.BFLOAT16
    for network in (shipped.denoise, shipped.heights):
        graph = onnx.load_from_string(in_precision(network.path.read_bytes(), precision)).graph
        types = {t.name: t.data_type for t in graph.initializer}
        convolutions = [n for n in graph.node if n.op_type in ("Conv", "ConvTranspose")]
        assert {types[name] for n in convolutions for name in n.input[1:]} == {low}
        assert {o.type.tensor_type.elem_type for o in (*graph.input, *graph.output)} == {TensorProto.FLOAT}
        assert Counter(n.op_type for n in graph.node)["Cast"] < 60


def test_float32_is_the_file_with_its_weights_in_full(shipped: Networks) -> None:
    data = shipped.denoise.path.read_bytes()
    model = onnx.load_from_string(in_precision(data, "f32"))
    assert {t.data_type for t in model.graph.initializer} <= {TensorProto.FLOAT, TensorProto.INT64}
    stored = onnx.load_from_string(data)
    assert stored_in_half(model).graph == stored_in_half(in_full(stored)).graph


def test_weights_that_do_not_fit_are_refused() -> None:
    model = onnx.load_from_string(normalising_network("instance"))
    for tensor in model.graph.initializer:
        if tensor.name == "second":
            tensor.CopyFrom(numpy_helper.from_array(np.full((1, CHANNELS, 3, 3), 1e5, np.float32), "second"))
    with pytest.raises(BackendError, match=r"weights second reach 1e\+05, more than float16 holds"):
        in_precision(model.SerializeToString(), "f16")
    assert in_precision(model.SerializeToString(), "bf16")


@pytest.mark.parametrize(
    "path",
    [p for p in sorted(MODELS.glob("*.onnx")) if not p.stem.endswith("_i8")],
    ids=lambda path: path.stem,
)
def test_a_network_in_an_older_opset_says_the_same(path: Path) -> None:
    """TensorRT 8.6 does not look at axes that are an input, as they are from opset 18 on."""
    onnxruntime = pytest.importorskip("onnxruntime")
    older = in_readable_opset(path.read_bytes(), path.name)
    model = onnx.load_from_string(older)
    onnx.checker.check_model(model, full_check=True)
    assert model.opset_import[0].version == 17
    reductions = [node for node in model.graph.node if node.op_type.startswith("Reduce")]
    assert reductions
    assert all(len(node.input) == 1 for node in reductions)
    (given,) = model.graph.input
    channels = given.type.tensor_type.shape.dim[1].dim_value
    batch = np.random.default_rng(1).normal(size=(2, channels, 128, 128)).astype(np.float32)
    for precision in ("f32", "f16"):
        answers = [
            onnxruntime.InferenceSession(in_precision(m, precision), providers=["CPUExecutionProvider"]).run(
                None, {given.name: batch}
            )
            for m in (path.read_bytes(), older)
        ]
        for newer, as_before in zip(*answers, strict=True):
            np.testing.assert_allclose(newer, as_before, atol=1e-5 if precision == "f32" else 5e-3)


def test_an_operator_that_the_older_opset_does_not_have_is_told() -> None:
    model = onnx.load_from_string(normalising_network("instance"))
    model.graph.node[-1].op_type = "Mish"  # of opset 18
    with pytest.raises(BackendError, match=r"some\.onnx cannot be written in ONNX's opset 17: .*Mish"):
        in_readable_opset(model.SerializeToString(), "some.onnx")
    model.opset_import[0].version = 17
    assert in_readable_opset(model.SerializeToString(), "some.onnx") == model.SerializeToString()


@pytest.mark.parametrize("precision", ["f32", "f16"])
def test_a_network_given_more_channels_looks_at_the_first(precision: str, shipped: Networks) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    frames = np.random.default_rng(3).normal(size=(2, 6, 64, 64)).astype(np.float32)
    frames[:, 1] = -1.0  # the noise level's logarithm
    answers = []
    for batch, extra in ((np.ascontiguousarray(frames[:, :2]), 0), (frames, 4)):
        model = in_precision(looking_at_first(shipped.heights.path.read_bytes(), extra), precision)
        onnx.checker.check_model(onnx.load_from_string(model))
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        answers.append(session.run(list(OUTPUT_NAMES["heights"]), {INPUT_NAME: batch}))
    for alone, widened in zip(*answers, strict=True):
        np.testing.assert_allclose(alone, widened, rtol=1e-3, atol=1e-3)


def test_weights_stored_in_half_come_back_and_halve_the_file(shipped: Networks, tmp_path: Path) -> None:
    model = in_full(onnx.load(shipped.heights.path))
    half = stored_in_half(model)
    onnx.checker.check_model(half)
    assert half.ByteSize() < 0.55 * model.ByteSize()
    again = in_full(half)
    assert [node.op_type for node in again.graph.node] == [node.op_type for node in model.graph.node]
    for old, new in zip(model.graph.initializer, again.graph.initializer, strict=True):
        assert (old.name, old.data_type) == (new.name, new.data_type)
        np.testing.assert_allclose(
            numpy_helper.to_array(old), numpy_helper.to_array(new), rtol=1e-3, atol=1e-7
        )


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino", "torch"])
def test_engines_read_weights_stored_in_half(engine: str, shipped: Networks, tmp_path: Path) -> None:
    for network in shipped.per_frame:
        half = stored_in_half(in_full(onnx.load(network.path)))
        onnx.save(half, tmp_path / network.path.name)
    networks = find_networks(tmp_path, "ceria")
    frames = np.random.default_rng(4).normal(size=(1, 2, 64, 64)).astype(np.float32)
    frames[:, 1] = -1.0
    answers = [answer_of(engine, these, frames) for these in (shipped, networks)]
    for full, half in zip(*answers, strict=True):
        np.testing.assert_allclose(full, half, atol=0.02 * np.abs(full).max())


def answer_of(engine: str, networks: Networks, frames: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    if engine == "onnxruntime":
        session = pytest.importorskip("onnxruntime").InferenceSession(
            networks.heights.path, providers=["CPUExecutionProvider"]
        )
        return list(session.run(list(OUTPUT_NAMES["heights"]), {INPUT_NAME: frames}))
    with closing(make_backend(engine, networks, 1, "f32")) as backend:
        backend.load(BatchShape(*frames.shape[:1], *frames.shape[2:]))
        backend.submit(frames)
        output = backend.collect()
        return [output.column_probability.copy(), output.count_logits.copy()]
