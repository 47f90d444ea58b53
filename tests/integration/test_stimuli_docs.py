"""The example in docs/stimuli.md works as it stands there, against a run of real processes."""

import subprocess
import sys
from pathlib import Path

import h5py
import msgspec

from streamer.config import ChannelConfig
from tests.pipeline.test_supervisor import frames, meanwhile, plan_of, recorded
from tests.waiting import wait_until

DOCS = Path(__file__).parents[2] / "docs" / "stimuli.md"


def example(address: str) -> str:
    """Take the client out of the page, as fast as it goes and for a short ramp."""
    code = DOCS.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    assert len(code.splitlines()) <= 10
    for old, new in (("tcp://127.0.0.1:5700", address), ("900, 5", "400, 5"), ("1.0", "0.02")):
        assert old in code
        code = code.replace(old, new)
    return code


def test_the_documented_client_fills_a_channel(tmp_path: Path) -> None:
    from pipeline.supervisor import supervise

    out, said = tmp_path / "run.nxs", list[str]()

    def device() -> None:
        wait_until(lambda: recorded(out) > 5)
        address = next(line.split()[-1] for line in said if line.startswith("stimuli: "))
        subprocess.run([sys.executable, "-c", example(address)], check=True, timeout=60)

    plan = plan_of(out, frames(500), say=said.append)
    config = msgspec.structs.replace(plan.config, channel=(ChannelConfig(name="temperature", unit="K"),))
    from dataclasses import replace

    with meanwhile(device):
        outcome = supervise(replace(plan, config=config))
    assert outcome.ingest["bad_samples"] == {}
    with h5py.File(out) as file:
        values = file["entry/channels/temperature/value"][:].tolist()
        assert values == [float(kelvin) for kelvin in range(300, 400, 5)]
        times, ledger = file["entry/channels/temperature/time"][:], file["entry/ledger/t_received"][:]
    assert ledger[0] < times[0] < times[-1]
