"""The cost of a network, against a count by hand."""

from pathlib import Path

from tests.pipeline.tiny_networks import MATERIAL, MAX_COUNT, write_networks
from training.network_cost import network_cost


def test_the_cost_of_known_networks(tmp_path: Path) -> None:
    """A 1 x 1 convolution of two channels costs four operations an output value."""
    folder = write_networks(tmp_path)
    flops, values = network_cost(folder / f"{MATERIAL}_denoise.onnx", 32, 48)
    assert flops == 4 * 32 * 48
    assert values == 3 * 32 * 48 + 2 + 1  # two channels in, one out, two weights and a bias
    flops, _ = network_cost(folder / f"{MATERIAL}_heights.onnx", 32, 48)
    assert flops == 4 * 32 * 48 * (1 + MAX_COUNT)
