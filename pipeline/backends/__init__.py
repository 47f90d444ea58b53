"""Network backends: the same two networks, run by different engines behind one Protocol."""

from pipeline.backends.choice import start_backend
from pipeline.backends.protocol import IN_FLIGHT, Backend, BatchShape, NetworkOutput
from pipeline.backends.registry import BACKENDS, make_backend

__all__ = ["BACKENDS", "IN_FLIGHT", "Backend", "BatchShape", "NetworkOutput", "make_backend", "start_backend"]
