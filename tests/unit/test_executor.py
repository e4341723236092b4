"""The executor on sandboxes that fail in chosen ways: what is a verdict, what is void, and what stops the run."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator

import pytest

from codecard.model import Execution, InfrastructureError, Limits, Program, Stage, StageLimits, Verdict
from codecard.sandbox import Executor, Job, executor
from codecard.sandbox.port import Image, ProtocolBroken, Slot, SlotDied, StageAnswer, StageRequest

LIMITS = Limits(run=StageLimits(cpu_s=1, wall_s=2))
PASSED = StageAnswer(
    exit_code=0, signal=None, killed="", oom=False, proved=True, clean=True,
    cpu_s=0.1, wall_s=0.2, delayed_s=0.0, peak_memory_bytes=1, output_bytes=0,
)  # fmt: skip


class Fake:
    """A sandbox and its slots in one: sources that contain `POISON` end the slot with `error`."""

    name = "fake"

    def __init__(
        self, *, error: SlotDied | None = None, fails: int = 0, sick: bool = False, opens: bool = True
    ) -> None:
        self.error, self.fails, self.sick, self.opens = error, fails, sick, opens
        self.ran = self.opened = self.closed = 0

    def image(self, language: str) -> Image:
        return Image(language=language, digest="digest", version="1")

    def open_slot(self, language: str, stage: Stage) -> Slot:
        if not self.opens:
            raise SlotDied("the engine is away")
        self.opened += 1
        return self

    def run(self, request: StageRequest) -> StageAnswer:
        self.ran += 1
        poisoned = any(b"POISON" in content for content in request.files.values())
        if self.sick or (self.error and poisoned and (self.fails == 0 or self.ran <= self.fails)):
            raise self.error or SlotDied("gone")
        return PASSED

    def close(self) -> None:
        self.closed += 1


def run(sandbox: Fake, source: str = "POISON") -> Execution:
    job = Job(tag=0, program=Program(language="py", source=source), limits=LIMITS)
    with Executor(sandbox, workers=1, plain=True) as pool:
        ((_, execution),) = pool.execute([job])
    return execution


def test_a_slot_that_dies_once_costs_an_attempt_and_no_verdict() -> None:
    execution = run(Fake(error=SlotDied("gone"), fails=1))
    assert execution.verdict is Verdict.PASSED
    assert execution.attempts == 2


def test_a_program_that_ends_every_slot_is_a_runtime_error() -> None:
    """Void is for our failures: who reliably ends the sandbox would otherwise never be scored."""
    execution = run(Fake(error=SlotDied("gone")))
    assert execution.verdict is Verdict.RUNTIME_ERROR
    assert execution.attempts == 3
    assert "gone" in execution.reason


def test_a_broken_machine_is_never_blamed_on_the_program() -> None:
    """Where a known-good program fails as well, nothing is known about this one."""
    execution = run(Fake(sick=True))
    assert execution.verdict is Verdict.SANDBOX_ERROR
    assert execution.reason == "gone"


def test_a_fault_of_our_protocol_is_never_blamed_on_the_program() -> None:
    execution = run(Fake(error=ProtocolBroken("makes no sense")))
    assert execution.verdict is Verdict.SANDBOX_ERROR


def test_an_engine_that_is_away_stops_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run stops with one line; what was not executed is executed by the next start."""
    monkeypatch.setattr(executor, "OPENING_DELAYS_S", (0, 0))
    with pytest.raises(InfrastructureError, match="the engine is away"):
        run(Fake(opens=False))


def test_jobs_are_pulled_no_faster_than_they_are_run() -> None:
    """A run may queue a hundred thousand programs; they are pulled as fast as they are executed, no faster."""
    pulled = itertools.count()

    def jobs() -> Iterator[Job]:
        for n in pulled:
            yield Job(tag=n, program=Program(language="py", source=f"# {n}"), limits=LIMITS)

    with Executor(Fake(), workers=2, plain=True) as pool:
        taken = list(itertools.islice(pool.execute(jobs()), 5))
        assert len(taken) == 5
    assert next(pulled) < 50


def test_twins_are_run_once() -> None:
    sandbox = Fake()
    job = Job(tag=0, program=Program(language="py", source="pass"), limits=LIMITS)
    with Executor(sandbox, workers=2, plain=True) as pool:
        assert len(list(pool.execute([job] * 20))) == 20
    assert sandbox.ran == 1


class Meeting(Fake):
    """Its programs end only when two different ones have begun."""

    def __init__(self) -> None:
        super().__init__()
        self.both = threading.Barrier(2)

    def run(self, request: StageRequest) -> StageAnswer:
        self.both.wait(timeout=30)
        return super().run(request)


def test_no_worker_waits_for_a_twin() -> None:
    """The samples of a problem come together and many are equal: all workers but one would stand still."""
    sandbox = Meeting()
    programs = [Program(language="py", source=source) for source in ["pass"] * 8 + ["assert True"]]
    with Executor(sandbox, workers=2, plain=True) as pool:
        found = list(pool.execute(Job(tag=n, program=program, limits=LIMITS) for n, program in enumerate(programs)))
    assert sorted(job.tag for job, _ in found) == list(range(9))  # type: ignore[type-var]  # numbers here
    assert sandbox.ran == 2


@pytest.mark.parametrize("workers", [1, 3])
def test_each_twin_of_a_void_execution_is_run_for_itself(workers: int) -> None:
    """What failed for reasons of ours may go well the next time: each has its own chance."""
    sandbox = Fake(sick=True)
    job = Job(tag=0, program=Program(language="py", source="pass"), limits=LIMITS)
    with Executor(sandbox, workers=workers, plain=True) as pool:
        found = list(pool.execute([job] * 6))
    assert [execution.verdict for _, execution in found] == [Verdict.SANDBOX_ERROR] * 6
    assert sandbox.ran >= 6 * executor.ATTEMPTS


def test_every_slot_is_closed_at_the_end() -> None:
    sandbox = Fake()
    run(sandbox, "pass")
    assert sandbox.opened == sandbox.closed == 1
