"""The forms of `--workers`, and the connection to a cluster."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from codecard.model import CodecardError, InfrastructureError, UsageError
from codecard.text import first_line

FORMS = "programs at a time, or ray, ray:auto, ray:HOST:PORT, ray://HOST:PORT, each with [,actors=N][,programs=N]"
_OBJECT_STORE = 100 * 1024**2  # bytes, of a local cluster: all that travels is text, a few rows at a time
_ATTEMPTS = 3  # of a client at a head that is too busy to take it


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """Who does the work. `address` is Ray's own word for the cluster; None: this process. `programs` run at a time, on
    this machine or on each node; None: one per core. `actors` generate on a node of a cluster without GPUs; in a
    cluster with GPUs each GPU has one."""

    address: str | None = None
    programs: int | None = None
    actors: int = 1


def parse_workers(given: str | None) -> Workers:
    """Raises UsageError for anything but `FORMS`."""
    if given is None:
        return Workers()
    wrong = UsageError(f"--workers {given}: expected a number of {FORMS}")
    if given.isdigit() and int(given) > 0:
        return Workers(programs=int(given))
    head, *options = given.split(",")
    found = re.fullmatch(r"ray(?:(://)|:)?(auto|(?:\[[0-9a-fA-F:]+\]|[\w.-]+):\d+)?", head)
    if found is None or (head != "ray" and found[2] is None) or (found[1] and found[2] == "auto"):
        raise wrong
    numbers: dict[str, int] = {}
    for option in options:
        name, _, value = option.partition("=")
        if name not in ("actors", "programs") or not value.isdigit() or int(value) < 1 or name in numbers:
            raise wrong
        numbers[name] = int(value)
    address = f"ray://{found[2]}" if found[1] else found[2] or "local"
    return Workers(address=address, programs=numbers.get("programs"), actors=numbers.get("actors", 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A machine of the cluster that is alive. `cpus` and `gpus` are those Ray may give away there."""

    id: str
    name: str
    cpus: int
    gpus: int


class Cluster:
    """A connection to a cluster. Closing it ends every actor that was started through it."""

    def __init__(self, workers: Workers, say: Callable[[str], None] = lambda _: None) -> None:
        assert workers.address is not None
        self.workers, self.say = workers, say
        self.ray = _connect(workers.address)
        # Whether GPUs generate. Decided once: a node that joins later does not change how rows are made.
        self.gpus = any(node.gpus for node in self.nodes())

    def nodes(self) -> list[Node]:
        found = []
        for row in self.ray.nodes():
            if row["Alive"]:
                has = row.get("Resources", {})
                name = f"{row['NodeManagerHostname']} ({row['NodeID'][:6]})"
                cpus, gpus = int(has.get("CPU", 0)), int(has.get("GPU", 0))
                found.append(Node(id=row["NodeID"], name=name, cpus=cpus, gpus=gpus))
        return sorted(found, key=lambda node: node.id)

    def generating(self, node: Node) -> int:
        """Actors that generate on a node."""
        if self.gpus:
            return node.gpus
        return self.workers.actors if node.cpus >= 1 else 0

    def start(self, kind: type, node: Node, *arguments: object, cpus: float = 0, gpus: int = 0) -> Any:
        """An actor of class `kind` on that node and no other; it is not there yet when this returns."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        strategy = NodeAffinitySchedulingStrategy(node_id=node.id, soft=False)
        options = {"num_cpus": cpus, "num_gpus": gpus, "scheduling_strategy": strategy, "max_restarts": 0}
        return self.ray.remote(kind).options(**options).remote(*arguments)

    @contextlib.contextmanager
    def lost_is_told(self) -> Iterator[None]:
        """Whatever Ray raises once its head is gone, in a line. Raises InfrastructureError."""
        try:
            yield
        except Exception as error:
            if isinstance(error, CodecardError) or self.ray.is_initialized():
                raise
            again = "the same command goes on from here, on another one too"
            raise InfrastructureError(f"the cluster is gone ({first_line(error)}); {again}") from None

    def kill(self, handle: Any) -> None:
        with contextlib.suppress(Exception):  # it is dead already
            self.ray.kill(handle, no_restart=True)

    def cause(self, error: Exception) -> Exception | None:
        """What an actor raised; None where the actor itself, or its node, is gone."""
        if isinstance(error, self.ray.exceptions.RayTaskError):
            return error.cause if isinstance(error.cause, Exception) else error
        return None if isinstance(error, self.ray.exceptions.RayError) else error

    def close(self) -> None:
        with contextlib.suppress(Exception):  # the cluster may be gone already
            self.ray.shutdown()


def _connect(address: str) -> Any:
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if address == "local":
        options |= {"include_dashboard": False, "object_store_memory": _OBJECT_STORE}
        _seal()
    try:
        import ray
    except ImportError:
        raise InfrastructureError("--workers ray needs ray: pip install 'codecard[ray]'") from None
    _knock(address)
    for left in reversed(range(_ATTEMPTS)):
        try:
            ray.init(address, **options)
            break
        except Exception as error:  # Ray's many kinds of no cluster: connection, version, time-out
            busy = isinstance(error, ConnectionAbortedError)  # the head gave up starting the server of this client
            if not (busy and left):
                raise _nobody(address, error) from None
    return ray


def _seal() -> None:
    """A cluster of this run alone obeys nobody without the run's own secret, which Ray reads when it is imported. Left
    to itself Ray would write one into the home folder, which changes how every later cluster starts."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if "RAY_AUTH_MODE" not in os.environ:
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


def _knock(address: str) -> None:
    """Ray itself waits for minutes, talking, where nothing listens."""
    if ":" not in address:
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=20).close()
    except OSError as error:
        raise _nobody(address, error) from None


def _nobody(address: str, error: Exception) -> InfrastructureError:
    cause = first_line(error)
    if address == "local":
        return InfrastructureError(f"Ray could not start here: {cause}")
    ways_out = "start one with `ray start --head`, or use --workers ray for this machine alone"
    return InfrastructureError(f"no Ray cluster answers at {address} ({cause}); {ways_out}")
