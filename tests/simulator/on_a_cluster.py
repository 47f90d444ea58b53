"""Fill a data set on a small Dask cluster, ask for ones that are not there: prints what came of it."""

import io
import json
import sys
from contextlib import redirect_stderr
from dataclasses import replace
from pathlib import Path
from typing import Any

import distributed

from pipeline.cli import main
from pipeline.cluster import Pool, open_pool
from simulator.dataset import generate
from simulator.wave_file import computed
from streamer.errors import RunError
from tests.simulator.test_wave_file import TINY, fails_at_two


def filled(path: Path, pool: Pool) -> list[int]:
    """Fill a file; return the rows that were asked for."""
    asked: list[int] = []

    class Noting:
        n_workers, n_ahead, first_done, result = pool.n_workers, 1, pool.first_done, pool.result

        def submit(self, function: Any, *args: Any) -> Any:
            asked.append(args[0])
            return pool.submit(function, *args)

    generate(replace(TINY, out=str(path)), Noting())
    return asked


def raised(pool: Pool) -> str:
    """Return what a failing call raises here."""
    try:
        list(computed(range(8), fails_at_two, TINY, pool))
    except RunError as error:
        return str(error)
    return ""


def refused(out: Path, *options: str) -> tuple[int, str]:
    """Run the command; return its status and what it says."""
    with redirect_stderr(io.StringIO()) as said:
        status = main(["simulate", "--dataset", str(out), *options])
    return status, said.getvalue()


def all_of_it(path: Path) -> dict[str, Any]:
    """Do everything that is tested here."""
    settings = {"n_workers": 1, "threads_per_worker": 2, "processes": False, "dashboard_address": ":0"}
    with (
        distributed.LocalCluster(protocol="tcp://", **settings) as cluster,
        open_pool(cluster.scheduler_address, 0, 10.0) as pool,
    ):
        answer = {"submitted": filled(path, pool), "raised": raised(pool)}
    none = path.with_name("none.h5")
    nobody = refused(none, "--scheduler", "tcp://127.0.0.1:9", "--timeout-s", "0.3")
    return {**answer, "refused": [nobody, refused(none, "--scheduler", "nonsense")]}


if __name__ == "__main__":
    print(json.dumps(all_of_it(Path(sys.argv[1]))))
