"""Items that are made in a thread of their own, a bounded number ahead of who takes them."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Ahead(Generic[T]):
    """What `produce` yields, at most `most` items ahead. What it raises is raised where the items are taken. `close`
    lets the thread end; it may be in the midst of an item then."""

    def __init__(self, produce: Callable[[], Iterable[T]], most: int) -> None:
        self.ended = False
        self._items: queue.Queue[tuple[T] | BaseException | None] = queue.Queue(maxsize=most)
        self._stop = threading.Event()
        threading.Thread(target=self._make, args=(produce,), daemon=True).start()

    def _make(self, produce: Callable[[], Iterable[T]]) -> None:
        try:
            for item in produce():
                self._put((item,))
                if self._stop.is_set():
                    return
            self._put(None)
        except BaseException as error:
            self._put(error)

    def _put(self, item: tuple[T] | BaseException | None) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(queue.Full):
                self._items.put(item, timeout=0.2)
                return

    def __iter__(self) -> Iterator[T]:
        """All items, each as soon as it is there."""
        while (found := self._taken(self._items.get())) is not None:
            yield found[0]

    def at_hand(self, count: int) -> list[T]:
        """At most `count` items, without waiting for one."""
        found: list[T] = []
        while len(found) < count and not self.ended:
            try:
                item = self._taken(self._items.get_nowait())
            except queue.Empty:
                break
            found += item or ()
        return found

    def _taken(self, item: tuple[T] | BaseException | None) -> tuple[T] | None:
        if isinstance(item, BaseException):
            raise item
        self.ended = item is None
        return item

    def close(self) -> None:
        self._stop.set()
