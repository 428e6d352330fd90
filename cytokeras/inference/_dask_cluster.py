"""Dask clusters by name, and the sections of a brain sent to them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

from cytokeras.errors import UserError

_ANSWER_TIMEOUT_S = 30
Answer = tuple[str, str | None]


@contextlib.contextmanager
def dask_client(scheduler: Any, workers: int | None) -> Iterator[Any]:
    """Yield a `distributed.Client`.

    Args:
        scheduler: ``"local"`` (processes on this machine), ``"slurm"`` (jobs as the configuration of dask-jobqueue
            describes them), the address of a running scheduler, or a client, which is left open.
        workers: Processes or jobs to start; default: one a core, or one job.

    Raises:
        UserError: Dask is not installed, or nothing answers at the address.
    """
    distributed = _imported("distributed")
    if isinstance(scheduler, distributed.Client):
        yield scheduler
        return
    if scheduler == "local":
        with (
            _local_cluster(distributed, workers or os.cpu_count() or 1) as cluster,
            distributed.Client(cluster) as client,
        ):
            yield client
    elif scheduler == "slurm":
        with _imported("dask_jobqueue").SLURMCluster() as cluster, distributed.Client(cluster) as client:
            cluster.scale(jobs=workers or 1)
            yield client
    elif isinstance(scheduler, str):
        try:
            client = distributed.Client(scheduler, timeout=_ANSWER_TIMEOUT_S)
        except (OSError, ValueError) as error:
            raise UserError(
                f"scheduler: no Dask scheduler answers at {scheduler!r} ({error}); expected 'local', 'slurm' or an "
                "address such as tcp://host:8786."
            ) from error
        with client:
            yield client
    else:
        raise UserError(f"scheduler: expected 'local', 'slurm', an address or a Client. Received: {scheduler!r}")


def run_jobs(client: Any, function: Any, jobs: Mapping[str, Any], retries: int) -> Iterator[Answer]:
    """Run ``function(job)`` for every job; give (id, None or what went wrong) as they end."""
    from distributed import as_completed

    futures = {
        client.submit(function, job, key=f"cytokeras-{id}-{os.getpid()}", pure=False, retries=retries): id
        for id, job in jobs.items()
    }
    try:
        for future in as_completed(futures):
            error = future.exception()
            yield futures[future], str(future.result()) if error is None and future.result() else _line(error)
    finally:
        client.cancel(list(futures))


def _line(error: BaseException | None) -> str | None:
    return None if error is None else f"{type(error).__name__}: {error}"


def _local_cluster(distributed: Any, workers: int) -> Any:
    import dask

    # Several networks that each take every core would only wait for one another.
    threads = str(max(1, (os.cpu_count() or 1) // workers))
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")
    environment = {**dict.fromkeys(names, threads), "TF_NUM_INTEROP_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "2"}
    with dask.config.set({"distributed.nanny.pre-spawn-environ": environment}):
        return distributed.LocalCluster(
            n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None, memory_limit=0
        )


def _imported(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(f'scheduler: needs {name}: pip install "cytokeras[dask]"') from error
