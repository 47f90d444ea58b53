"""What is fitted after the training recovers what was put in."""

import numpy as np
import pytest
import torch

from streamer.records import COLUMN_DTYPE
from training.baselines import at_surface, fit_counter
from training.calibrate import fitted_shift, fitted_temperature


def test_the_temperature_follows_the_noise_as_the_logits_were_spoilt() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 2.0 * torch.randn(40000, 6, generator=generator)
    truth = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
    log_noise = torch.rand(40000, generator=generator) * 3.0 - 3.0
    too_sure = logits * (1.4 * torch.exp(0.3 * log_noise))[:, None]
    assert fitted_temperature(too_sure, truth, log_noise) == pytest.approx((1.4, 0.3), abs=0.04)


def test_the_shift_lies_above_the_share_of_frames_that_is_asked_for() -> None:
    rng = np.random.default_rng(0)
    log_noise = rng.uniform(-3.0, 0.0, 400)
    highest = -1.0 + 2.0 * log_noise + rng.normal(0.0, 0.5, 400)
    level, slope = fitted_shift(log_noise, highest, 0.95)
    assert (highest <= level + slope * log_noise).mean() == pytest.approx(0.95, abs=0.01)
    assert slope == pytest.approx(2.0, abs=0.3)


def lattice() -> np.ndarray:
    """Return 5 × 5 columns 16 px apart."""
    y, x = np.meshgrid(np.arange(5) * 16.0 + 32, np.arange(5) * 16.0 + 32, indexing="ij")
    table = np.zeros(25, COLUMN_DTYPE)
    table["y"], table["x"], table["count"] = y.ravel(), x.ravel(), 1 + np.arange(25) % 6
    return table


def test_the_surface_is_the_rim() -> None:
    rim = at_surface(lattice()).reshape(5, 5)
    assert rim.sum() == 16
    assert not rim[1:-1, 1:-1].any()


def test_the_counter_of_peaks_reads_what_is_linear_in_the_count() -> None:
    table = lattice()
    pixel = np.arange(128.0)
    frame = np.ones((128, 128))
    for y, x, count in zip(table["y"], table["x"], table["count"], strict=True):
        frame += 0.3 * count * np.exp(-((pixel[:, None] - y) ** 2 + (pixel - x) ** 2) / 18.0)
    counter = fit_counter(frame[None].astype(np.float32), [table])
    found = counter.columns(frame.astype(np.float32))
    assert len(found) == 25
    assert np.array_equal(np.sort(found["count"]), np.sort(table["count"]))
