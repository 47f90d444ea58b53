"""Where work is done: in this process, by processes of this machine, or by a Dask cluster."""

import logging
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Protocol

from streamer.errors import AtomstreamError, RunError, UsageError

__all__ = ["Pool", "open_pool", "open_processes"]

_AHEAD = 4  # calls under way for each worker: one in work, others on their way there and back


class Pool(Protocol):
    """Takes calls of module-level functions.

    Attributes
    ----------
    n_workers : int
    n_ahead : int
        Calls that should be under way at a time, so that no worker waits and few results do.
    """

    n_workers: int
    n_ahead: int

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        """Have a call done, and return a place for its result; `open_pool`'s take places as arguments."""

    def first_done(self, places: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        """Wait until at least one call has ended, well or badly; return the ended ones and the others."""

    def result(self, place: Any) -> Any:
        """Wait for a result; raises what the call has raised, or RunError if it cannot be had."""


@contextmanager
def open_pool(scheduler: str, workers: int, timeout_s: float) -> Iterator[Pool]:
    """Open what does the work.

    Parameters
    ----------
    scheduler : str
        ``tcp://HOST:PORT`` of a Dask scheduler; empty: this machine does it.
    workers : int
        Its processes, one thread each; 0: this process alone, without Dask.
    timeout_s : float
        How long to wait for the scheduler.

    Raises
    ------
    RunError
        If distributed is not installed, or no scheduler, or none with workers, answers.
    """
    if not scheduler and not workers:
        yield _ThisProcess()
        return
    try:
        distributed: Any = import_module("distributed")
    except ModuleNotFoundError as error:
        raise RunError(
            f"this needs {error.name}, which is not installed: pip install 'atomstream[cluster]'"
        ) from error
    _be_quiet()
    if scheduler:
        with _connected(distributed, scheduler, timeout_s) as client:
            yield _Dask(distributed, client)
        return
    settings = {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**settings) as cluster, distributed.Client(cluster) as client:
        client.run(_be_quiet)
        yield _Dask(distributed, client)


def _be_quiet() -> None:
    """Switch off Dask's log in this process: what matters is raised where the work was asked for."""
    for name in ("distributed", "distributed.worker", "distributed.scheduler", "distributed.nanny"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


@contextmanager
def open_processes(workers: int) -> Iterator[Pool]:
    """Open processes of this machine, without Dask; up to one: this process alone."""
    if workers <= 1:
        yield _ThisProcess()
        return
    spawn = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(workers, mp_context=spawn, initializer=_end_with_parent)
    try:
        yield _Processes(executor, workers)
    finally:
        executor.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """End this process when its parent is gone, however that ended: it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow_to_the_end, args=(parent.join,), daemon=True).start()


def _follow_to_the_end(join: Callable[[], None]) -> None:
    join()
    os._exit(1)  # the main thread may be in the middle of a call, whose result nobody takes


class _ThisProcess:
    """Does each call at once."""

    n_workers = n_ahead = 1

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        return function(*args)

    def first_done(self, places: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        return list(places), []

    def result(self, place: Any) -> Any:
        return place


class _Processes:
    """Hands calls to processes."""

    def __init__(self, executor: ProcessPoolExecutor, workers: int) -> None:
        self._executor = executor
        self.n_workers, self.n_ahead = workers, _AHEAD * workers

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        with self._alive():
            return self._executor.submit(function, *args)

    def first_done(self, places: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        ended = wait(places, return_when=FIRST_COMPLETED).done
        return _parted(places, ended)

    def result(self, place: Any) -> Any:
        with self._alive():
            return place.result()

    @contextmanager
    def _alive(self) -> Iterator[None]:
        try:
            yield
        except BrokenProcessPool as error:
            raise RunError("one of the processes has died: is there memory for so many?") from error


class _Dask:
    """Hands calls to a Dask scheduler."""

    def __init__(self, distributed: Any, client: Any) -> None:
        self._client, self._wait = client, distributed.wait
        self._lost = (
            distributed.KilledWorker,
            distributed.client.FutureCancelledError,
            distributed.client.FuturesCancelledError,
            OSError,
            TimeoutError,
        )
        self.n_workers = len(client.scheduler_info(n_workers=-1)["workers"])
        self.n_ahead = _AHEAD * self.n_workers

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        return self._client.submit(function, *args, pure=False)

    def first_done(self, places: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        with self._there():
            return _parted(places, self._wait(places, return_when="FIRST_COMPLETED").done)

    def result(self, place: Any) -> Any:
        with self._there():
            return place.result()

    @contextmanager
    def _there(self) -> Iterator[None]:
        try:
            yield
        except AtomstreamError:
            raise
        except ModuleNotFoundError as error:
            raise RunError(
                f"a worker lacks {error.name}: install this version of atomstream wherever workers run"
            ) from error
        except self._lost as error:
            raise RunError(f"the cluster has lost the work, and tried it again in vain: {error}") from error


def _parted(places: Sequence[Any], ended: set[Any]) -> tuple[list[Any], list[Any]]:
    return [p for p in places if p in ended], [p for p in places if p not in ended]


@contextmanager
def _connected(distributed: Any, scheduler: str, timeout_s: float) -> Iterator[Any]:
    try:
        client = distributed.Client(scheduler, timeout=timeout_s)
    except ValueError as error:
        raise UsageError(f"{scheduler!r} is no scheduler: expected tcp://HOST:PORT ({error})") from error
    except (OSError, TimeoutError) as error:
        raise RunError(
            f"no Dask scheduler answers at {scheduler} within {timeout_s:g} s: is 'dask scheduler' running"
            " there, and the port right?"
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=timeout_s)
        except TimeoutError as error:
            raise RunError(
                f"the scheduler at {scheduler} has no workers: start 'dask worker {scheduler}' where they are"
            ) from error
        yield client
