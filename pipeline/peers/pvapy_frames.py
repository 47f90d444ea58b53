"""Run by PvaPy's environment: frames of its simulated area detector, received by a monitor of its own.

pvAccess does not hold a server back: what a client has not taken in time is dropped. So frames are offered as
fast as the server makes them, and then more and more slowly until a trial has lost none.
"""

import json
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

side, n_frames, wanted = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]

_FRAME_BYTES = 2 * side * side
_MOST_BYTES = 1 << 28  # in the server's frames, and in each of the two queues
_POOL_FRAMES = max(2, min(32, _MOST_BYTES // _FRAME_BYTES))
_QUEUE_FRAMES = max(4, min(64, _MOST_BYTES // _FRAME_BYTES))  # PvaPy's own default is 4
_START_S = 2.0  # from when the server answers to its first frame: the client connects meanwhile
_TRIAL_S = 5.0  # a trial ends with its frames, or then
_CONNECT_S = 20.0
_SEARCH_S = 110.0  # no further trial then
_FIRST, _NEXT = 1.25, 0.8  # of the rate received when flooded, of the rate before


def keep_to_this_machine() -> None:
    """Let server and client meet at a port of their own, on the loopback interface."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    os.environ |= {
        "EPICS_PVA_ADDR_LIST": "127.0.0.1", "EPICS_PVA_AUTO_ADDR_LIST": "NO",
        "EPICS_PVA_BROADCAST_PORT": port, "EPICS_PVAS_BROADCAST_PORT": port,
        "EPICS_PVAS_INTF_ADDR_LIST": "127.0.0.1", "EPICS_PVAS_BEACON_ADDR_LIST": "127.0.0.1",
        "EPICS_PVAS_AUTO_BEACON_ADDR_LIST": "NO",
        "EPICS_PVAS_SERVER_PORT": "0",  # whichever is free: the answer to a search names it
    }  # fmt: skip


@contextmanager
def detector(channel: str, rate_hz: float) -> Iterator[None]:
    """Run PvaPy's simulated detector; it ends by itself if this process is killed."""
    options = {
        "-cn": channel, "-nx": side, "-ny": side, "-dt": "uint16", "-nf": _POOL_FRAMES, "-cs": _POOL_FRAMES,
        "-fps": rate_hz, "-std": _START_S, "-shd": 0, "-rt": _CONNECT_S + _TRIAL_S, "-rp": 0,
    }  # fmt: skip
    command = [sys.executable, "-u", "-m", "pvapy.cli.adSimServer", "-dc"]
    command += [str(word) for option in options.items() for word in option]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as server:
        try:
            line = ""
            for line in server.stdout or ():
                if line.startswith("Frame producer is done"):
                    break
            else:
                raise SystemExit(f"pvapy-ad-sim-server ended before its first frame: {line.strip()}")
            yield
        finally:
            server.kill()


def trial(rate_hz: float) -> dict[str, Any]:
    """Receive frames at an offered rate (0: as fast as the server makes them), and count the lost ones."""
    import pvaccess  # it takes the environment as it is now

    ids: list[int] = []
    times: list[float] = []
    corners: list[int] = []
    sizes: set[int] = set()
    enough = threading.Event()

    def take(image: Any) -> None:
        pixels = image["value"][0].get("ushortValue")
        if pixels is None or enough.is_set():  # the channel's first value is no frame
            return
        sizes.add(len(pixels))
        corners.append(int(pixels[0]))
        ids.append(image["uniqueId"])
        times.append(time.perf_counter())
        if len(ids) == n_frames or times[-1] - times[0] > _TRIAL_S:
            enough.set()

    name = f"atomstream:bench:{secrets.token_hex(8)}"
    with detector(name, rate_hz):
        channel = pvaccess.Channel(name)
        channel.subscribe("bench", take)
        channel.startMonitor(f"record[queueSize={_QUEUE_FRAMES}]field(uniqueId,value)")
        enough.wait(_CONNECT_S + _TRIAL_S)
        enough.set()
        channel.stopMonitor()
    if len(ids) < 8:
        raise SystemExit(f"{len(ids)} frames came from pvapy-ad-sim-server: too few to measure")
    if sizes != {side * side}:
        raise SystemExit(f"frames of {sizes} pixels came; expected {side * side}")
    check(ids, corners)
    first = len(ids) // 4  # connections are made and queues are full from then on
    return {
        "offered_per_s": rate_hz, "frames": len(ids) - 1 - first, "seconds": times[-1] - times[first],
        "lost": ids[-1] - ids[0] + 1 - len(ids),
    }  # fmt: skip


def check(ids: list[int], corners: list[int]) -> None:
    """Make sure that each number came with the pixels that the server repeats under it."""
    found: dict[int, int] = {}
    for frame_id, corner in zip(ids, corners, strict=True):
        if found.setdefault(frame_id % _POOL_FRAMES, corner) != corner:
            raise SystemExit(f"frame {frame_id} came with the pixels of another")


def without_loss() -> dict[str, Any]:
    """Offer frames ever more slowly until none is lost."""
    start = time.perf_counter()
    answer = trial(0.0)
    rate_hz = _FIRST * answer["frames"] / answer["seconds"]
    while answer["lost"]:
        if time.perf_counter() - start > _SEARCH_S:
            raise SystemExit(
                f"frames were lost even when {answer['offered_per_s']:.0f} a second were offered"
            )
        answer = trial(rate_hz)
        rate_hz *= _NEXT
    return answer


def main() -> None:
    """Measure one of the two rates and print it."""
    keep_to_this_machine()
    print("listening", flush=True)
    print(json.dumps({"flooded": lambda: trial(0.0), "kept": without_loss}[wanted]()), flush=True)


if __name__ == "__main__":
    main()
