"""Training on gold in miniature, on exit waves of made-up particles (no multislice)."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from scipy.ndimage import gaussian_filter

from pipeline.onnx_header import read_onnx_header
from pipeline.particle_networks import PATCH_PX
from simulator.gold import SHAPES
from simulator.gold_dataset import GoldDatasetConfig, create
from simulator.multislice import MultisliceSettings
from simulator.waves import pack, unpack
from training import export, gold_evaluate, train
from training.checkpoint import load_checkpoint
from training.gold_data import BEST, GoldDraw, GoldStore, load_gold, make_picture, turned_map, turned_wave
from training.gold_evaluate import GoldEvaluateConfig, balanced_recall, confusion
from training.gold_pools import PatchPool, RestorePool
from training.gold_score import ROW_DTYPE, overlap
from training.gold_train import GoldTrainConfig, RestoreCourse, course_of, shape_config, unsure_threshold
from training.model import ModelConfig, make_model

PIXELS = 128
GRID = MultisliceSettings(pixels=PIXELS)
SMALL = (8, 8, 8)


def fake_particle(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the wave (1, h, w, 2) and the coarse thickness of an off-centre blob with fringes."""
    pixel = np.arange(PIXELS) - PIXELS // 2
    y, x = pixel[:, None], pixel[None, :]
    blob = np.exp(-((y - 9) ** 2 / 200 + (x + 5) ** 2 / 60))
    phase = blob * (0.8 + 0.4 * np.sin(2 * np.pi * (y + x) / rng.uniform(10, 14)))
    thickness = 40.0 * blob.reshape(PIXELS // 4, 4, PIXELS // 4, 4).mean((1, 3))
    return pack(np.exp(1j * phase)[None].astype(np.complex64)), thickness


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data set of 36 made-up particles and eleven membranes."""
    path, rng = tmp_path_factory.mktemp("gold") / "set.h5", np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        create(file, GoldDatasetConfig(particles=36, membranes=11, gold=GRID, carbon=GRID))
        for index in range(36):
            file["waves"][index], file["thickness_A"][index] = fake_particle(rng)
            file["settings"][index] = (
                '{"shape": "octahedron", "parameters": [11, 0], "rotation": [0, 0, 0, 1],'
                ' "missing_share": 0, "seed": 1}'
            )
        for index in range(11):
            grain = 0.2 * gaussian_filter(rng.normal(size=(PIXELS, PIXELS)), 1.5, mode="wrap") / 0.19
            file["carbon/waves"][index] = pack(np.exp(1j * grain).astype(np.complex64))
        file["carbon/thickness_A"][:] = np.linspace(20, 100, 11)
        file["height_A"][:], file["diameter_A"][:] = 40.0, 50.0
        file["done"][:], file["carbon/done"][:] = True, True
    return path


@pytest.fixture(scope="module")
def store(data: Path) -> GoldStore:
    """Return the training split."""
    return load_gold(data, "train")


def same(frames: np.ndarray) -> np.ndarray:
    """Stand in for the restoration: hand the contrast through."""
    return 1.0 + 0.3 * frames[:, 0]


def test_splits_share_neither_particles_nor_membranes(data: Path) -> None:
    stores = [load_gold(data, split) for split in ("train", "validation", "test")]
    assert [len(s.waves) for s in stores] == [24, 6, 6]
    assert [len(s.carbon) for s in stores] == [8, 1, 2]
    thicknesses = np.concatenate([s.carbon_A for s in stores])
    assert len(np.unique(thicknesses)) == 11
    assert all(np.bincount(s.label, minlength=6).min() == len(s.label) // 6 for s in stores)


def test_wave_and_thickness_turn_alike_and_nothing_is_lost(store: GoldStore) -> None:
    wave = torch.from_numpy(unpack(store.waves[0]))
    coarse = torch.from_numpy(store.thickness_A[0].astype(np.float32))
    assert turned_map(coarse, 0.0, PIXELS).numpy() == pytest.approx(
        torch.nn.functional.interpolate(coarse[None, None], scale_factor=4, mode="bilinear")[0, 0].numpy(),
        abs=2.0,
    )
    for angle in (-0.7, 0.3):
        turned = turned_wave(wave, angle)
        assert (turned - 1).abs().square().sum().item() == pytest.approx(
            (wave - 1).abs().square().sum().item(), rel=1e-3
        )
        phase = gaussian_filter(np.angle(turned.numpy()), 8.0)
        here = np.corrcoef(phase.ravel(), turned_map(coarse, angle, PIXELS).numpy().ravel())[0, 1]
        there = np.corrcoef(phase.ravel(), turned_map(coarse, -angle, PIXELS).numpy().ravel())[0, 1]
        assert here > 0.9
        assert here > there + 0.02


def test_target_has_no_carbon_and_stands_on_the_thickness(store: GoldStore) -> None:
    rng = np.random.default_rng(1)
    always = GoldDraw(bare_share=0.0, empty_share=0.0)
    pictures = [make_picture(store, 0, always, rng, BEST) for _ in range(3)]
    for picture in pictures:
        beside = picture.thickness_A < 0.05
        assert picture.target[beside].std().item() < 0.02
        assert picture.intensity[beside].std().item() > 0.05
        smooth = gaussian_filter(picture.target.numpy(), 8.0) - 1.0
        expected = 0.01 * gaussian_filter(picture.thickness_A.numpy(), 8.0)
        assert smooth.max() == pytest.approx(expected.max(), rel=0.35)
    assert not np.allclose(pictures[0].intensity, pictures[1].intensity, atol=0.05)


def test_pictures_without_a_particle_have_a_flat_target(store: GoldStore) -> None:
    picture = make_picture(store, 0, GoldDraw(empty_share=1.0), np.random.default_rng(2), BEST)
    assert picture.label == -1
    assert picture.target.numpy() == pytest.approx(np.ones((PIXELS, PIXELS)), abs=1e-4)
    assert picture.intensity.std().item() > 0.05


def test_batches_follow_from_the_seed(store: GoldStore) -> None:
    first, again = (
        RestorePool(store, 3, GoldDraw(), np.random.default_rng(1)).batch(4, 64) for _ in range(2)
    )
    assert torch.equal(first.frames, again.frames)
    assert torch.equal(first.clean, again.clean)
    assert first.frames.shape == (4, 2, 64, 64)


def test_patches_grow_in_number_and_then_replace_the_oldest(store: GoldStore) -> None:
    pool = PatchPool(store, same, 5, 2, GoldDraw(empty_share=0.0), np.random.default_rng(1))
    pool.renew(2)
    assert (len(pool.patches), pool.labels) == (4, [int(k) for k in store.label[:4]])
    oldest = pool.patches[0]
    pool.renew(2)
    assert len(pool.patches) == 5
    assert not torch.equal(pool.patches[0], oldest)
    batch = pool.batch(7, PATCH_PX)
    assert batch.patches.shape == (7, 1, PATCH_PX, PATCH_PX)


@pytest.mark.parametrize("task", ["restore", "shapes"])
def test_a_run_resumes_and_its_export_gives_what_torch_gives(data: Path, tmp_path: Path, task: str) -> None:
    restore = tmp_path / "restore.onnx"
    common = {"data": str(data), "out": str(tmp_path), "pool": 4, "threads": 1, "steps": 2}
    config = replace(GoldTrainConfig(), model=ModelConfig("denoise", SMALL), shapes=((2, 64),), **common)
    if task == "shapes":
        untrained = make_model(ModelConfig("denoise", SMALL))
        export.export(untrained, "denoise", {}, restore)
        config = replace(
            shape_config(config), model=ModelConfig("shapes", SMALL), restore=str(restore), **common
        )
        config = replace(config, shapes=((3, 128),))
    train.main(config, course_of(config))
    longer = replace(config, steps=3)
    checkpoint = load_checkpoint(train.main(longer, course_of(longer)))
    assert (checkpoint.step, checkpoint.material) == (3, "gold")

    path = export.main(export.ExportConfig(str(tmp_path / "last.pt"), str(tmp_path / "net.onnx")))
    assert path.stat().st_size < 8e6
    metadata = read_onnx_header(path.read_bytes(), "net").metadata
    assert metadata == {p.key: p.value for p in onnx.load(path).metadata_props}
    assert metadata["material"] == "Au"
    network = make_model(checkpoint.model).eval()
    network.load_state_dict(checkpoint.average)
    session = onnxruntime.InferenceSession(path)
    given = session.get_inputs()[0].name
    shape = (2, 1, 128, 128) if task == "shapes" else (2, 2, 48, 80)
    values = np.random.default_rng(0).normal(1.0, 0.3, size=shape).astype(np.float32)
    got = session.run(None, {given: values})[0]
    with torch.no_grad():
        expected = export.shipped(network, float(metadata["temperature"]))(torch.from_numpy(values))
    assert got == pytest.approx(expected.numpy(), abs=1e-3)
    if task == "shapes":
        assert metadata["classes"] == str(list(SHAPES)).replace("'", '"')
        assert (metadata["pixel_size_A"], metadata["input"]) == ("0.8", "restored")
        assert 0.0 < float(metadata["unsure_below"]) <= 1.0


def test_a_few_steps_lower_the_loss(data: Path) -> None:
    torch.manual_seed(0)
    config = replace(GoldTrainConfig(), data=str(data), pool=4)
    course, network = RestoreCourse(config), make_model(ModelConfig("denoise", SMALL))
    batch = course.pool(np.random.default_rng(3)).batch(4, 64)
    optimiser = torch.optim.Adam(network.parameters(), 5e-3)
    losses = []
    for _ in range(20):
        losses.append(course.loss(network, batch, "f32"))
        optimiser.zero_grad()
        losses[-1].backward()
        optimiser.step()
    assert losses[-1] < 0.8 * losses[0]


def test_the_threshold_keeps_the_answers_of_which_enough_are_right() -> None:
    probability = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4], np.float32)
    assert unsure_threshold(probability, np.array([1, 1, 1, 1, 0, 0], bool)) == pytest.approx(0.6)
    assert unsure_threshold(probability, np.zeros(6, bool)) == 1.0


def test_recall_is_the_mean_over_shapes_whatever_their_number() -> None:
    rows = np.zeros(11, ROW_DTYPE)
    rows["shape"][:10], rows["shape"][10] = 0, 1
    rows["found"][:10], rows["found"][10] = 0, 3
    assert balanced_recall(rows) == pytest.approx(0.5)
    shares = confusion(rows)
    assert (shares[0, 0], shares[1, 3], shares[2].sum()) == (1.0, 1.0, 0.0)


def test_overlap_is_intersection_over_union() -> None:
    assert overlap(np.array([1, 1, 0, 0], bool), np.array([0, 1, 1, 0], bool)) == pytest.approx(1 / 3)


def test_evaluation_writes_its_report(data: Path, tmp_path: Path) -> None:
    meta = {"classes": '["a"]', "unsure_below": "0.3"}
    export.export(make_model(ModelConfig("denoise", SMALL)), "denoise", {}, tmp_path / "restore.onnx")
    export.export(make_model(ModelConfig("shapes", SMALL)), "shapes", meta, tmp_path / "shapes.onnx")
    config = GoldEvaluateConfig(
        str(tmp_path / "restore.onnx"),
        str(tmp_path / "shapes.onnx"),
        str(data),
        str(tmp_path / "out"),
        doses_e_per_A2=(300.0, 3000.0),
        views=1,
    )
    assert gold_evaluate.main(config).exists()
    text = (tmp_path / "out" / "gold.md").read_text(encoding="utf-8")
    assert "6 particles of the test split" in text
    assert all(shape in text for shape in SHAPES)
    assert (tmp_path / "out" / "gold_confusion.png").exists()
