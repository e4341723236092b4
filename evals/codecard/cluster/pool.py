"""Rows handed to whoever is idle, over actors that come and go.

Every alive node has its actors; a node that joins gets its own within seconds. An actor holds few rows at a time and
asks for more by handing back results. What it held when it died goes back to the front of the queue, so a row is
yielded once, whoever finished it. Rows that three actors died of, on nodes that lived on, end the run.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from codecard.cluster.nodes import Cluster, Node
from codecard.model import CodecardError, InfrastructureError

# Seconds.
JOIN_EVERY_S = 2.0  # between two looks at the cluster's nodes
POLL_S = 0.1
STEP_S = 0.25  # that an actor may keep a call open when it has nothing to hand back
START_S = 900.0  # within which one actor must have opened: models load from slow disks
GRACE_S = 30.0  # that a start waits for the other actors once one is there; who comes later joins
GONE_S = 60.0  # without any actor after which the run ends: its journal waits for a better cluster

FAILURES = 3


class Source(Protocol):
    """Where rows come from. Called from the thread that runs the pool."""

    @property
    def ended(self) -> bool:
        """Nothing will come any more."""

    def waiting(self) -> int | None:
        """Rows that can be taken, where that is known: shares shrink with it, so that no actor is last by far."""

    def take(self, count: int) -> list[Any]:
        """Up to `count` rows, more where they belong together; empty while there are none."""


@dataclass(slots=True, kw_only=True, eq=False)
class Task:
    row: Any
    deaths: int = 0


@dataclass(slots=True, kw_only=True, eq=False)
class Member:
    """One actor. `call` is what it was last asked, `held` the tasks it has not finished, by ticket."""

    node: Node
    handle: Any
    call: Any
    open: bool = False
    held: dict[int, Task] = field(default_factory=dict)


class Crew(Protocol):
    """What kind of actors a pool has."""

    def per_node(self, node: Node) -> int:
        """How many a node has."""

    def start(self, node: Node) -> Any:
        """One more. It has `open() -> facts`, and `step` and `close` as a `Feeder` has them."""

    def agree(self, first: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
        """Why an actor with these facts may not work beside the first, or nothing."""

    def ahead(self, node: Node) -> int:
        """How many rows an actor there holds at most."""


class Pool:
    """The actors of a crew over a cluster's nodes. `verb` is what they do, for messages."""

    def __init__(self, cluster: Cluster, verb: str, crew: Crew) -> None:
        self.cluster, self.verb, self._crew = cluster, verb, crew
        self.facts: dict[str, Any] = {}  # those of the first actor that opened, with which all others agree
        self._members: list[Member] = []
        self._failures: Counter[str] = Counter()
        self._back: deque[Task] = deque()
        self._last: CodecardError | None = None
        self._tickets = itertools.count()
        self._looked = self._seen = -START_S
        self._stop = threading.Event()
        self._calls = threading.Lock()  # held by whoever speaks to the cluster: closing waits for it

    def start(self) -> None:
        """Open actors on every node that can have them. Raises what went wrong where none could be opened, and
        InfrastructureError where two do not agree."""
        with self.cluster.lost_is_told():
            self._join()
            deadline = time.monotonic() + START_S
            while any(not member.open for member in self._members) and time.monotonic() < deadline:
                had = bool(self.facts)
                self._collect(strict=True)
                if self.facts and not had:
                    deadline = min(deadline, time.monotonic() + GRACE_S)
        if not self.facts:
            waited = f"no actor could {self.verb} within {START_S:.0f} s; `ray status` shows what the cluster lacks"
            nobody = f"no node of the cluster can {self.verb}; `ray status` shows what it lacks"
            raise self._last or InfrastructureError(waited if self._members else nobody)

    def run(self, source: Source) -> Iterator[tuple[Any, Any]]:
        """(row, result) as they are finished. A result of None: there was no answer."""
        self._seen = time.monotonic()
        while not self._stop.is_set():
            with self._calls, self.cluster.lost_is_told():
                self._join()
                for member in self._members:
                    self._feed(member, source)
                if source.ended and not self._back and not any(member.held for member in self._members):
                    return
                self._check_gone()
                found = self._collect()
            yield from found

    def close(self) -> None:
        """End the actors. Whoever runs the pool in another thread is let go first."""
        self._stop.set()
        with self._calls, contextlib.suppress(Exception):  # the cluster may be gone
            if parting := [member.handle.close.remote() for member in self._members if member.open]:
                self.cluster.ray.wait(parting, num_returns=len(parting), timeout=20)
            for member in list(self._members):
                self._drop(member)

    def _join(self) -> None:
        """Actors on every node that lacks them."""
        if time.monotonic() - self._looked < JOIN_EVERY_S:
            return
        self._looked = time.monotonic()
        served = Counter(member.node.id for member in self._members)
        for node in self.cluster.nodes():
            if self._failures[node.id] < FAILURES:
                for _ in range(self._crew.per_node(node) - served[node.id]):
                    handle = self._crew.start(node)
                    self._members.append(Member(node=node, handle=handle, call=handle.open.remote()))

    def _feed(self, member: Member, source: Source) -> None:
        """A fair share of what is left, in small pieces: the fewer rows there are, the fewer an actor holds."""
        if not member.open or member.call is not None:
            return
        target, waiting = self._crew.ahead(member.node), source.waiting()
        if waiting is not None:
            left = waiting + len(self._back) + len(member.held)
            target = min(target, -(-left // (2 * sum(other.open for other in self._members))))
        room = target - len(member.held)
        tasks = [self._back.popleft() for _ in range(min(room, len(self._back)))]
        if room > len(tasks):
            tasks += [Task(row=row) for row in source.take(room - len(tasks))]
        given = {next(self._tickets): task for task in tasks}
        member.held |= given
        if member.held:
            member.call = member.handle.step.remote([(ticket, task.row) for ticket, task in given.items()], STEP_S)

    def _collect(self, *, strict: bool = False) -> list[tuple[Any, Any]]:
        """What came back within a moment."""
        calls = {member.call: member for member in self._members if member.call is not None}
        if not calls:
            self._stop.wait(POLL_S)
            return []
        ready, _ = self.cluster.ray.wait(list(calls), num_returns=1, timeout=POLL_S)
        if ready:
            ready, _ = self.cluster.ray.wait(list(calls), num_returns=len(calls), timeout=0)
        found = []
        for call in ready:
            member = calls[call]
            member.call = None
            try:
                answer = self.cluster.ray.get(call)
            except Exception as error:  # the actor's own, or Ray's word that it is gone
                self._lost(member, error)
                continue
            if member.open:
                found += [(member.held.pop(ticket).row, result) for ticket, result in answer]
            else:
                self._admit(member, answer, strict=strict)
        return found

    def _check_gone(self) -> None:
        if any(member.open for member in self._members):
            self._seen = time.monotonic()
        elif time.monotonic() - self._seen > (START_S if self._members else GONE_S):
            again = "the same command goes on from here once one can"
            raise self._last or InfrastructureError(f"no node of the cluster can {self.verb} any more; {again}")

    def _admit(self, member: Member, facts: dict[str, Any], *, strict: bool) -> None:
        member.open = True
        if not self.facts:
            self.facts = facts | {"node": member.node.name}
        elif why := self._crew.agree(self.facts, facts):
            text = f"{member.node.name} and {self.facts['node']} do not {self.verb} alike: {why}"
            if strict:
                raise InfrastructureError(f"{text}; give both the same software and hardware")
            self.cluster.say(f"{text}; {member.node.name} is left out")
            self._failures[member.node.id] = FAILURES
            self._drop(member)
        elif not strict:
            self.cluster.say(f"{member.node.name} joins: it can {self.verb}")

    def _drop(self, member: Member) -> list[Task]:
        """Forget an actor; the tasks that it held."""
        self._members.remove(member)
        self.cluster.kill(member.handle)
        return [member.held[ticket] for ticket in sorted(member.held)]

    def _lost(self, member: Member, error: Exception) -> None:
        """An actor failed. What it held waits for another; bad usage ends the run, for it would fail anywhere."""
        cause, name = self.cluster.cause(error), member.node.name
        if cause is not None and not isinstance(cause, InfrastructureError):
            raise type(cause)(f"{cause} (on {name})") if isinstance(cause, CodecardError) else cause
        tasks = self._drop(member)
        self._back.extendleft(reversed(tasks))
        if not any(node.id == member.node.id for node in self.cluster.nodes()):
            self.cluster.say(f"{name} is gone; {len(tasks)} unfinished rows run elsewhere")
            return
        self._last = InfrastructureError(f"{name}: {cause or ' '.join(str(error).split())[-300:]}")
        refused = cause is not None and not member.open
        self._failures[member.node.id] = FAILURES if refused else self._failures[member.node.id] + 1
        self.cluster.say(f"{self._last}; {'the node is left out' if refused else f'{len(tasks)} rows run again'}")
        for task in tasks:
            task.deaths += 1
            if task.deaths >= FAILURES:
                raise InfrastructureError(f"{FAILURES} actors in turn failed at the same rows; {self._last}")
