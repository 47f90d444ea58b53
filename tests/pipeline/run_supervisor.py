"""A run without end in a process of its own, whose supervisor a test kills; argument: the result file."""

import sys
from pathlib import Path

from pipeline.supervisor import supervise
from tests.pipeline.test_supervisor import ENDLESS, frames, plan_of

if __name__ == "__main__":
    supervise(plan_of(Path(sys.argv[1]), frames(ENDLESS)))
