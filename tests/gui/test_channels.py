"""Stimulus channels in the window: what is published is drawn beside the frames' own series."""

import time

import numpy as np

from gui.channels import Channel, ChannelHistory, channel_plots
from gui.window import AnalysisWindow
from streamer.stimuli import CHANNELS_TOPIC, Batch, Sample, encode_batch
from tests.gui.conftest import OpenWindow, show_until
from tests.gui.publisher import Particle, Publisher, make_view


def send_three(publisher: Publisher) -> float:
    """Send three frames, ten seconds apart; return the first one's time [Unix s]."""
    start = time.time() - 100
    for k in range(3):
        publisher.send(make_view(Particle(size=128), k, size=128, t=start + 10 * k))
    return start


def test_a_published_channel_is_drawn_with_its_value_and_unit(
    open_window: OpenWindow, publisher: Publisher
) -> None:
    window, start = open_window(), send_three(publisher)
    samples = [Sample("temperature", start, 300.0), Sample("temperature", start + 12.0, 873.25)]
    publisher.send_parts([CHANNELS_TOPIC, encode_batch(Batch(samples, units={"temperature": "K"}))])
    publisher.send_parts([CHANNELS_TOPIC, encode_batch(Batch([Sample("bias", float("nan"), 1.0)]))])
    publisher.send_parts([CHANNELS_TOPIC, b"\xc1"])
    show_until(window, lambda: "temperature" in window.session.channels.channels)
    show_until(window, lambda: window.panels.timeline.plots[-1].name == "channel temperature")
    plot = window.panels.timeline.plots[-1]
    assert plot.reading == "873.25 K"
    assert "bias" not in window.session.channels.channels
    assert sorted(set(plot.curves[0].y.tolist())) == [300.0, 873.25]


def test_a_small_pressure_can_be_read_and_seen_to_change(
    open_window: OpenWindow, publisher: Publisher
) -> None:
    window, start = open_window(), send_three(publisher)
    samples = [Sample("pressure", start + k, (1 + k) * 1e-7) for k in range(5)]
    publisher.send_parts([CHANNELS_TOPIC, encode_batch(Batch(samples, units={"pressure": "mbar"}))])
    show_until(window, lambda: window.panels.timeline.plots[-1:] != () and "pressure" in last_title(window))
    assert window.panels.timeline.plots[-1].reading == "5.00×10⁻⁷ mbar"
    low, high = window.panels.timeline.rows[-1].box.viewRange()[1]
    assert high - low < 1e-6


def test_absurd_values_leave_the_other_plots_alone(open_window: OpenWindow, publisher: Publisher) -> None:
    window, start = open_window(), send_three(publisher)
    values = {"bias": (1e308, -1e308), "pressure": (1.0, 1e300), "temperature": (300.0, 310.0)}
    samples = [Sample(name, start + k, pair[k]) for name, pair in values.items() for k in (0, 1)]
    publisher.send_parts([CHANNELS_TOPIC, encode_batch(Batch(samples))])
    show_until(window, lambda: len(window.session.channels.channels) == 3)
    show_until(window, lambda: last_title(window) == "temperature")
    low, high = window.panels.timeline.rows[-1].box.viewRange()[1]
    assert 290 < low < high < 320


def last_title(window: AnalysisWindow) -> str:
    return window.panels.timeline.plots[-1].title


def test_a_value_holds_until_the_next_one() -> None:
    history = ChannelHistory()
    history.add([Sample("gas", 10.0, 1.0), Sample("gas", 20.0, 2.0)], {"gas": "mbar"})
    (plot,) = channel_plots(history.channels, (0.0, 30.0), 0.0, 15.0, 500)
    curve = plot.curves[0]
    assert curve.x.tolist() == [10.0, 20.0, 20.0, 30.0]
    assert curve.y.tolist() == [1.0, 1.0, 2.0, 2.0]
    assert plot.reading == "1.00 mbar"
    assert channel_plots(history.channels, (0.0, 5.0), 0.0, None, 500) == ()


def test_memory_is_bounded_and_the_newest_stays() -> None:
    channel = Channel()
    for i in range(250_000):
        channel.add(float(i), float(i))
    channel.add(5.0, -1.0)  # known already
    assert len(channel.t) <= 2 * 100_000
    assert (channel.t[0], channel.t[channel.n - 1]) == (0.0, 249_999.0)
    assert (np.diff(channel.t[: channel.n]) > 0).all()


def test_at_most_sixteen_channels_are_remembered() -> None:
    history = ChannelHistory()
    history.add([Sample(f"c{i}", 1.0, 0.0) for i in range(40)], {})
    assert len(history.channels) == 16
