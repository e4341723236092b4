"""Suites whose answers are programs: MultiPL-E and starter."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from codecard.generate import GenerationRequest, Message
from codecard.model import (
    Completion,
    Execution,
    InfrastructureError,
    Problem,
    Program,
    PromptStyle,
    Tests,
    Verdict,
    content_key,
)
from codecard.pipeline.evaluator import Asking, Row, Work
from codecard.sandbox import Executor, Job, Sandbox
from codecard.sandbox.doctor import examine
from codecard.sandbox.host import stored_host_factor
from codecard.sandbox.ray_ import RayExecutor
from codecard.tasks.code import assemble, load_problems, program_of, stops_of
from codecard.tasks.definitions import CodeTask, Profile, code_tasks, limits_of
from codecard.tasks.extraction import chat_prompt


class CodeEvaluator:
    """Assembles programs and runs them in the sandbox."""

    def __init__(  # noqa: PLR0913 - a suite, a profile, a sandbox, and options with defaults
        self, suite: str, profile: Profile, sandbox: Sandbox, *, data_dir: Path | None, limit: int | None,
        workers: int | None = None, languages: frozenset[str] | None = None,
        plain: bool = False, executor: Executor | RayExecutor | None = None,
    ) -> None:  # fmt: skip
        self.suite = suite
        self.profile = profile
        self.skipped: dict[str, str] = {}
        self._sandbox = sandbox
        self._executor = executor or Executor(sandbox, workers, plain=plain)
        self._tasks: dict[str, CodeTask] = {}
        self._problems: list[Problem] = []
        self._hashes: dict[str, str] = {}
        self.counts: dict[str, int] = {}
        for task in code_tasks(suite):
            if languages is not None and task.language not in languages:
                continue
            problems, self._hashes[task.task] = load_problems(task, profile, data_dir)
            self.counts[task.task] = len(problems)
            try:
                sandbox.image(task.language)
            except InfrastructureError as error:
                self.skipped[task.task] = str(error)
                continue
            self._tasks[task.task] = task
            self._problems += problems[:limit]
        if not self._tasks:
            raise InfrastructureError(f"no language of {suite} can run here: {next(iter(self.skipped.values()))}")
        self._limits = {name: limits_of(task, profile, stored_host_factor()) for name, task in self._tasks.items()}

    def problems(self) -> list[Problem]:
        return self._problems

    def describe(self) -> Row:
        images = {t.language: self._sandbox.image(t.language) for t in self._tasks.values()}
        return {
            "data": self._hashes,
            "sandbox": self._sandbox.name,
            "images": {language: image.digest for language, image in images.items()},
            "toolchains": {language: image.version for language, image in images.items()},
            "limits": {name: limits.key for name, limits in self._limits.items()},
        }

    def request(self, problem: Problem, sample: int, asking: Asking) -> GenerationRequest:
        assert isinstance(problem.checker, Tests)
        chat = asking.style is PromptStyle.CHAT
        question = chat_prompt(problem.prompt, problem.checker.language)
        return GenerationRequest(
            task=problem.task,
            problem=problem.id,
            sample=sample,
            prompt=(Message(role="user", content=question),) if chat else problem.prompt,
            stops=() if chat else stops_of(problem, self.profile),
            sampling=asking.sampling,
            seed=asking.seed,
        )

    def _program(self, work: Work) -> Program:
        if work.source is not None:
            return program_of(work.problem, work.source, self.profile)
        return assemble(work.problem, work.completion, self.profile)

    def examine(self) -> None:
        """Known programs through the slots of this run. Raises InfrastructureError where a verdict is not as known.

        The nodes of a cluster have examined theirs before they took part.
        """
        if isinstance(self._executor, Executor):
            examine(self._executor, {task.language: self._limits[name] for name, task in self._tasks.items()})

    @property
    def busy_s(self) -> float | None:
        return self._executor.busy_s

    @property
    def workers(self) -> int | None:
        return self._executor.workers

    def key(self, work: Work) -> str:
        return self._key(work.problem.task, self._program(work))

    def _key(self, task: str, program: Program) -> str:
        digest = self._sandbox.image(self._tasks[task].language).digest
        return content_key([program.key, digest, self._limits[task].key])

    def evaluate(self, work: Iterable[Work]) -> Iterator[Row]:
        jobs = (Job(tag=item, program=self._program(item), limits=self._limits[item.problem.task]) for item in work)
        for job, execution in self._executor.execute(jobs):
            assert isinstance(job.tag, Work)
            yield self._row(job.tag, job.program, execution)

    def _row(self, work: Work, program: Program, execution: Execution) -> Row:
        completion: Completion = work.completion
        verdict = execution.verdict
        return {
            "task": completion.task,
            "problem": completion.problem,
            "sample": completion.sample,
            "verdict": verdict.value,
            "passed": None if verdict.void else self.passes(verdict),
            "void": execution.reason if verdict.void else "",
            "stage": execution.stage.value,
            "exit_code": execution.exit_code,
            "signal": execution.signal,
            "cpu_s": execution.cpu_s,
            "wall_s": execution.wall_s,
            "peak_memory_bytes": execution.peak_memory_bytes,
            "stdout": execution.stdout,
            "stderr": execution.stderr,
            "image": execution.image,
            "attempts": execution.attempts,
            "program": program.source,
            "key": self._key(work.problem.task, program),
        } | ({"id": work.label} if work.label else {})

    def passes(self, verdict: Verdict) -> bool:
        """The profile's choice: the reference asks for status 0 alone, and counts an early exit as a pass."""
        return verdict is Verdict.PASSED or (verdict is Verdict.EARLY_EXIT and self.profile.early_exit_passes)

    def close(self) -> None:
        self._executor.__exit__()
        self._sandbox.close()
