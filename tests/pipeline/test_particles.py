"""Finding particles in restored pictures: thick, thin and cut ones, noise, and none in nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.particles import EDGE_A, FoundParticles, find_particles, usual_value
from pipeline.patches import cut_patches, in_all_orientations, mean_of_orientations, without_neighbours
from streamer.records import OUTLINE_POINTS

PIXEL_A = 0.2
PEDESTAL = 0.01
LIMITS_NM = (2.0, 20.0)
FRINGES_A = 2.35  # gold {111}
SHAPE = (512, 512)
WITHIN_NM = 0.4  # of the diameter: a ball's steep edge is thick enough beyond it, by most of the window


def lattice(shape: tuple[int, int], pixel_A: float = PIXEL_A, angle: float = 0.4) -> NDArray[np.float32]:
    """Cosine fringes of one set of planes, -1 to 1."""
    y, x = np.mgrid[: shape[0], : shape[1]] * pixel_A
    return np.cos(2 * np.pi * (y * np.sin(angle) + x * np.cos(angle)) / FRINGES_A).astype(np.float32)


def ball(
    centre: tuple[float, float], diameter_nm: float, shape: tuple[int, int] = SHAPE, pixel_A: float = PIXEL_A
) -> NDArray[np.float32]:
    """Thickness of a ball [Å]."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    square = (5 * diameter_nm) ** 2 - ((y - centre[0]) ** 2 + (x - centre[1]) ** 2) * pixel_A**2
    return (2 * np.sqrt(np.maximum(square, 0))).astype(np.float32)


def picture(
    *thickness_A: NDArray[np.float32], noise: float = 0.01, fringes: float = 0.4
) -> NDArray[np.float32]:
    """A restored picture: fringes and a pedestal where there is gold, on a nearly flat level of 1."""
    image = np.ones(SHAPE, np.float32)
    if noise:
        image += np.random.default_rng(1).normal(0, noise, SHAPE).astype(np.float32)
    for thickness in thickness_A:
        image += PEDESTAL * thickness + fringes * lattice(SHAPE) * (thickness > 0)
    return image


def found_in(image: NDArray[np.float32]) -> FoundParticles:
    return find_particles(image, PIXEL_A, PEDESTAL, LIMITS_NM)


def sizes_nm(found: FoundParticles, pixel_A: float = PIXEL_A) -> NDArray[np.float64]:
    return np.sqrt(4 * found.area / np.pi) * pixel_A / 10


@settings(max_examples=25, deadline=None)
@given(y=st.floats(160, 350), x=st.floats(160, 350), diameter=st.floats(3.0, 6.0), fringes=st.floats(0, 0.8))
def test_a_particle_is_found_where_it_is(y: float, x: float, diameter: float, fringes: float) -> None:
    """Whatever its fringes: turned away from all zone axes it may have none."""
    found = found_in(picture(ball((y, x), diameter), fringes=fringes))
    assert len(found) == 1
    assert np.hypot(found.y[0] - y, found.x[0] - x) < 2.0  # fringes at the edge move it by so much
    assert sizes_nm(found)[0] == pytest.approx(diameter, abs=WITHIN_NM)
    assert found.axes[0] * PIXEL_A / 10 == pytest.approx([diameter, diameter], abs=WITHIN_NM)
    assert not found.touches_border[0]


def test_a_thin_particle_beside_a_thick_one_is_as_large_as_it_is() -> None:
    thin = np.minimum(ball((380, 380), 4.0), 12.0)
    found = found_in(picture(ball((130, 130), 4.0), thin))
    assert sizes_nm(found) == pytest.approx([4.0, 4.0], abs=WITHIN_NM)


def test_two_particles_a_nanometre_apart_are_two() -> None:
    found = found_in(picture(ball((250, 125), 4.0), ball((250, 375), 4.0)))
    assert len(found) == 2


@pytest.mark.parametrize("noise", [0.0, 0.01, 0.1])
def test_a_picture_of_nothing_has_no_particle(noise: float) -> None:
    assert len(found_in(picture(noise=noise))) == 0


def test_what_is_thinner_than_an_edge_is_no_particle() -> None:
    """Also where the background is perfectly quiet."""
    assert len(found_in(picture(np.minimum(ball((256, 256), 5.0), 0.8 * EDGE_A), noise=0.0))) == 0


def test_fringes_without_a_pedestal_are_no_particle() -> None:
    """As the restoration may leave of the carbon, or of a particle's fringes displaced beside it."""
    image = picture()
    inside = ball((256, 256), 5.0) > 0
    image[inside] += 0.5 * lattice(SHAPE)[inside]
    assert len(found_in(image)) == 0


def test_a_particle_may_fill_half_of_the_picture() -> None:
    thickness = ball((256, 256), 8.0)
    assert (thickness > 0).mean() > 0.45
    assert sizes_nm(found_in(picture(thickness))) == pytest.approx([8.0], abs=WITHIN_NM)


def test_a_hole_belongs_to_the_particle_around_it() -> None:
    ring = ball((256, 256), 6.0) * (ball((256, 256), 3.0) == 0)
    assert sizes_nm(found_in(picture(ring))) == pytest.approx([6.0], abs=WITHIN_NM)


def test_an_oblong_particle_has_a_long_and_a_short_axis() -> None:
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]] - 256
    along, across = (y + x) / np.sqrt(2), (y - x) / np.sqrt(2)
    inside = np.maximum(1 - (along / 150) ** 2 - (across / 75) ** 2, 0)
    found = found_in(picture((50 * np.sqrt(inside)).astype(np.float32)))
    assert found.axes[0] * PIXEL_A / 10 == pytest.approx([6.0, 3.0], abs=WITHIN_NM)


def test_a_particle_at_the_edge_touches_it_and_one_near_it_does_not() -> None:
    found = found_in(picture(ball((256, 60), 4.0), ball((256, 380), 4.0)))
    assert found.touches_border[found.x.argsort()].tolist() == [True, False]


def test_sizes_out_of_bounds_are_passed_over() -> None:
    image = picture(ball((100, 100), 1.6), ball((300, 300), 6.0))
    for limits, expected in (((2.0, 4.0), []), ((1.0, 4.0), [1.6]), ((4.0, 20.0), [6.0])):
        found = find_particles(image, PIXEL_A, PEDESTAL, limits)
        assert sizes_nm(found) == pytest.approx(expected, abs=WITHIN_NM)


@pytest.mark.parametrize("pixel_A", [0.1, 0.3, 0.5])
def test_any_pixel_size_gives_the_same_size(pixel_A: float) -> None:
    side = round(100 / pixel_A)
    thickness = ball((0.4 * side, 0.6 * side), 4.0, (side, side), pixel_A)
    image = 1 + PEDESTAL * thickness + 0.3 * lattice((side, side), pixel_A) * (thickness > 0)
    found = find_particles(image.astype(np.float32), pixel_A, PEDESTAL, LIMITS_NM)
    assert sizes_nm(found, pixel_A) == pytest.approx([4.0], abs=WITHIN_NM)
    assert [found.y[0] / side, found.x[0] / side] == pytest.approx([0.4, 0.6], abs=0.01)


def test_the_outline_goes_round_the_particle() -> None:
    found = found_in(picture(ball((200, 300), 5.0)))
    assert found.outline.shape == (1, OUTLINE_POINTS, 2)
    offset = found.outline[0] - (200, 300)
    np.testing.assert_allclose(np.hypot(*offset.T) * PIXEL_A / 10, 2.5, atol=WITHIN_NM)
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


@pytest.mark.parametrize("binning", [1, 3, 4])
def test_a_patch_has_its_particle_in_the_middle_at_its_own_scale(binning: int) -> None:
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    smooth = 1 + np.exp(-(((y - 180) ** 2 + (x - 300.5) ** 2) * (PIXEL_A / 10) ** 2) / 2).astype(np.float32)
    (patch,) = cut_patches(smooth, np.array([180.0]), np.array([300.5]), binning)[:, 0]
    step_nm = binning * PIXEL_A / 10
    at = (np.arange(128) - 64) * step_nm
    expected = 1 + np.exp(-(at[:, None] ** 2 + at**2) / 2)
    inside = np.abs(at) < 2.8  # of the picture, not beyond it
    np.testing.assert_allclose(patch[inside][:, inside], expected[inside][:, inside], atol=0.62 * step_nm)


def test_a_pixel_of_a_patch_is_the_mean_of_a_square() -> None:
    image = np.random.default_rng(3).random((512, 512)).astype(np.float32)
    (patch,) = cut_patches(image, np.array([255.5]), np.array([255.5]), 4)[:, 0]
    np.testing.assert_allclose(patch, image.reshape(128, 4, 128, 4).mean((1, 3)), rtol=1e-6)


@pytest.mark.parametrize("side", [512, 514])
def test_a_patch_beyond_the_picture_has_the_level(side: int) -> None:
    image = np.full((side, side), 1.5, np.float32)
    first, last = cut_patches(image, *2 * [np.array([0.0, side - 1.0])], 4)[:, 0]
    assert (first[:64].max(), first[64:, 64:].min()) == (1.0, 1.5)
    assert (last[:63, :63].min(), last[66:].max()) == (1.5, 1.0)


def test_neighbours_are_taken_out_of_a_patch_and_its_own_particle_stays() -> None:
    own, other = ball((256, 160), 4.0), ball((256, 390), 4.0)
    both, alone = picture(own, other, noise=0), picture(own, noise=0)
    found = found_in(both)
    assert len(found) == 2
    first = int(found.x.argmin())
    patches = without_neighbours(cut_patches(both, found.y, found.x, 4), found, 4)
    expected = cut_patches(alone, found.y, found.x, 4)
    np.testing.assert_allclose(patches[first], expected[first], atol=1e-3)


def test_the_eight_orientations_of_a_patch_are_all_there_are() -> None:
    patches = np.random.default_rng(1).random((3, 1, 6, 6)).astype(np.float32)
    turned = in_all_orientations(patches)
    assert turned.shape == (24, 1, 6, 6)
    assert turned.flags.c_contiguous
    for place in range(3):
        own = {image.tobytes() for image in turned[place::3]}
        assert len(own) == 8
        mirrored = in_all_orientations(np.ascontiguousarray(patches[place : place + 1].swapaxes(2, 3)))
        assert {image.tobytes() for image in mirrored} == own


def test_the_mean_of_orientations_is_that_of_each_patch_and_blind_to_how_it_lies() -> None:
    rng = np.random.default_rng(2)
    weights = rng.standard_normal((16, 2)).astype(np.float32)
    patches = rng.random((5, 1, 4, 4)).astype(np.float32)

    def told(images: NDArray[np.float32]) -> NDArray[np.float32]:
        logits = in_all_orientations(images).reshape(-1, 16) @ weights
        return mean_of_orientations(logits)

    alone = np.concatenate([told(patch[None]) for patch in patches])
    np.testing.assert_allclose(told(patches), alone, rtol=1e-5)
    np.testing.assert_allclose(told(np.ascontiguousarray(np.rot90(patches, 1, (2, 3)))), alone, rtol=1e-4)
    assert np.ptp(alone[:, 0]) > 0.01
