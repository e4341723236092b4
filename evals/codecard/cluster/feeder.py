"""The actor's side of a pool: a stage that works in a thread, fed and emptied through short calls.

The driver hands items in and takes results out by `step`, so an actor is never without work while its driver still
has some, rows leave it as soon as they are finished, and a call that is lost with its node says what was unfinished.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

Items = list[tuple[int, Any]]  # tickets with what they stand for; a result of None: the stage had no answer

Work = Callable[[Iterator[tuple[int, Any]]], Iterator[tuple[int, Any]]]


class Feeder:
    """Runs `work` on what it is fed. `work` gets an iterator of (ticket, item) and yields (ticket, result).

    `patient`: the iterator waits for more until the end, for stages that work on while they wait. Otherwise it ends
    as soon as there is nothing to hand out, and `work` is called again for what comes later.
    """

    def __init__(self, work: Work, *, patient: bool) -> None:
        self._work, self._patient = work, patient
        self._inbox: queue.Queue[tuple[int, Any] | None] = queue.Queue()
        self._outbox: queue.Queue[tuple[int, Any] | BaseException] = queue.Queue()
        self._held: set[int] = set()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def step(self, items: Items, wait_s: float) -> Items:
        """Hand in more; results so far, waiting up to `wait_s` for one. Raises what `work` raised."""
        for item in items:
            self._inbox.put(item)
        found: Items = []
        while True:
            try:
                got = self._outbox.get(timeout=wait_s) if wait_s and not found else self._outbox.get_nowait()
            except queue.Empty:
                return found
            if not isinstance(got, BaseException):
                found.append(got)
            elif found:
                self._outbox.put(got)  # what was finished before it goes first
                return found
            else:
                raise got

    def close(self) -> None:
        self._inbox.put(None)

    def _run(self) -> None:
        try:
            while (first := self._inbox.get()) is not None:
                self._held.clear()
                for ticket, result in self._work(self._items(first)):
                    self._held.discard(ticket)
                    self._outbox.put((ticket, result))
                for ticket in sorted(self._held):
                    self._outbox.put((ticket, None))
        except BaseException as error:  # raised again in the driver's step
            self._outbox.put(error)

    def _items(self, first: tuple[int, Any]) -> Iterator[tuple[int, Any]]:
        item: tuple[int, Any] | None = first
        while item is not None:
            self._held.add(item[0])
            yield item
            try:
                item = self._inbox.get() if self._patient else self._inbox.get_nowait()
            except queue.Empty:
                return
        self._inbox.put(None)  # the end is for `_run` too
