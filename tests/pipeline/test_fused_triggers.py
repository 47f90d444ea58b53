"""A rule on a fused count, from the frames' arrival to the note in the file, in a run of real processes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import msgspec
import numpy as np

from pipeline.plan import Companion
from pipeline.supervisor import supervise
from streamer.config import AnalysisConfig, TriggerConfig
from tests.pipeline.run_parts import send_images
from tests.pipeline.test_supervisor import plan_of
from tests.pipeline.tiny_networks import MATERIAL, frame_with_columns, write_networks

N, GROWN = 120, 60
AT = (20.0, 20.0)


def test_a_column_that_grows_sets_off_its_rule_once_and_one_that_stays_none(tmp_path: Path) -> None:
    small, large = (frame_with_columns((64, 64), [(*AT, n), (20, 44, 4), (44, 32, 5)]) for n in (3, 7))
    np.save(tmp_path / "images.npy", np.array([small if i < GROWN else large for i in range(N)]))
    own: dict[str, Any] = {"material": MATERIAL, "models": str(write_networks(tmp_path / "models"))}
    analysis = AnalysisConfig(backend="openvino", precision="f32", threads=1, **own)
    rules = (
        TriggerConfig(name="grows", when="column_count", at=AT, change=1.0, fused=True),
        TriggerConfig(name="stays", when="column_count", at=(20.0, 44.0), change=1.0, fused=True),
        TriggerConfig(name="half", when="region_atoms", region=(0, 0, 63, 30), above=4.0, fused=True),
    )
    plan = plan_of(
        tmp_path / "run.nxs", Companion(send_images, (str(tmp_path / "images.npy"),)), analysis=analysis
    )
    outcome = supervise(replace(plan, config=msgspec.structs.replace(plan.config, trigger=rules)))
    assert outcome.ingest["analysed"] == N
    with h5py.File(tmp_path / "run.nxs") as file:
        notes = file["entry/process/notes"]
        changes = file["entry/changes"]
        (at,) = np.flatnonzero(changes["before"][:] >= 0)
        decided, before, after = (int(changes[name][at]) for name in ("frame_id", "before", "after"))
        said = dict(zip(notes["text"][:].astype(str), notes["frame_id"][:].tolist(), strict=True))
    assert before >= 2, "it was counted"
    assert after >= before + 3
    assert GROWN <= decided < GROWN + 10
    assert said == {
        f"grows: fused column_count went from {before} to {after}": decided,
        f"half: fused region_atoms {after} is above 4": decided,
    }
