"""A short run of `benchmarks.fuzz_files`."""

import pytest

from benchmarks.file_samples import SAMPLES, why_not
from benchmarks.fuzz_files import run

N_SESSIONS = 20


@pytest.mark.parametrize("target", SAMPLES)
def test_damaged_files_are_named_and_nothing_worse(target: str) -> None:
    if why := why_not(target):
        pytest.skip(why)
    outcomes, findings = run(target, iter(range(N_SESSIONS)))
    assert findings == []
    assert outcomes["sessions"] == N_SESSIONS
    assert outcomes["frame: sound"] > 0, "what is there is read"
    assert outcomes["UsageError"] > 0, "damage was met"
