"""Training in miniature, on exit waves of made-up columns (no multislice)."""

import csv
from dataclasses import asdict, replace
from pathlib import Path

import h5py
import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from pipeline.cli import main as atomstream
from simulator.dataset import DatasetConfig, config_for, create
from simulator.multislice import MultisliceSettings
from simulator.structures import COLUMN_DTYPE
from simulator.waves import pack
from streamer.errors import UsageError
from training import export, movie_train, train
from training.checkpoint import load_checkpoint
from training.data import (
    TALL_ATOMS,
    DrawConfig,
    Films,
    Pool,
    Store,
    detect,
    draw_optics,
    draw_targets,
    load,
    make_scene,
)
from training.model import CLASSES, ModelConfig, make_model
from training.movie_train import MovieCourse, MovieTrainConfig
from training.train import ColumnCourse, TrainConfig, learning_rate, loss_of
from training.validate import fitted_temperature

PIXELS = 96
SMALL = (8, 8, 8)


def fake_particle(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return a wave (1, 96, 96, 2) of Gaussian phase peaks and its columns."""
    grid = np.arange(20.0, 80.0, 14.0)
    y, x = (axis.ravel() for axis in np.meshgrid(grid, grid, indexing="ij"))
    columns = np.zeros(448, COLUMN_DTYPE)
    columns["y_A"][: len(y)], columns["x_A"][: len(y)] = y * 0.2, x * 0.2
    columns["count"][: len(y)] = rng.integers(1, 7, len(y))
    pixel = np.arange(PIXELS)
    phase = sum(
        0.25 * n * np.exp(-((pixel[:, None] - a) ** 2 + (pixel - b) ** 2) / 8)
        for a, b, n in zip(y, x, columns["count"], strict=False)
    )
    return pack(np.exp(1j * phase)[None].astype(np.complex64)), columns


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data set of 30 made-up particles."""
    path, rng = tmp_path_factory.mktemp("data") / "set.h5", np.random.default_rng(0)
    config = DatasetConfig(particles=30, multislice=MultisliceSettings(pixels=PIXELS, phonons=1))
    with h5py.File(path, "w") as file:
        create(file, config)
        for index in range(30):
            file["waves"][index], file["columns"][index] = fake_particle(rng)
        file["done"][:] = True
    return path


@pytest.fixture(scope="module")
def store(data: Path) -> Store:
    """Return the training split."""
    return load(data, "train")


def test_splits_are_disjoint_and_complete(data: Path) -> None:
    assert [len(load(data, split).waves) for split in ("train", "validation", "test")] == [26, 2, 2]


def test_targets_peak_at_columns_and_hold_their_counts() -> None:
    columns = np.zeros(3, COLUMN_DTYPE)
    columns["y_A"], columns["x_A"], columns["count"] = [4.0, 8.0, 0.0], [6.0, 6.1, 0.0], [3, 9, 0]
    gaussian, count = draw_targets(columns, (64, 64), 0.2)
    assert gaussian[20, 30] == pytest.approx(1.0)
    assert gaussian[20, 32] == pytest.approx(np.exp(-0.5))
    assert (count[20, 30], count[40, 30], count[0, 0], count[20, 36]) == (3, 9, 0, 0)


def test_batches_follow_from_the_seed_and_turn_image_and_targets_alike(store: Store) -> None:
    config = replace(DrawConfig(), dose_e_per_A2=(3000.0, 3000.1), vacuum_share=0.0, overfocus_A=(50.0, 50.1))
    first, again = (Pool(store, 4, config, np.random.default_rng(1)).batch(6, 64) for _ in range(2))
    assert torch.equal(first.frames, again.frames)
    assert torch.equal(first.count, again.count)
    at_columns = first.clean[first.column > 0.9]
    assert at_columns.mean() > first.clean.mean() + 0.2


def test_a_share_of_the_images_is_of_particles_with_tall_columns(store: Store) -> None:
    columns = store.columns.copy()
    columns["count"] = np.minimum(columns["count"], 5)
    columns["count"][7, :12] = TALL_ATOMS
    one_tall = replace(store, columns=columns)
    config = replace(DrawConfig(), tall_share=0.5, film_share=0.0)
    pool = Pool(one_tall, 40, config, np.random.default_rng(4))
    tall = (pool.scene.count >= TALL_ATOMS).flatten(1).any(1)
    assert 12 <= tall.sum() <= 28
    none = Pool(one_tall, 40, replace(config, tall_share=0.0), np.random.default_rng(4))
    assert (none.scene.count >= TALL_ATOMS).flatten(1).any(1).sum() <= 6


def test_films_lie_on_a_share_of_the_particles_and_leave_the_truth_alone(store: Store) -> None:
    grain = 0.2 * np.random.default_rng(5).normal(size=(1, PIXELS, PIXELS))
    films = Films(
        pack(np.exp(1j * grain).astype(np.complex64)),
        np.float32([30.0]),
        np.float32([20.0] * len(store.waves)),
    )
    with_films, rows = replace(store, films=films), np.arange(20)
    optics = draw_optics(20, DrawConfig(), np.random.default_rng(1))
    bare = make_scene(with_films, rows, optics)
    some = make_scene(with_films, rows, optics, 0.5, np.random.default_rng(2))
    changed = [not torch.equal(a, b) for a, b in zip(bare.intensity, some.intensity, strict=True)]
    assert 4 <= sum(changed) <= 16
    assert torch.equal(bare.count, some.count)
    assert some.intensity.mean().item() == pytest.approx(bare.intensity.mean().item(), rel=0.01)


def test_detected_frames_have_the_noise_free_frame_as_their_mean(store: Store) -> None:
    pool = Pool(store, 4, DrawConfig(), np.random.default_rng(2))
    config = replace(DrawConfig(), dose_e_per_A2=(1000.0, 1000.1))
    frames, clean = detect(pool.scene, config, np.random.default_rng(0))
    assert (frames / 40.0).mean().item() == pytest.approx(clean.mean().item(), rel=0.01)


@pytest.mark.parametrize("task", ["heights", "denoise"])
def test_a_few_steps_lower_the_loss(store: Store, task: str) -> None:
    torch.manual_seed(0)
    network = make_model(ModelConfig(task, SMALL))
    batch = Pool(store, 8, DrawConfig(), np.random.default_rng(3)).batch(4, 64)
    optimiser = torch.optim.Adam(network.parameters(), 5e-3)
    losses = []
    for _ in range(20):
        losses.append(loss_of(network, batch))
        optimiser.zero_grad()
        losses[-1].backward()
        optimiser.step()
    assert losses[-1] < 0.8 * losses[0]


def test_a_frame_does_not_depend_on_its_neighbours_in_a_batch_nor_on_the_picture_far_away() -> None:
    """What a normalisation layer would break: the output here must not change with what is elsewhere."""
    torch.manual_seed(0)
    network = make_model(ModelConfig("denoise", SMALL)).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    frames = torch.randn(2, 2, 64, 512)
    changed = frames.clone()
    changed[0, :, :, 400:] += 3.0
    with torch.no_grad():
        before, after, alone = network(frames), network(changed), network(frames[1:])
    assert torch.allclose(before[1], alone[0], atol=1e-4)
    assert torch.allclose(before[0, ..., :64], after[0, ..., :64], atol=1e-4)
    assert not torch.allclose(before[0, ..., 400:], after[0, ..., 400:], atol=1e-2)


@pytest.mark.parametrize("task", ["heights", "denoise"])
def test_a_run_resumes_and_its_export_gives_what_torch_gives(data: Path, tmp_path: Path, task: str) -> None:
    config = TrainConfig(
        data=str(data),
        out=str(tmp_path),
        model=ModelConfig(task, SMALL),
        shapes=((2, 64),),
        pool=4,
        steps=2,
        threads=1,
    )
    train.main(config)
    checkpoint = load_checkpoint(train.main(replace(config, steps=3)))
    assert checkpoint.step == 3
    assert checkpoint.config == {**asdict(replace(config, steps=3))}
    with pytest.raises(UsageError, match="began with random weights, and is to begin with other"):
        train.main(replace(config, steps=4, initial="other.onnx"))
    with (tmp_path / "curve.csv").open() as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["2", "3"]

    path = export.main(export.ExportConfig(str(tmp_path / "last.pt"), str(tmp_path / "net.onnx")))
    metadata = {p.key: p.value for p in onnx.load(path).metadata_props}
    assert metadata["data_sha256"] == checkpoint.data_sha256
    network = make_model(checkpoint.model)
    network.load_state_dict(checkpoint.average)
    session = onnxruntime.InferenceSession(path)
    frames = np.random.default_rng(0).normal(size=(2, 2, 48, 80)).astype(np.float32)
    got = session.run(None, {"frames": frames})
    with torch.no_grad():
        expected = export.shipped(network, float(metadata["temperature"]))(torch.from_numpy(frames))
    expected = expected if isinstance(expected, tuple) else (expected,)
    for ours, theirs in zip(got, expected, strict=True):
        assert ours == pytest.approx(theirs.numpy(), abs=2e-3)  # the file's weights are float16
    if task == "heights":
        assert got[1].shape == (2, CLASSES, 24, 40)


def test_learning_rate_rises_stays_and_falls_to_nothing() -> None:
    config = TrainConfig(steps=1000, warmup_steps=100, decay_fraction=0.5)
    rates = [learning_rate(step, config) for step in range(1000)]
    assert rates[0] == pytest.approx(config.learning_rate / 100)
    assert rates[99:500] == pytest.approx([config.learning_rate] * 401)
    assert rates[999] == pytest.approx(config.learning_rate / 500)


def test_the_temperature_undoes_what_made_the_logits_too_sure() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 2.0 * torch.randn(40000, 6, generator=generator)
    truth = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
    assert fitted_temperature(1.4 * logits, truth) == pytest.approx(1.4, rel=0.03)


def test_a_data_set_of_another_material_is_refused_by_name(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert atomstream(["train", "--material", "gold-columns", "--data", str(data)]) == 2
    assert "is of ceria, not of gold-columns: give another --data" in " ".join(
        capsys.readouterr().err.split()
    )


@pytest.fixture(scope="module")
def gold(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data set of 30 made-up particles that is said to be of gold's columns."""
    path, config = tmp_path_factory.mktemp("gold") / "set.h5", config_for("gold-columns")
    config = replace(config, particles=30, multislice=MultisliceSettings(pixels=PIXELS, phonons=1))
    with h5py.File(path, "w") as file:
        create(file, config)
        wave, columns = fake_particle(np.random.default_rng(1))
        for index in range(30):
            file["waves"][index], file["columns"][index, :448] = wave, columns
        file["done"][:] = True
    return path


def test_a_run_is_of_its_datas_material_and_goes_on_with_no_other(
    data: Path, gold: Path, tmp_path: Path
) -> None:
    run = TrainConfig(
        data=str(gold),
        out=str(tmp_path / "run"),
        model=ModelConfig("heights", SMALL),
        shapes=((2, 64),),
        pool=4,
        steps=1,
        threads=1,
    )
    path = train.main(run)
    assert load_checkpoint(path).material == "gold-columns"
    shipped = export.main(export.ExportConfig(str(path), str(tmp_path / "gold-columns_heights.onnx")))
    metadata = {p.key: p.value for p in onnx.load(shipped).metadata_props}
    assert (metadata["material"], metadata["zone_axes"]) == ("Au", "[110],[100]")
    with pytest.raises(UsageError, match="is of gold-columns, and ceria is asked for"):
        train.main(replace(run, data=str(data), steps=2))


def test_a_denoiser_of_five_frames_is_of_its_datas_material(
    gold: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(movie_train, "validation_of", lambda config: {})
    assert MovieCourse(MovieTrainConfig(data=str(gold))).material == "gold-columns"


def test_judging_draws_nothing_that_the_run_would_have_drawn(data: Path, tmp_path: Path) -> None:
    """When a run is judged depends on the clock; the dropout that follows must not."""
    config = TrainConfig(data=str(data), out=str(tmp_path), model=ModelConfig("denoise", SMALL))
    average = make_model(config.model).state_dict()
    before = torch.get_rng_state()
    train.report(config, average, ColumnCourse(config), 1, [1.0])
    assert torch.equal(torch.get_rng_state(), before)


def test_an_export_that_fails_leaves_the_network_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(model: onnx.ModelProto) -> None:
        raise onnx.checker.ValidationError("not this one")

    monkeypatch.setattr(onnx.checker, "check_model", refuse)
    path = tmp_path / "net.onnx"
    path.write_bytes(b"the one before")
    with pytest.raises(onnx.checker.ValidationError):
        export.export(make_model(ModelConfig("denoise", SMALL)), "denoise", {}, path)
    assert path.read_bytes() == b"the one before"
