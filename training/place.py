"""Where a run computes: the device of this process, and its part in a run of several.

``torchrun --nproc-per-node 4 --no-python atomstream train …`` starts four processes, with a GPU each if there
are any. Each draws batches of its own; the gradients are averaged, so all have the same weights. The first
process judges and saves.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

__all__ = ["Place", "joined_run", "on_device"]

NetworkT = TypeVar("NetworkT", bound=nn.Module)
_PATIENCE = timedelta(minutes=30)  # the others wait while the first one judges


@dataclass(frozen=True, slots=True)
class Place:
    """A process of a run: its device, its number, and how many there are."""

    device: torch.device
    rank: int = 0
    world: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process judges and saves."""
        return self.rank == 0

    def seeds(self, seed: int, first_step: int) -> list[int]:
        """Return what this process draws its batches from; alone, what it was before there were several."""
        return [seed, first_step, *([self.rank] if self.rank else [])]

    def shared(self, network: NetworkT) -> NetworkT:
        """Return what is called as the network in training: gradients are averaged over all processes."""
        if self.world == 1:
            return network
        devices = [self.device] if self.device.type == "cuda" else None
        return cast("NetworkT", DistributedDataParallel(network, device_ids=devices))


@contextmanager
def joined_run() -> Iterator[Place]:
    """Join the run that torchrun has started this process for, or be one of its own."""
    rank, world = (
        int(os.environ.get(name, default)) for name, default in (("RANK", "0"), ("WORLD_SIZE", "1"))
    )
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    if world == 1:
        yield Place(device)
        return
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield Place(device, rank, world)
    finally:
        distributed.destroy_process_group()


def on_device(batch: Any, device: torch.device) -> Any:
    """Return a batch, a dataclass, with its tensors on a device."""
    if not is_dataclass(batch) or isinstance(batch, type) or device.type == "cpu":
        return batch
    tensors = {
        f.name: getattr(batch, f.name) for f in fields(batch) if isinstance(getattr(batch, f.name), Tensor)
    }
    return replace(batch, **{name: tensor.to(device, non_blocking=True) for name, tensor in tensors.items()})
