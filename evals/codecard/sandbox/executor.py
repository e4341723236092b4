"""Runs programs on warm slots: one program at a time per slot, one worker per core, identical programs once.

Facts come from the slots, verdicts from `verdicts`; this module decides what is run where, again, or alone.
An infrastructure fault is never a verdict: the slot is replaced and the program run again, the last time alone;
what still fails is `sandbox_error`, which is void. A program under which every slot dies, the one where it is alone
too, while a known-good program passes right after it, is to blame itself: that is a `runtime_error` with its reason.
Where no slot can be opened at all the run stops, so that the rest of it is not void but left for the next start.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import replace

from codecard.model import Execution, InfrastructureError, Stage, Verdict, content_key
from codecard.sandbox.known import GENEROUS, known_programs
from codecard.sandbox.port import ProtocolBroken, Sandbox, Slot, SlotDied
from codecard.sandbox.stages import Job, Slots, Stages

ATTEMPTS = 3
REMEMBERED = 4096
TWINS_ASIDE = 64
"""Identical programs that may wait for the one that is running; more of them are run, too."""
OPENING_DELAYS_S = (0.5, 1, 2, 4, 8, 16)
"""Waits before another try to open a slot: an engine that restarts is back by then."""

Done = tuple[Job, Execution] | BaseException | None
"""What a worker hands over: an execution, what it failed of, or its end."""


class Executor:
    """A pool of workers over one sandbox. Use as a context manager: leaving it closes every slot."""

    def __init__(self, sandbox: Sandbox, workers: int | None = None, *, plain: bool = False) -> None:
        self.sandbox = sandbox
        self.plain = plain
        self.workers = workers or os.cpu_count() or 1
        self.replaced_slots = 0
        self.busy_s = 0.0
        """Seconds that the workers, all together, had a program."""
        self._turns = Turns()
        self._memory: OrderedDict[str, Execution] = OrderedDict()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._slots: list[Slots] = [{} for _ in range(self.workers)]

    def __enter__(self) -> Executor:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for slots in self._slots:
            for slot in list(slots.values()):
                with contextlib.suppress(Exception):
                    slot.close()
            slots.clear()

    def execute(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, Execution]]:
        """Executions as they finish, in any order. Pulls jobs only as fast as they are run."""
        source, lock = iter(jobs), threading.Lock()
        twins: dict[str, list[Job]] = {}
        done: queue.Queue[Done] = queue.Queue(maxsize=2 * self.workers)

        def work(slots: Slots) -> None:
            try:
                while not self._stop.is_set():
                    with lock:
                        job = next(source, None)
                    if job is None:
                        break
                    for finished in self._run_once(slots, job, twins):
                        self._put(done, finished)
            except BaseException as error:  # handed to the consumer, which raises it
                self._put(done, error)
            finally:
                self._put(done, None)

        for slots in self._slots:
            threading.Thread(target=work, args=(slots,), daemon=True).start()
        running = self.workers
        try:
            while running:
                item = done.get()
                if item is None:
                    running -= 1
                elif isinstance(item, BaseException):
                    raise item
                else:
                    yield item
        finally:
            if running:
                self._stop.set()

    def _put(self, done: queue.Queue[Done], item: Done) -> None:
        while True:
            with contextlib.suppress(queue.Full):
                done.put(item, timeout=0.2)
                return
            if self._stop.is_set():
                return

    def _run_once(self, slots: Slots, job: Job, twins: dict[str, list[Job]]) -> Iterator[tuple[Job, Execution]]:
        """The execution of this very program under these limits, made now or remembered, for the job and for those
        that came meanwhile; nothing where another worker has it at hand and will answer for both."""
        key = content_key([job.program.key, job.limits.key])
        waiting: list[Job] = []
        with self._lock:
            known = self._memory.get(key)
            if known is not None:
                self._memory.move_to_end(key)
            elif key not in twins:
                twins[key] = waiting
            elif len(twins[key]) < TWINS_ASIDE:
                twins[key].append(job)
                return
        if known is not None:
            yield job, known
            return
        began = time.monotonic()
        execution = self._run(slots, job)
        with self._lock:
            self.busy_s += time.monotonic() - began
            if not execution.verdict.void:
                self._memory[key] = execution
            while len(self._memory) > REMEMBERED:
                self._memory.popitem(last=False)
            if twins.get(key) is waiting:
                del twins[key]
        yield job, execution
        for twin in waiting:
            yield from [(twin, execution)] if not execution.verdict.void else self._run_once(slots, twin, twins)

    def _run(self, slots: Slots, job: Job) -> Execution:
        reason, repeat, ours = "", False, False
        for attempt in range(1, ATTEMPTS + 1):
            if self._stop.is_set():
                raise SlotDied("the executor is closing")
            try:
                with self._turns.take(alone=repeat or attempt == ATTEMPTS):
                    execution, again = Stages(self._open, self.sandbox, slots, job, plain=self.plain).go()
            except SlotDied as error:
                reason, ours = str(error), ours or isinstance(error, ProtocolBroken)
                with self._lock:
                    self.replaced_slots += 1
                continue
            execution = replace(execution, attempts=attempt)
            if not again or repeat:
                return execution
            repeat = True
        if repeat:
            return execution
        blamed = not ours and self._known_good_passes(slots, job.program.language)
        return Execution(
            verdict=Verdict.RUNTIME_ERROR if blamed else Verdict.SANDBOX_ERROR,
            image=self.sandbox.image(job.program.language).digest,
            attempts=ATTEMPTS,
            reason=f"its sandbox ended {ATTEMPTS} times: {reason}" if blamed else reason,
        )

    def _known_good_passes(self, slots: Slots, language: str) -> bool:
        """Whether the sandbox is sound right now: the last attempt left no slot, so these are fresh ones."""
        good = Job(tag=None, program=known_programs(language)["good"], limits=GENEROUS)
        try:
            with self._turns.take(alone=True):
                execution, _ = Stages(self._open, self.sandbox, slots, good, plain=True).go()
        except SlotDied:
            return False
        return execution.verdict is Verdict.PASSED

    def _open(self, language: str, stage: Stage) -> Slot:
        """Raises InfrastructureError when no slot could be opened for half a minute."""
        for delay in OPENING_DELAYS_S:
            try:
                return self.sandbox.open_slot(language, stage)
            except SlotDied as error:
                cause = error
            if self._stop.wait(delay):
                raise SlotDied("the executor is closing")
        raise InfrastructureError(f"no sandbox for {language} could be started: {cause}; try: codecard doctor")


class Turns:
    """Many together, or one alone: what is measured again alone has no neighbour of ours."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._running = 0
        self._alone = False

    @contextlib.contextmanager
    def take(self, *, alone: bool) -> Iterator[None]:
        with self._condition:
            self._condition.wait_for(lambda: not self._alone)
            if alone:
                self._alone = True  # nobody else begins from here on
                self._condition.wait_for(lambda: self._running == 0)
            self._running += 1
        try:
            yield
        finally:
            with self._condition:
                self._running -= 1
                if alone:
                    self._alone = False
                self._condition.notify_all()
