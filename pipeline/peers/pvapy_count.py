"""Run by PvaPy's environment: counts the frames of its simulated detector, and those it has missed."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pvaccess

side, rate_hz, seconds = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
CHANNEL = "bench:image"
_START_S = 5.0  # of the server: it makes its frames first

for name, value in (
    ("EPICS_PVA_ADDR_LIST", "127.0.0.1"),
    ("EPICS_PVA_AUTO_ADDR_LIST", "NO"),
    ("EPICS_PVAS_INTF_ADDR_LIST", "127.0.0.1"),
):
    os.environ[name] = value


def main() -> None:
    """Start the server, monitor its channel, and print what came."""
    server = Path(sys.executable).with_name("pvapy-ad-sim-server")
    options = ["-cn", CHANNEL, "-nx", str(side), "-ny", str(side), "-dt", "uint16", "-mx", "5", "-nf", "32"]
    options += ["-cs", "32", "-fps", str(rate_hz), "-rt", str(seconds + _START_S), "-rp", "1000000", "-dc"]
    with subprocess.Popen(
        [server, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            print("listening", flush=True)
            print(json.dumps(count()), flush=True)
        finally:
            process.terminate()


def count() -> dict[str, float]:
    """Take frames for some seconds from the first one on."""
    ids: list[int] = []
    times: list[float] = []

    def take(image: "pvaccess.PvObject") -> None:
        ids.append(image["uniqueId"])
        times.append(time.perf_counter())

    channel = pvaccess.Channel(CHANNEL)
    for _ in range(100):
        try:
            channel.get("uniqueId")  # until the server is there
            break
        except pvaccess.PvaException:
            time.sleep(0.1)
    channel.monitor(take, "")
    deadline = time.perf_counter() + 30
    while not times and time.perf_counter() < deadline:
        time.sleep(0.01)
    time.sleep(seconds)
    channel.stopMonitor()
    if len(times) < 2:
        raise SystemExit(
            f"{len(times)} frames came from pvapy-ad-sim-server in {seconds:g} s: nothing to measure"
        )
    took = times[-1] - times[0]
    sent = ids[-1] - ids[0] + 1
    return {"frames": len(ids), "seconds": took, "lost": sent - len(ids), "sent_per_s": (sent - 1) / took}


if __name__ == "__main__":
    main()
