"""Finding particles in restored pictures: fringes, faint and cut ones, noise, and none in nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.particles import FoundParticles, find_particles, usual_value
from pipeline.patches import cut_patches
from streamer.records import OUTLINE_POINTS

PIXEL_A = 0.2
LIMITS_NM = (2.0, 20.0)
FRINGES_A = 2.35  # gold {111}
SHAPE = (512, 512)


def lattice(shape: tuple[int, int], pixel_A: float = PIXEL_A, angle: float = 0.4) -> NDArray[np.float32]:
    """Cosine fringes of one set of planes, -1 to 1."""
    y, x = np.mgrid[: shape[0], : shape[1]] * pixel_A
    return np.cos(2 * np.pi * (y * np.sin(angle) + x * np.cos(angle)) / FRINGES_A).astype(np.float32)


def disc(
    centre: tuple[float, float], diameter_nm: float, shape: tuple[int, int] = SHAPE, pixel_A: float = PIXEL_A
) -> NDArray[np.bool_]:
    y, x = np.mgrid[: shape[0], : shape[1]]
    return np.hypot(y - centre[0], x - centre[1]) * pixel_A < 5 * diameter_nm


def picture(*parts: tuple[NDArray[np.bool_], float], noise: float = 0.003) -> NDArray[np.float32]:
    """Fringes of the given amplitudes where the given masks are, on a level of 1 that is not quite flat."""
    image = np.ones(SHAPE, np.float32)
    image += np.random.default_rng(1).normal(0, noise, SHAPE).astype(np.float32) if noise else 0
    for mask, amplitude in parts:
        image[mask] += amplitude * lattice(SHAPE)[mask]
    return image


def found_in(image: NDArray[np.float32]) -> FoundParticles:
    return find_particles(image, PIXEL_A, LIMITS_NM)


def sizes_nm(found: FoundParticles, pixel_A: float = PIXEL_A) -> NDArray[np.float64]:
    return np.sqrt(4 * found.area / np.pi) * pixel_A / 10


@settings(max_examples=25, deadline=None)
@given(
    y=st.floats(150, 360), x=st.floats(150, 360), diameter=st.floats(2.5, 5.5), amplitude=st.floats(0.06, 0.6)
)
def test_a_particle_of_fringes_is_found_where_it_is(
    y: float, x: float, diameter: float, amplitude: float
) -> None:
    found = found_in(picture((disc((y, x), diameter), amplitude)))
    assert len(found) == 1
    assert np.hypot(found.y[0] - y, found.x[0] - x) < 1.5
    assert sizes_nm(found)[0] == pytest.approx(diameter, abs=0.3)
    assert found.axes[0] * PIXEL_A / 10 == pytest.approx([diameter, diameter], abs=0.35)
    assert not found.touches_border[0]


def test_a_faint_particle_beside_a_strong_one_keeps_its_edge() -> None:
    found = found_in(picture((disc((130, 130), 4.0), 0.6), (disc((380, 380), 4.0), 0.06)))
    assert sizes_nm(found) == pytest.approx([4.0, 4.0], abs=0.3)


def test_two_particles_that_are_nearly_touching_are_two() -> None:
    found = found_in(picture((disc((250, 140), 4.0), 0.3), (disc((250, 355), 4.0), 0.3)))  # 3 Å between them
    assert len(found) == 2


@pytest.mark.parametrize("noise", [0.0, 0.002, 0.01])
def test_a_picture_of_nothing_has_no_particle(noise: float) -> None:
    assert len(found_in(picture(noise=noise))) == 0


def test_what_has_less_contrast_than_a_particle_is_none() -> None:
    """Two hundredths of the vacuum level, also where the background is perfectly quiet."""
    found = found_in(picture((disc((256, 256), 5.0), 0.015), noise=0.0))
    assert len(found) == 0


def test_a_particle_may_fill_half_of_the_picture() -> None:
    found = found_in(picture((disc((256, 256), 8.0), 0.3)))
    assert disc((256, 256), 8.0).mean() > 0.45
    assert sizes_nm(found) == pytest.approx([8.0], abs=0.3)
    assert found.level == pytest.approx(1.0, abs=0.002)


def test_contrast_up_or_down_is_a_particle_all_the_same() -> None:
    image = np.ones(SHAPE, np.float32)
    image[disc((130, 130), 4.0)], image[disc((380, 380), 4.0)] = 0.8, 1.2
    assert sizes_nm(found_in(image)) == pytest.approx([4.0, 4.0], abs=0.3)


def test_a_hole_belongs_to_the_particle_around_it() -> None:
    ring = disc((256, 256), 6.0) & ~disc((256, 256), 3.0)
    assert sizes_nm(found_in(picture((ring, 0.3)))) == pytest.approx([6.0], abs=0.3)


def test_an_oblong_particle_has_a_long_and_a_short_axis() -> None:
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]] - 256
    along, across = (y + x) / np.sqrt(2), (y - x) / np.sqrt(2)
    found = found_in(picture(((along / 150) ** 2 + (across / 75) ** 2 < 1, 0.3)))
    assert found.axes[0] * PIXEL_A / 10 == pytest.approx([6.0, 3.0], abs=0.35)


def test_a_particle_at_the_edge_touches_it_and_one_near_it_does_not() -> None:
    found = found_in(picture((disc((256, 20), 4.0), 0.3), (disc((256, 380), 4.0), 0.3)))
    assert found.touches_border[found.x.argsort()].tolist() == [True, False]


def test_sizes_out_of_bounds_are_passed_over() -> None:
    image = picture((disc((100, 100), 1.4), 0.3), (disc((300, 300), 6.0), 0.3))
    assert sizes_nm(find_particles(image, PIXEL_A, (2.0, 4.0))).tolist() == []
    assert sizes_nm(find_particles(image, PIXEL_A, (1.0, 4.0))) == pytest.approx([1.4], abs=0.3)
    assert sizes_nm(find_particles(image, PIXEL_A, (4.0, 20.0))) == pytest.approx([6.0], abs=0.3)


@pytest.mark.parametrize("pixel_A", [0.1, 0.3, 0.5])
def test_any_pixel_size_gives_the_same_size(pixel_A: float) -> None:
    side = round(100 / pixel_A)
    mask = disc((0.4 * side, 0.6 * side), 4.0, (side, side), pixel_A)
    image = np.where(mask, 1 + 0.3 * lattice((side, side), pixel_A), 1).astype(np.float32)
    found = find_particles(image, pixel_A, LIMITS_NM)
    assert sizes_nm(found, pixel_A) == pytest.approx([4.0], abs=0.35)
    assert [found.y[0] / side, found.x[0] / side] == pytest.approx([0.4, 0.6], abs=0.01)


def test_the_outline_goes_round_the_particle() -> None:
    found = found_in(picture((disc((200, 300), 5.0), 0.3)))
    assert found.outline.shape == (1, OUTLINE_POINTS, 2)
    offset = found.outline[0] - (200, 300)
    np.testing.assert_allclose(np.hypot(*offset.T) * PIXEL_A / 10, 2.5, atol=0.25)
    turn = np.diff(np.unwrap(np.arctan2(offset[:, 0], offset[:, 1])))
    np.testing.assert_allclose(turn, 2 * np.pi / OUTLINE_POINTS, atol=0.05)


@given(st.floats(0.05, 0.45), st.floats(-5, 5))
def test_the_usual_value_is_that_of_the_larger_part(share: float, level: float) -> None:
    rng = np.random.default_rng(2)
    image = rng.normal(level, 0.01, (200, 200))
    image.ravel()[: int(share * image.size)] = rng.uniform(level + 1, level + 3, int(share * image.size))
    usual, spread = usual_value(image)
    assert usual == pytest.approx(level, abs=0.01)
    assert 0.008 < spread < 0.022  # a quarter of all is up to nearly half of the larger part


@pytest.mark.parametrize("target_A", [0.2, 0.5, 0.8])
def test_a_patch_has_its_particle_in_the_middle_at_its_own_scale(target_A: float) -> None:
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    smooth = 1 + np.exp(-(((y - 180) ** 2 + (x - 300.5) ** 2) * (PIXEL_A / 10) ** 2) / 2).astype(np.float32)
    (patch,) = cut_patches(smooth, np.array([180.0]), np.array([300.5]), PIXEL_A, target_A, 1.0)[:, 0]
    at = (np.arange(128) - 64) * target_A / 10
    expected = 1 + np.exp(-(at[:, None] ** 2 + at**2) / 2)
    np.testing.assert_allclose(
        patch, expected, atol=0.5 * target_A / 10
    )  # half a pixel of the steepest slope


def test_a_patch_beyond_the_picture_has_its_level() -> None:
    image = np.full(SHAPE, 1.5, np.float32)
    places = np.array([0.0, 511.0])
    first, last = cut_patches(image, places, places, PIXEL_A, PIXEL_A, 1.0)[:, 0]
    assert (first[:64].max(), first[64:, 64:].min()) == (1.0, 1.5)
    assert (last[:64, :64].min(), last[66:].max()) == (1.5, 1.0)
