"""The slot engine: rows are decoded side by side, and a row that ends makes room for the next at once.

Prompts wait in a bounded window, longest first. A prompt is prefilled once for all its samples: a place keeps a
prompt's keys and values until another prompt is put there, and a sample that finds its prompt anywhere copies it.
The prefill takes all prompt tokens but the last; that one is the row's first step, so a sample's first token comes
from the same computation as all its others.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch

from codecard.generate.batch import BatchStepper
from codecard.generate.loading import free
from codecard.generate.rows import Row, Vocabulary, advance
from codecard.generate.stepper import Stepper, holds
from codecard.model import Completion, FinishReason, InfrastructureError
from codecard.text import first_line

_WINDOW = 8  # rows that wait, for each place: so that long prompts go first and meet prompts of their own length


class SlotEngine:
    """Decodes rows with `model` in at most `slots` places; the places halve whenever memory runs out."""

    def __init__(self, model: Any, vocabulary: Vocabulary, slots: int) -> None:
        self._model = model
        self._vocabulary = vocabulary
        self._kind = stepper_for(model)
        self.slots = slots
        self._clear()

    def _clear(self) -> None:
        self._stepper = self._kind(self._model, self.slots)
        self._rows: list[Row | None] = [None] * self.slots
        # What each place holds the keys and values of, after its row has left too.
        self._prompts: list[list[int] | None] = [None] * self.slots

    def run(self, rows: Iterable[Row]) -> Iterator[Completion]:
        """Yield each row's completion as it finishes. A row without room ends by length, empty."""
        pending = iter(rows)
        waiting: list[Row] = []
        try:
            while True:
                while len(waiting) < self.slots * _WINDOW and (row := next(pending, None)) is not None:
                    if row.room < 1:
                        yield row.completion(FinishReason.LENGTH)
                    else:
                        _enqueue(waiting, row)
                if not waiting and not self._live():
                    return
                failure, done = "", []
                try:
                    self._admit(waiting)
                    done = self._step()
                except (MemoryError, RuntimeError) as error:
                    failure = shortage(error)
                if failure:  # outside the handler: its traceback would keep the tensors alive
                    self._shrink(waiting, failure)
                yield from done
        finally:
            self._clear()  # a run that was left early leaves no rows behind

    def _live(self) -> list[int]:
        return [place for place, row in enumerate(self._rows) if row is not None]

    def _shrink(self, waiting: list[Row], failure: str) -> None:
        """Have every unfinished row begin again, in half the places. `InfrastructureError` if there was but one."""
        rows = [row for row in self._rows if row is not None]
        for row in rows:
            _enqueue(waiting, row)
        single = self.slots == 1
        self.slots = max(2, len(rows)) // 2  # a lone row pays for the empty places beside it
        self._clear()
        free(str(self._model.device))
        if single:
            ways_out = "use a smaller --dtype or model, a lower length limit, or a device with more memory"
            raise InfrastructureError(f"out of memory with a single row: {failure}; {ways_out}")

    def _admit(self, waiting: list[Row]) -> None:
        """Put waiting rows into the free places, then close the gaps that are left."""
        free_places = [place for place, row in enumerate(self._rows) if row is None]
        if waiting and self._stepper.ready(len(free_places), len(waiting)):
            count = len(free_places)
            rows, waiting[:] = waiting[:count], waiting[count:]
            self._fill(rows, free_places)
        while (live := self._live()) and live[-1] >= len(live):
            self._move(live[-1], self._rows.index(None))

    def _fill(self, rows: Sequence[Row], free_places: list[int]) -> None:
        places = self._place(rows, free_places)
        sources = {p: ids for p, ids in enumerate(self._prompts) if p not in places or places[p].ids == ids}
        for place, row in places.items():
            self._rows[place] = row  # at once: whatever fails from here on, the row is not lost
            self._prompts[place] = None
            row.begin()
        self._stepper.admit(places)
        heads: dict[int, list[int]] = {}
        copies: list[tuple[int, int]] = []
        for place, row in places.items():
            if place in sources:
                continue
            source = next((p for p, ids in sources.items() if ids == row.ids), None)
            if source is None:
                heads[place] = sources[place] = row.ids
            else:
                copies.append((source, place))
        self._stepper.prefill(heads)
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

    def _move(self, source: int, place: int) -> None:
        self._stepper.move(source, place)
        self._rows[place] = self._rows[source]
        self._prompts[place] = self._prompts[source]
        self._rows[source] = None

    def _step(self) -> list[Completion]:
        live = self._live()
        done: dict[int, Completion] = {}
        for place, token in zip(live, self._stepper.step(len(live)), strict=True):
            row = self._rows[place]
            assert row is not None
            reason = advance(row, token, self._vocabulary)
            if reason is not None:
                done[place] = row.completion(reason)
        for place in done:
            self._rows[place] = None
        return list(done.values())


def _enqueue(waiting: list[Row], row: Row) -> None:
    """Longest prompt first, samples of one prompt together and in their order."""
    insort(waiting, row, key=lambda other: (-len(other.ids), other.ids))


def shortage(error: BaseException) -> str:
    """What `error` says, if it says that memory ran out; raised again if it is anything else."""
    text = first_line(error)
    host = any(words in text.lower() for words in ("can't allocate memory", "not enough memory", "bad_alloc"))
    if not host and not isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        raise error
    return text


def stepper_for(model: Any) -> Callable[[Any, int], Stepper | BatchStepper]:
    """Asked once, for a `CudaStepper` changes the model's attention."""
    if not holds(model):
        return BatchStepper
    if model.device.type != "cuda":
        return Stepper
    from codecard.generate.slots_cuda import CudaStepper

    return CudaStepper
