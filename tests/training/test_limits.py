"""Conditions beyond the training: the same particles under each, judged by known answers."""

import numpy as np
import pytest

from gui.status_text import HIGH_UNFAMILIARITY
from simulator.multislice import MultisliceSettings
from simulator.waves import unpack
from streamer.config import AnalysisConfig
from streamer.records import COLUMN_DTYPE
from training import evaluate_limits
from training.data import DrawConfig, fixed_dose
from training.evaluate_limits import (
    CONDITIONS,
    THRESHOLD,
    WARNS_FROM,
    Condition,
    built,
    judged,
    simulated,
    summarised,
)
from training.score import Particles, taken

GRID = MultisliceSettings(oversampling=1.0, slice_thickness_A=6.0)


@pytest.fixture(scope="module")
def plain() -> Particles:
    return simulated(Condition("plain"), 1, GRID)


def test_the_limits_are_those_of_the_live_program() -> None:
    assert WARNS_FROM == HIGH_UNFAMILIARITY
    assert AnalysisConfig().detection_threshold == THRESHOLD


def test_a_tilted_particle_is_the_same_one_under_another_angle() -> None:
    before, after = built(Condition("as drawn"), 1), built(Condition("tilted", tilt_deg=4.0), 1)
    assert np.hypot(before.settings.tilt_x_deg, before.settings.tilt_y_deg) < 1.0
    assert np.hypot(after.settings.tilt_x_deg, after.settings.tilt_y_deg) == pytest.approx(4.0)
    ids = ["column_id", "count"]
    assert np.array_equal(before.columns[ids], after.columns[ids])
    assert {c.zone_axis for c in CONDITIONS} == {"", "111", "211"}
    assert built(Condition("other axis", zone_axis="111"), 1).settings.zone_axis == "111"


def test_a_film_changes_the_vacuum_and_neither_truth_nor_lens_nor_the_number_of_electrons(
    plain: Particles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate_limits, "MEMBRANES", 1)
    film = simulated(Condition("film", carbon_A=20.0), 1, GRID)
    assert np.array_equal(film.store.columns, plain.store.columns)
    assert film.optics == plain.optics
    assert film.settings == plain.settings
    bare, covered = (unpack(particles.store.waves[0, 0]) for particles in (plain, film))
    corner = np.s_[:40, :40]
    assert np.abs(bare[corner] - 1).std() < 0.01
    assert np.abs(covered[corner] - covered[corner].mean()).std() > 0.02
    assert (np.abs(covered) ** 2).mean() == pytest.approx((np.abs(bare) ** 2).mean(), rel=0.02)


def test_known_answers_give_known_figures(plain: Particles) -> None:
    rng = np.random.default_rng(0)
    ((_, true, _),) = taken(plain, 256, fixed_dose(DrawConfig(), 300.0), rng)
    real = int((plain.store.columns["count"] > 0).sum())
    assert len(true) == real

    def figures(wrong_by: int, unfamiliarity: float) -> dict[str, float]:
        found = np.zeros(len(true) - 1, COLUMN_DTYPE)  # the last one is missed
        for name in ("y", "x", "count"):
            found[name] = true[name][:-1]
        found["count"] += wrong_by
        found["probability"] = 0.75
        return summarised(judged(lambda frame: (found, unfamiliarity), plain, 300.0))

    right, wrong = figures(0, 0.49), figures(1, 0.5)
    both = {"within_one": 1.0, "stated": 0.75, "columns": real, "missed": 1 / real, "false": 0.0}
    for found, expected in (
        (right, {"exact": 1.0, "off": 0.0, "warned": 0.0}),
        (wrong, {"exact": 0.0, "off": 1.0, "warned": 1.0}),
    ):
        expected |= both
        assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_the_page_has_a_row_for_each_condition_and_dose() -> None:
    class Info:
        precision = "bf16"

    values = dict.fromkeys(evaluate_limits.COLUMNS, 0.125) | {"columns": 88.0, "off": -1.5}
    table = {condition.name: {300.0: values, 1000.0: values} for condition in CONDITIONS}
    text = evaluate_limits.page(table, 20, Info())  # type: ignore[arg-type]
    assert text.count("| 88 | 12.5 | 12.5 | -1.50 |") == 2 * len(CONDITIONS)
    assert "bf16" in text


def test_gold_is_judged_off_its_axes_but_along_no_others() -> None:
    conditions = evaluate_limits.conditions_for("gold-columns")
    assert {c.zone_axis for c in conditions} == {""}
    assert [c.tilt_deg for c in conditions] == pytest.approx(
        [c.tilt_deg for c in CONDITIONS if not c.zone_axis], nan_ok=True
    )
    tilted = built(conditions[5], 1)
    assert tilted.settings.material == "gold-columns"
    assert np.hypot(tilted.settings.tilt_x_deg, tilted.settings.tilt_y_deg) == pytest.approx(4.0)
