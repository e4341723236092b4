"""The slot engine: rows are decoded side by side, and a row that ends makes room for the next at once.

Prompts wait in a bounded window, longest first. A prompt is prefilled once for all its samples: a place keeps a
prompt's keys and values until another prompt is put there, and a sample that finds its prompt anywhere copies it.
The prefill takes all prompt tokens but the last; that one is the row's first step, so a sample's first token comes
from the same computation as all its others.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from codecard.generate.memory import fewer, shortage
from codecard.generate.rows import Row, Vocabulary, advance
from codecard.generate.stepper import Stepper
from codecard.model import Completion, FinishReason

_WINDOW = 8
"""Rows that wait, for each place: so that long prompts go first and meet prompts of their own length."""


class Queue:
    """The next rows, read ahead up to a window: longest prompt first, samples of one prompt together."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._source = iter(rows)
        self._heap: list[tuple[int, list[int], int, Row]] = []
        self._arrived = 0

    def __len__(self) -> int:
        return len(self._heap)

    def fill(self, size: int) -> Iterator[Row]:
        """Read on until `size` rows wait; yields those without room, which never will."""
        while len(self._heap) < size:
            row = next(self._source, None)
            if row is None:
                return
            if row.room > 0:
                self.push(row)
            else:
                yield row

    def push(self, row: Row) -> None:
        heapq.heappush(self._heap, (-len(row.ids), row.ids, self._arrived, row))
        self._arrived += 1

    def pop(self) -> Row:
        return heapq.heappop(self._heap)[3]


class SlotEngine:
    """Decodes rows with `model` in at most `slots` places; the places halve whenever memory runs out."""

    def __init__(self, model: Any, vocabulary: Vocabulary, slots: int) -> None:
        self._model = model
        self._vocabulary = vocabulary
        self.slots = slots
        self._clear()

    def _clear(self) -> None:
        self._stepper = _stepper(self._model, self.slots)
        self._rows: list[Row | None] = [None] * self.slots
        self._prompts: list[list[int] | None] = [None] * self.slots
        self._since = [0.0] * self.slots

    def run(self, rows: Iterable[Row]) -> Iterator[Completion]:
        """Yield each row's completion as it finishes. A row without room ends by length, empty."""
        queue = Queue(rows)
        try:
            while True:
                for row in queue.fill(self.slots * _WINDOW):
                    yield row.completion(FinishReason.LENGTH)
                if not queue and not self._live():
                    return
                failure, done = "", []
                try:
                    self._admit(queue)
                    done = self._step()
                except (MemoryError, RuntimeError) as error:
                    failure = shortage(error)
                if failure:  # outside the handler: its traceback would keep the tensors alive
                    self._shrink(queue, failure)
                yield from done
        finally:
            self._clear()  # a run that was left early leaves no rows behind

    def _live(self) -> list[int]:
        return [place for place, row in enumerate(self._rows) if row is not None]

    def _shrink(self, queue: Queue, failure: str) -> None:
        """Start every unfinished row again, in half the places."""
        rows = [row for row in self._rows if row is not None]
        for row in rows:
            row.restart()
            queue.push(row)
        tried = 1 if self.slots == 1 else max(2, len(rows))  # a lone row pays for the empty places beside it
        self._clear()
        self.slots = fewer(tried, failure, str(self._model.device))
        self._clear()

    def _admit(self, queue: Queue) -> None:
        """Put waiting rows into the free places, then close the gaps that are left."""
        free_places = [place for place, row in enumerate(self._rows) if row is None]
        enough = len(free_places) >= self._stepper.refill or len(free_places) == self.slots
        if queue and (enough or len(queue) <= len(free_places)):
            self._fill(queue, free_places)
        while (gap := self._gap()) is not None:
            self._move(*gap)

    def _fill(self, queue: Queue, free_places: list[int]) -> None:
        held = {place: self._prompts[place] for place in range(self.slots)}
        places = self._place([queue.pop() for _ in range(min(len(free_places), len(queue)))], free_places)
        for place, row in places.items():
            self._rows[place] = row  # at once: whatever fails from here on, the row is not lost
            self._prompts[place] = None
            self._since[place] = time.perf_counter()
        self._stepper.admit(places)
        heads: dict[int, Row] = {}
        copies: list[tuple[int, int]] = []
        for place, row in places.items():
            if held[place] == row.ids:
                continue
            kept = (p for p, ids in held.items() if ids == row.ids and (p not in places or places[p].ids == ids))
            source = next(kept, None)
            if source is None:
                source = next((p for p, head in heads.items() if head.ids == row.ids), None)
            if source is None:
                heads[place] = row
            else:
                copies.append((source, place))
        self._stepper.prefill({place: row.ids for place, row in heads.items()})
        for source, place in copies:
            self._stepper.copy_prompt(source, place)
        for place, row in places.items():
            self._prompts[place] = row.ids

    def _place(self, rows: Sequence[Row], free_places: list[int]) -> dict[int, Row]:
        """A place for each row: one that still holds its prompt if there is one."""
        places: dict[int, Row] = {}
        others: list[Row] = []
        for row in rows:
            same = next((p for p in free_places if p not in places and self._prompts[p] == row.ids), None)
            if same is None:
                others.append(row)
            else:
                places[same] = row
        left = [place for place in free_places if place not in places]
        return places | dict(zip(left, others, strict=False))

    def _gap(self) -> tuple[int, int] | None:
        """The last row's place and a free one before it."""
        live = self._live()
        if not live or live[-1] == len(live) - 1:
            return None
        return live[-1], self._rows.index(None)

    def _move(self, source: int, place: int) -> None:
        self._stepper.move(source, place)
        self._rows[place] = self._rows[source]
        self._prompts[place] = self._prompts[source]
        self._since[place] = self._since[source]
        self._rows[source] = None

    def _step(self) -> list[Completion]:
        live = self._live()
        tokens = self._stepper.step(len(live))
        now = time.perf_counter()
        ended: list[tuple[int, Completion]] = []
        for place, token in zip(live, tokens, strict=True):
            row = self._rows[place]
            assert row is not None
            reason = advance(row, token, self._vocabulary)
            if reason is not None:
                ended.append((place, row.completion(reason, now - self._since[place])))
        for place, _ in ended:
            self._rows[place] = None
        return [completion for _, completion in ended]


def _stepper(model: Any, slots: int) -> Stepper:
    if model.device.type != "cuda":
        return Stepper(model, slots)
    from codecard.generate.slots_cuda import CudaStepper

    return CudaStepper(model, slots)
