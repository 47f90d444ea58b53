"""Run by LiberTEM's environment: receive a series and save its frames, (n, height, width), with numpy."""

import sys
import tempfile
from pathlib import Path

import libertem_dectris
import numpy as np

uri, n_frames, height, width, result = sys.argv[1], *map(int, sys.argv[2:5]), sys.argv[5]
with tempfile.TemporaryDirectory() as folder:
    connection = libertem_dectris.DectrisConnection(
        uri, 4, str(Path(folder) / "memory"), num_slots=64, bytes_per_frame=4 * height * width, huge=False
    )
    connection.start_passive()
    print("listening", flush=True)
    config, _ = connection.wait_for_arm(timeout=30.0)
    client = libertem_dectris.CamClient(connection.get_socket_path())
    stacks = []
    while sum(len(stack) for stack in stacks) < n_frames and (stack := connection.get_next_stack(4)):
        pixels = np.zeros((len(stack), height, width), np.dtype(stack.get_dtype_string()))
        client.decode_range_into_buffer(stack, pixels, 0, len(stack))
        client.done(stack)
        stacks.append(pixels)
    client.close()
    connection.close()
np.savez(result, frames=np.concatenate(stacks), planned=config.get_num_frames())
