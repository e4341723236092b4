"""Adapter: programs run on every node of a Ray cluster that has a sandbox like the others'.

An actor per node holds an ordinary `Executor` with its warm slots. Verdicts depend on the image and the limits, so a
node takes part only if its images are the very same and it is no slower than the limits allow for.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from typing import Any

from codecard.ahead import Ahead
from codecard.cluster import Cluster, Feeder, Node, Pool
from codecard.cluster.feeder import Items
from codecard.languages import language_names
from codecard.model import Execution, InfrastructureError, Stage
from codecard.sandbox.executor import Executor
from codecard.sandbox.host import stored_host_factor
from codecard.sandbox.port import Image, Sandbox, Slot
from codecard.sandbox.stages import Job


class ExecutionActor:
    """Runs on a node, `programs` at a time, under limits made for a machine `host_factor` times slower than ours."""

    def __init__(
        self, sandbox: str | None, languages: tuple[str, ...], plain: bool, host_factor: float, programs: int
    ) -> None:
        self._name, self._languages, self._plain, self._programs = sandbox, languages, plain, programs
        self._host_factor = host_factor

    def open(self) -> dict[str, Any]:
        """Open the sandbox and examine it; its images, for comparison with the others'."""
        from codecard.sandbox import open_sandbox
        from codecard.sandbox.doctor import LIMITS, examine

        if (factor := stored_host_factor()) > self._host_factor:
            raise InfrastructureError(
                f"too slow for the limits of this run: host factor {factor:g} against {self._host_factor:g} where "
                "codecard was started"
            )
        self._sandbox: Sandbox = open_sandbox(self._name)
        images: dict[str, Image | str] = {}
        for language in self._languages:
            try:
                images[language] = self._sandbox.image(language)
            except InfrastructureError as error:
                images[language] = str(error)
        self._executor = Executor(self._sandbox, self._programs, plain=self._plain)
        examine(self._executor, {name: LIMITS for name, image in images.items() if isinstance(image, Image)})
        self._feeder = Feeder(self._execute, patient=True)
        return {"codecard": version("codecard"), "sandbox": self._sandbox.name, "images": images}

    def _execute(self, items: Iterator[tuple[int, Job]]) -> Iterator[tuple[int, Execution]]:
        jobs = (Job(tag=ticket, program=job.program, limits=job.limits) for ticket, job in items)
        for job, execution in self._executor.execute(jobs):
            assert isinstance(job.tag, int)
            yield job.tag, execution

    def step(self, items: Items, wait_s: float) -> Items:
        return self._feeder.step(items, wait_s)

    def close(self) -> None:
        self._feeder.close()
        self._executor.__exit__()
        self._sandbox.close()


class RaySandbox:
    """The cluster's sandboxes as one: what its images are. Slots are opened by the actors alone."""

    def __init__(
        self, cluster: Cluster, sandbox: str | None, languages: Iterable[str] | None, *, plain: bool = False
    ) -> None:
        chosen = tuple(language for language in language_names() if languages is None or language in languages)
        self.pool = Pool(cluster, "execute", _Crew(cluster, (sandbox, chosen, plain, stored_host_factor())))
        self.pool.start()
        self.name = str(self.pool.facts["sandbox"])

    def image(self, language: str) -> Image:
        image = self.pool.facts["images"].get(language, f"no sandbox for {language} was asked for")
        if not isinstance(image, Image):
            raise InfrastructureError(f"{self.pool.facts['node']}: {image}")
        return image

    def open_slot(self, language: str, stage: Stage) -> Slot:
        raise InfrastructureError(f"a slot for {language} is opened on a node, not here")

    def close(self) -> None:
        self.pool.close()


class RayExecutor:
    """What `Executor` is to one machine, for the nodes of `sandbox`. How busy they are is not known here."""

    busy_s: float | None = None
    workers: int | None = None

    def __init__(self, sandbox: RaySandbox) -> None:
        self._pool = sandbox.pool

    def execute(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, Execution]]:
        source = _Stream(jobs)
        try:
            yield from self._pool.run(source)
        finally:
            source.close()

    def __exit__(self, *_: object) -> None:
        self._pool.close()


class _Crew:
    def __init__(self, cluster: Cluster, given: tuple[str | None, tuple[str, ...], bool, float]) -> None:
        self._cluster, self._given = cluster, given

    def per_node(self, node: Node) -> int:
        return 1

    def start(self, node: Node) -> Any:
        return self._cluster.start(ExecutionActor, node, *self._given, self.programs(node))

    def programs(self, node: Node) -> int:
        return self._cluster.workers.programs or max(1, node.cpus)

    def agree(self, first: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
        for name in ("codecard", "sandbox"):
            if first[name] != facts[name]:
                return f"{name} {facts[name]} against {first[name]}"
        for language, image in first["images"].items():
            other = facts["images"][language]
            if image != other and (isinstance(image, Image) or isinstance(other, Image)):
                return f"the image of {language} is {_shown(other)} against {_shown(image)}"
        return ""

    def ahead(self, node: Node) -> int:
        return 2 * self.programs(node)


def _shown(image: Image | str) -> str:
    return image.digest[:19] if isinstance(image, Image) else f"missing ({image})"


class _Stream(Ahead[Job]):
    """Jobs that come as they are made."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        super().__init__(lambda: jobs, 4 * (os.cpu_count() or 1))

    def waiting(self) -> None:
        return None

    def take(self, count: int) -> list[Job]:
        return self.at_hand(count)
