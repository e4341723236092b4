"""Adapter: a model asked on the nodes of a Ray cluster, one actor per GPU.

Each actor opens the same spec, and all must agree in what decides a completion, the device included: a completion
depends on the recipe, the problem and the sample alone (`GenerationRequest`), so which of them made it leaves no trace.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from importlib.metadata import version
from typing import Any

from codecard.cluster import Cluster, Feeder, Node, Pool
from codecard.cluster.feeder import Items
from codecard.generate.backends import Opening, open_generator
from codecard.generate.port import GenerationRequest, Generator
from codecard.model import Completion, SampleId

_BATCHES_AHEAD = 16
"""Batches that an actor holds at most: more than its engine reads ahead, so that no place in it is ever empty for want
of a request. What it has not begun costs nothing when it dies."""
_GPU_BATCH, _CPU_BATCH = 128, 16


class GenerationActor:
    """Runs on a node."""

    def __init__(self, spec: str, opening: Opening) -> None:
        self._spec, self._opening = spec, opening

    def open(self) -> dict[str, Any]:
        """Load the model; what it is, for comparison with the others."""
        self._generator: Generator = open_generator(self._spec, self._opening)
        self._feeder = Feeder(self._answer, patient=False)
        return {"codecard": version("codecard"), **self._generator.fingerprint()}

    def _answer(self, items: Iterator[tuple[int, GenerationRequest]]) -> Iterator[tuple[int, Completion]]:
        tickets: dict[SampleId, int] = {}

        def requests() -> Iterator[GenerationRequest]:
            for ticket, request in items:
                tickets[request.id] = ticket
                yield request

        for completion in self._generator.generate(requests()):
            yield tickets[completion.id], completion

    def step(self, items: Items, wait_s: float) -> Items:
        return self._feeder.step(items, wait_s)

    def close(self) -> None:
        self._feeder.close()


class RayGenerator(Generator):
    """Asks the model of `spec` on every node of the cluster that can."""

    def __init__(self, cluster: Cluster, spec: str, opening: Opening) -> None:
        opening = replace(opening, cluster=None, base_url=None)  # what a node is told
        self._pool = Pool(cluster, "generate", _Crew(cluster, spec, opening))
        self._pool.start()

    def fingerprint(self) -> dict[str, Any]:
        """That of every actor: the manifest says the same as for a run in one process."""
        return {name: value for name, value in self._pool.facts.items() if name not in ("codecard", "node")}

    def generate(self, requests: Iterable[GenerationRequest]) -> Iterator[Completion]:
        for _, completion in self._pool.run(_Problems(requests)):
            if completion is not None:
                yield completion

    def close(self) -> None:
        self._pool.close()


class _Crew:
    def __init__(self, cluster: Cluster, spec: str, opening: Opening) -> None:
        self._cluster, self._spec, self._opening = cluster, spec, opening

    def per_node(self, node: Node) -> int:
        return self._cluster.generating(node)

    def start(self, node: Node) -> Any:
        gpus = 1 if self._cluster.gpus else 0
        cpus = 1 if gpus else max(1, node.cpus // self.per_node(node))
        return self._cluster.start(GenerationActor, node, self._spec, self._opening, cpus=cpus, gpus=gpus)

    def agree(self, first: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
        odd = next((name for name in facts if facts[name] != first.get(name)), None)
        return "" if odd is None else f"{odd} {facts[odd]} against {first.get(odd)}"

    def ahead(self, node: Node) -> int:
        batch = self._opening.batch_size or (_GPU_BATCH if self._cluster.gpus else _CPU_BATCH)
        return _BATCHES_AHEAD * int(batch)


class _Problems:
    """Requests, those of a problem together: its prompt is then read once for all its samples."""

    def __init__(self, requests: Iterable[GenerationRequest]) -> None:
        groups = itertools.groupby(requests, key=lambda request: (request.task, request.problem))
        self._groups = deque(list(group) for _, group in groups)

    @property
    def ended(self) -> bool:
        return not self._groups

    def waiting(self) -> int:
        return sum(map(len, self._groups))

    def take(self, count: int) -> list[GenerationRequest]:
        taken: list[GenerationRequest] = []
        while self._groups and len(taken) < count:
            taken += self._groups.popleft()
        return taken
