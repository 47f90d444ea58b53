"""Run by LiberTEM's environment: send its mock series (512 x 512 px, each pixel the frame's number)."""

import sys
import time

import libertem_dectris

uri, n_frames = sys.argv[1], int(sys.argv[2])
simulator = libertem_dectris.DectrisSim.new_mocked(uri, n_frames, random_port=False)
print("bound", flush=True)
simulator.send_headers()
simulator.send_frames()
simulator.send_footer()
time.sleep(2)  # its last messages are still in its queue
