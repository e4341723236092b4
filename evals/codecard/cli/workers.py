"""`--workers`: this machine, or a Ray cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Annotated

import typer
from rich.console import Console

from codecard.cluster import Cluster, Workers
from codecard.cluster.nodes import FORMS
from codecard.sandbox import Sandbox, open_sandbox
from codecard.sandbox.ray_ import RayExecutor, RaySandbox

WorkersOption = Annotated[str | None, typer.Option("--workers", help=f"{FORMS}; default: one per core")]


@contextlib.contextmanager
def open_cluster(workers: Workers, console: Console) -> Iterator[Cluster | None]:
    """The connection to the cluster that `--workers` names; None for this machine."""
    if workers.address is None:
        yield None
        return
    cluster = Cluster(workers, lambda text: console.print(text, style="yellow", highlight=False, markup=False))
    try:
        yield cluster
    finally:
        cluster.close()


def open_box(
    cluster: Cluster | None, sandbox: str | None, languages: frozenset[str] | None, plain: bool, console: Console
) -> tuple[Sandbox, RayExecutor | None]:
    """Where programs run, and who runs them there; None: an executor of this process."""
    if cluster is None:
        return open_sandbox(sandbox, lambda text: console.print(text, style="yellow", highlight=False)), None
    box = RaySandbox(cluster, sandbox, languages, plain=plain)
    return box, RayExecutor(box)
