"""The settings model: checked when made, changed by replacement, told of once."""

import pytest

from gui.settings import Model, Region, Settings, ViewState
from streamer.errors import UsageError


@pytest.mark.parametrize(
    "fields",
    [
        {"raw_colour_map": "rainbow"},
        {"average_frames": 3},
        {"time_window_s": -1.0},
        {"plots": ("atoms", "weather")},
        {"percentiles": (99.0, 1.0)},
        {"manual_levels": (0.5, 0.5)},
        {"sure_probability": 1.1},
    ],
)
def test_a_wrong_value_is_refused_by_name_and_changes_nothing(fields: dict[str, object]) -> None:
    model = Model(Settings())
    with pytest.raises(UsageError, match=next(iter(fields))):
        model.change(**fields)
    assert model.value == Settings()


def test_subscribers_hear_of_each_change_once() -> None:
    model = Model(Settings())
    heard: list[int] = []
    unsubscribe = model.subscribe(lambda settings: heard.append(settings.average_frames))
    model.change(average_frames=4)
    model.change(average_frames=4)
    unsubscribe()
    model.change(average_frames=8)
    assert heard == [4]


def test_a_region_has_a_size() -> None:
    with pytest.raises(UsageError, match="extent_px"):
        Region(1.0, 1.0, 0.0)


def test_live_is_the_absence_of_a_time() -> None:
    assert ViewState().live
    assert not ViewState(t=1.0).live
