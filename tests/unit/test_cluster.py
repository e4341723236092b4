"""Rows over actors that come and go, without a cluster: who holds what, what is lost, and what ends a run."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codecard.cluster import Feeder, Node, Pool, Source, Workers, parse_workers
from codecard.cluster import pool as pool_module
from codecard.generate import GenerationRequest, Generator, Opening
from codecard.generate.ray_ import GenerationActor, RayGenerator, _Problems
from codecard.model import Completion, InfrastructureError, Sampling, UsageError
from codecard.sandbox.port import Image
from codecard.sandbox.ray_ import ExecutionActor, RayExecutor, RaySandbox, _Stream


class Gone(Exception):
    """What Ray says of an actor that is dead."""


@dataclass(eq=False)
class Call:
    answer: Callable[[], Any]


class Method:
    def __init__(self, method: Callable[..., Any]) -> None:
        self.method = method

    def remote(self, *arguments: Any) -> Call:
        return Call(lambda: self.method(*arguments))


class Actor:
    """Answers one row a step, in capitals. `fails` is raised by the step with this number, counted over all actors."""

    def __init__(self, cluster: Fake, node: Node) -> None:
        self.cluster, self.node = cluster, node
        self.held: list[tuple[int, str]] = []
        self.most = 0
        self.open, self.step, self.close = Method(self._open), Method(self._step), Method(lambda: None)

    def _open(self) -> dict[str, Any]:
        facts = self.cluster.facts.get(self.node.id, {"model": "m"})
        if isinstance(facts, Exception):
            raise facts
        return dict(facts)

    def _step(self, items: list[tuple[int, str]], wait_s: float) -> list[tuple[int, str | None]]:
        self.held += items
        self.most = max(self.most, len(self.held))
        if error := self.cluster.fails(self):
            raise error
        ticket, row = self.held.pop(0)
        return [(ticket, row.upper() if row != "none" else None)]


@dataclass
class Fake:
    """Stands for the cluster and for the module `ray`."""

    alive: list[Node]
    facts: dict[str, Any] = field(default_factory=dict)
    fails: Callable[[Actor], Exception | None] = lambda actor: None
    said: list[str] = field(default_factory=list)
    actors: list[Actor] = field(default_factory=list)
    workers: Workers = field(default_factory=Workers)
    gpus: bool = False

    @property
    def ray(self) -> Fake:
        return self

    def nodes(self) -> list[Node]:
        return self.alive

    def generating(self, node: Node) -> int:
        return 1

    def say(self, text: str) -> None:
        self.said.append(text)

    def wait(self, calls: list[Call], **_: Any) -> tuple[list[Call], list[Call]]:
        return calls, []

    def get(self, call: Call) -> Any:
        return call.answer()

    def lost_is_told(self) -> AbstractContextManager[None]:
        return nullcontext()

    def kill(self, handle: Actor) -> None: ...

    def cause(self, error: Exception) -> Exception | None:
        return None if isinstance(error, Gone) else error

    def start(self, kind: type, node: Node, *arguments: object, **_: object) -> Actor:
        self.actors.append(Actor(self, node))
        return self.actors[-1]


class Crew:
    def __init__(self, cluster: Fake) -> None:
        self.cluster = cluster

    def per_node(self, node: Node) -> int:
        return 1

    def start(self, node: Node) -> Any:
        return self.cluster.start(Actor, node)

    def agree(self, first: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
        return "" if first["model"] == facts["model"] else f"model {facts['model']}"

    def ahead(self, node: Node) -> int:
        return 8


class Rows:
    def __init__(self, rows: list[str]) -> None:
        self.rows = rows

    @property
    def ended(self) -> bool:
        return not self.rows

    def waiting(self) -> int:
        return len(self.rows)

    def take(self, count: int) -> list[str]:
        taken, self.rows = self.rows[:count], self.rows[count:]
        return taken


def node(name: str) -> Node:
    return Node(id=name, name=name, cpus=1, gpus=0)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("JOIN_EVERY_S", "GONE_S", "POLL_S"):
        monkeypatch.setattr(pool_module, name, 0.0)


def opened(cluster: Fake) -> Pool:
    pool = Pool(cluster, "work", Crew(cluster))  # type: ignore[arg-type]  # a stand-in
    pool.start()
    return pool


def rows(count: int) -> list[str]:
    return [f"row {n}" for n in range(count)]


def capitals(found: list[tuple[Any, Any]]) -> bool:
    return all(result == row.upper() for row, result in found)


@settings(deadline=None)
@given(deaths=st.lists(st.tuples(st.integers(1, 60), st.integers(0, 2)), max_size=6), count=st.integers(0, 40))
def test_every_row_comes_once_whichever_nodes_die(deaths: list[tuple[int, int]], count: int) -> None:
    """Whenever nodes die, and whenever others come in their place: every row once, each with its own result."""
    names, steps, schedule = itertools.count(), itertools.count(1), dict(deaths)
    cluster = Fake([node(f"n{next(names)}") for _ in range(2)])

    def fails(actor: Actor) -> Exception | None:
        coming = schedule.pop(next(steps), None)
        if coming is None:
            return None
        cluster.alive = [other for other in cluster.alive if other is not actor.node]
        cluster.alive += [node(f"n{next(names)}") for _ in range(coming or not cluster.alive)]
        return Gone("connection lost")

    cluster.fails = fails
    found = list(opened(cluster).run(Rows(rows(count))))
    assert sorted(row for row, _ in found) == sorted(rows(count))
    assert capitals(found)


def test_no_actor_holds_more_than_its_share() -> None:
    """Nobody is handed more than its share of what is left, nor more than it may hold."""
    cluster = Fake([node("a"), node("b")])
    list(opened(cluster).run(Rows(rows(12))))
    assert [actor.most for actor in cluster.actors] == [3, 3]
    cluster = Fake([node("a"), node("b")])
    list(opened(cluster).run(Rows(rows(200))))
    assert [actor.most for actor in cluster.actors] == [8, 8]


def test_a_node_that_joins_gets_work() -> None:
    cluster = Fake([node("a")])
    run = opened(cluster).run(Rows(rows(20)))
    found = [next(run)]
    cluster.alive = [*cluster.alive, node("b")]
    found += run
    assert len(found) == 20
    assert cluster.actors[1].most > 0
    assert cluster.said == ["b joins: it can work"]


def test_a_row_without_an_answer_comes_back_as_none() -> None:
    assert dict(opened(Fake([node("a")])).run(Rows(["none", "row"]))) == {"none": None, "row": "ROW"}


def test_bad_usage_ends_the_run_and_names_the_node() -> None:
    """What would fail anywhere ends the run at once, with the node's name."""
    cluster = Fake([node("a"), node("b")], fails=lambda actor: UsageError("no chat template"))
    with pytest.raises(UsageError, match=r"no chat template \(on a\)"):
        list(opened(cluster).run(Rows(rows(4))))


def test_a_node_is_given_up_after_three_dead_actors_and_the_last_ends_the_run() -> None:
    """Until then the other nodes do its rows; where the actors of all nodes die, the run ends and names the reason."""
    cluster = Fake([node("a"), node("b")], fails=lambda actor: Gone("out of memory") if actor.node.id == "a" else None)
    found = list(opened(cluster).run(Rows(rows(9))))
    assert sorted(row for row, _ in found) == sorted(rows(9))
    assert sum(actor.node.id == "a" for actor in cluster.actors) <= 3
    cluster.fails = lambda actor: Gone("out of memory")
    with pytest.raises(InfrastructureError, match="out of memory"):
        list(opened(cluster).run(Rows(rows(9))))


def test_the_run_ends_with_its_last_node() -> None:
    cluster = Fake([node("a")])

    def fails(actor: Actor) -> Exception | None:
        cluster.alive = []
        return Gone("connection lost")

    cluster.fails = fails
    with pytest.raises(InfrastructureError, match="no node of the cluster can work any more; the same command"):
        list(opened(cluster).run(Rows(rows(3))))


def test_nodes_with_different_models_never_make_one_run() -> None:
    """At the start a disagreement is refused; a node that joins with another model is left out, and said so."""
    cluster = Fake([node("a"), node("b")], facts={"b": {"model": "other"}})
    with pytest.raises(InfrastructureError, match="b and a do not work alike: model other"):
        opened(cluster)
    cluster = Fake([node("a")], facts={"b": {"model": "other"}})
    run = opened(cluster).run(Rows(rows(9)))
    found = [next(run)]
    cluster.alive = [*cluster.alive, node("b")]
    found += run
    assert len(found) == 9
    assert cluster.said == ["b and a do not work alike: model other; b is left out"]
    assert [actor.most for actor in cluster.actors if actor.node.id == "b"] == [0]


def test_a_node_that_cannot_open_is_left_out() -> None:
    cluster = Fake([node("a"), node("b")], facts={"a": InfrastructureError("no torch; pip install")})
    assert len(list(opened(cluster).run(Rows(rows(5))))) == 5
    assert cluster.said == ["a: no torch; pip install; the node is left out"]
    with pytest.raises(InfrastructureError, match="a: no torch; pip install"):
        opened(Fake([node("a")], facts=cluster.facts))
    with pytest.raises(InfrastructureError, match="no node of the cluster can work"):
        opened(Fake([]))


# ---------------------------------------------------------------- the actor's side


def drained(feeder: Feeder, items: list[tuple[int, Any]], count: int) -> list[tuple[int, Any]]:
    found = feeder.step(items, 5)
    while len(found) < count:
        found += feeder.step([], 5)
    return found


def test_an_unanswered_item_comes_back_as_none() -> None:
    """A stage that yields nothing for an item: its ticket comes back with None when the stage is through."""

    def odd(items: Iterator[tuple[int, int]]) -> Iterator[tuple[int, int]]:
        return ((ticket, item) for ticket, item in items if item % 2)

    feeder = Feeder(odd, patient=False)
    assert dict(drained(feeder, [(1, 10), (2, 11), (3, 12)], 3)) == {1: None, 2: 11, 3: None}
    assert dict(drained(feeder, [(4, 13)], 1)) == {4: 13}
    feeder.close()


def test_what_was_finished_before_an_error_is_delivered() -> None:
    def breaks(items: Iterator[tuple[int, int]]) -> Iterator[tuple[int, int]]:
        for ticket, item in items:
            if item == 2:
                raise UsageError("no two")
            yield ticket, item

    feeder = Feeder(breaks, patient=True)
    assert drained(feeder, [(7, 1), (8, 2)], 1) == [(7, 1)]
    with pytest.raises(UsageError, match="no two"):
        feeder.step([], 5)


class Echo(Generator):
    def fingerprint(self) -> dict[str, Any]:
        return {"model": "echo"}

    def generate(self, requests: Iterable[GenerationRequest]) -> Iterator[Completion]:
        for request in sorted(requests, key=lambda r: r.problem, reverse=True):
            yield Completion(task=request.task, problem=request.problem, sample=request.sample, text=request.problem)


def ask(problem: str, sample: int = 0) -> GenerationRequest:
    return GenerationRequest(task="t", problem=problem, sample=sample, prompt="x", sampling=Sampling())


def test_each_completion_gets_its_own_ticket(monkeypatch: pytest.MonkeyPatch) -> None:
    """An actor's generator answers in any order; a dead driver's close ends it."""
    monkeypatch.setattr("codecard.generate.ray_.open_generator", lambda spec, opening: Echo())
    actor = GenerationActor("echo", Opening())
    assert actor.open()["model"] == "echo"
    asked = [(1, ask("a")), (2, ask("c")), (3, ask("b"))]
    found = dict(actor.step(asked, 5))
    while len(found) < 3:
        found |= dict(actor.step([], 5))
    assert {ticket: completion.text for ticket, completion in found.items()} == {1: "a", 2: "c", 3: "b"}
    actor.close()


def test_samples_of_a_problem_stay_together() -> None:
    source = _Problems([ask(name, sample) for name in "abc" for sample in range(3)])
    assert source.waiting() == 9
    assert {r.problem for r in source.take(2)} == {"a"}
    assert [r.problem for r in source.take(4)] == ["b"] * 3 + ["c"] * 3
    assert source.ended


# ---------------------------------------------------------------- the driver's side


def test_the_fingerprint_of_a_cluster_is_that_of_one_process() -> None:
    cluster = Fake([node("a")], facts={"a": {"codecard": "1", "model": "m", "dtype": "float32"}})
    generator = RayGenerator(cluster, "embedded", Opening())  # type: ignore[arg-type]  # a stand-in
    assert generator.fingerprint() == {"model": "m", "dtype": "float32"}
    generator.close()


def image(language: str, digest: str) -> Image:
    return Image(language=language, digest=digest, version="1")


def sandbox_facts(digest: str, **other: Any) -> dict[str, Any]:
    images = {"py": image("py", digest), "php": "no sandbox image for php; build it"}
    return {"codecard": "1", "sandbox": "docker", "images": images, **other}


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        (sandbox_facts("sha256:b"), "the image of py is sha256:b against sha256:a"),
        (sandbox_facts("sha256:a", sandbox="bwrap"), "sandbox bwrap against docker"),
        (sandbox_facts("sha256:a", codecard="2"), "codecard 2 against 1"),
        (sandbox_facts("sha256:a", images={"py": "none", "php": "none"}), "the image of py is missing"),
        (
            sandbox_facts("sha256:a", images={"py": image("py", "sha256:a"), "php": image("php", "sha256:c")}),
            r"the image of php is sha256:c against missing \(no sandbox image for php",
        ),
    ],
)
def test_a_node_with_another_sandbox_is_refused(facts: dict[str, Any], why: str) -> None:
    cluster = Fake([node("a"), node("b")], facts={"a": sandbox_facts("sha256:a"), "b": facts})
    with pytest.raises(InfrastructureError, match=why):
        RaySandbox(cluster, None, None)  # type: ignore[arg-type]  # a stand-in


def test_a_node_slower_than_the_limits_allow_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its host factor is above the one that the limits were made with: it does not open."""
    monkeypatch.setattr("codecard.sandbox.ray_.stored_host_factor", lambda: 1.5)
    with pytest.raises(InfrastructureError, match=r"too slow .* host factor 1\.5 against 1 "):
        ExecutionActor(None, ("py",), False, 1.0, 1).open()


def test_a_language_without_an_image_is_refused_with_the_reason() -> None:
    cluster = Fake([node("a")], facts={"a": sandbox_facts("sha256:a")})
    sandbox = RaySandbox(cluster, None, ["py", "php"])  # type: ignore[arg-type]  # a stand-in
    assert sandbox.name == "docker"
    assert sandbox.image("py").digest == "sha256:a"
    with pytest.raises(InfrastructureError, match="a: no sandbox image for php; build it"):
        sandbox.image("php")


def test_an_error_while_jobs_are_made_is_raised_where_they_are_run() -> None:
    """What breaks while jobs are made is raised where they are run."""

    def jobs() -> Iterator[Any]:
        yield "job"
        raise UsageError("no data")

    cluster = Fake([node("a")], facts={"a": sandbox_facts("sha256:a")})
    executor = RayExecutor(RaySandbox(cluster, None, None))  # type: ignore[arg-type]  # a stand-in
    with pytest.raises(UsageError, match="no data"):
        list(executor.execute(jobs()))
    source: Source = _Stream([])
    assert source.waiting() is None


@pytest.mark.parametrize(
    ("given_", "address", "programs", "actors"),
    [
        (None, None, None, 1),
        ("3", None, 3, 1),
        ("ray", "local", None, 1),
        ("ray:auto", "auto", None, 1),
        ("ray:head:6379", "head:6379", None, 1),
        ("ray://10.0.0.1:10001,actors=2,programs=8", "ray://10.0.0.1:10001", 8, 2),
        ("ray:[::1]:6379,programs=4", "[::1]:6379", 4, 1),
    ],
)
def test_every_form_of_workers_is_read(
    given_: str | None, address: str | None, programs: int | None, actors: int
) -> None:
    assert parse_workers(given_) == Workers(address=address, programs=programs, actors=actors)


@pytest.mark.parametrize(
    "given_", ["0", "-1", "", "four", "ray:", "ray:head", "ray://auto", "ray,actors=0", "ray,gpus=1", "2,actors=1",
               "ray,actors=1,actors=2", "rays", "ray:head:port"]
)  # fmt: skip
def test_an_unknown_form_of_workers_is_refused(given_: str) -> None:
    with pytest.raises(UsageError, match="--workers"):
        parse_workers(given_)
