"""Run by LiberTEM-live's environment: the sum over all frames of a DECTRIS V1 stream, by its own executor."""

import json
import sys
import time

from libertem.udf.sum import SumUDF
from libertem_live.api import LiveContext
from libertem_live.detectors.dectris.connection import DectrisDetectorConnection

uri, side, n_frames = sys.argv[1].rpartition("//")[2], int(sys.argv[2]), int(sys.argv[3])
host, _, port = uri.partition(":")


class DetectorWithoutRest:
    """Answers for the detector's REST interface, which a stream alone does not have."""

    def setStreamConfig(self, name: str, value: object) -> None:
        """Take a setting."""

    def detectorConfig(self, name: str) -> dict[str, object]:
        """Return what the stream is."""
        known = {"x_pixels_in_detector": side, "y_pixels_in_detector": side, "bit_depth_image": 16,
                 "trigger_mode": "exte", "nimages": 1, "ntrigger": n_frames}  # fmt: skip
        return {"value": known[name]}


def main() -> None:
    """Sum, and print how long it took from the stream's beginning."""
    with (
        LiveContext() as context,
        DectrisDetectorConnection(
            host, 0, host, int(port), buffer_size=512, bytes_per_frame=side * side
        ) as connection,
    ):
        connection.get_api_client = DetectorWithoutRest
        print("listening", flush=True)
        pending = connection.wait_for_acquisition(timeout=60.0)
        start = time.perf_counter()
        acquisition = context.make_acquisition(conn=connection, pending_aq=pending, nav_shape=(n_frames,))
        result = context.run_udf(dataset=acquisition, udf=SumUDF())
        seconds = time.perf_counter() - start
        total = float(result["intensity"].data.sum())
    print(json.dumps({"frames": n_frames, "seconds": seconds, "total": total}), flush=True)


if __name__ == "__main__":
    main()
