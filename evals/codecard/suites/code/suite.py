"""Suites whose answers are programs with tests, such as MultiPL-E: programs are assembled and run in the sandbox."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codecard.answers.code import chat_prompt
from codecard.files import Row
from codecard.generate.port import GenerationRequest, Message
from codecard.languages import language_names
from codecard.model import (
    Asking,
    Completion,
    Execution,
    InfrastructureError,
    Outcome,
    Problem,
    Program,
    PromptStyle,
    Sampling,
    StageLimits,
    Tests,
    UsageError,
    Verdict,
    Void,
    content_key,
)
from codecard.settings import load_profile
from codecard.suites.code.definitions import CodeOptions, CodeTask, code_tasks, suite_fields
from codecard.suites.code.problems import assemble, load_problems, program_of, stops_of
from codecard.suites.importing import match, read_completion_file
from codecard.suites.suite import Facts, Lengths, Session, Setting, Suite, Work, request_of
from codecard.text import unknown

if TYPE_CHECKING:
    from codecard.sandbox import Executor, Sandbox
    from codecard.sandbox.ray_ import RayExecutor


class CodeSuite(Suite):
    """A folder of TOML files: one a language, and `suite.toml` with title, summary and expected lengths."""

    kind = "code"
    options = CodeOptions

    def __init__(self, folder: Path) -> None:
        fields = suite_fields(folder)
        self.name = folder.name
        self.folder = folder
        self.title = fields.get("title", folder.name)
        self.summary = fields.get("summary", "")
        self._planning = fields.get("planning", {})

    @cached_property
    def code_tasks(self) -> list[CodeTask]:
        return code_tasks(self.folder)

    def tasks(self) -> dict[str, str]:
        return {task.task: task.title for task in self.code_tasks}

    def parts(self) -> list[str]:
        """Its languages."""
        return [task.language.name for task in self.code_tasks]

    def asking(self, setting: Setting, options: CodeOptions) -> Asking:
        asked = setting.asked
        # the embedded model is a small chat model that continues raw prompts with prose: asked raw, it scores nothing
        embedded = setting.model is not None and setting.model.embedded
        style = asked.prompt_style or (PromptStyle.CHAT if embedded else options.prompt_style)
        chat = style is PromptStyle.CHAT
        heat = options.temperature if asked.temperature is None else asked.temperature
        sampling = Sampling(
            temperature=heat,
            top_p=options.top_p if heat else 1.0,
            top_k=options.top_k if heat else 0,
            max_total_tokens=None if chat else options.max_total_tokens,
            max_new_tokens=asked.max_new_tokens or (options.max_new_tokens if chat else None),
        )
        return Asking(
            style=style,
            sampling=sampling,
            seed=options.seed if asked.seed is None else asked.seed,
            samples=asked.samples or (options.samples if heat else 1),
        )

    def open(self, setting: Setting, options: CodeOptions, files: Sequence[Path] = ()) -> CodeSession:
        return CodeSession(self, setting, options, files)

    def typical(self, setting: Setting, options: CodeOptions) -> list[GenerationRequest]:
        asking = self.asking(setting, options)
        tasks = [task for task in self.code_tasks if setting.parts is None or task.language.name in setting.parts]
        loaded = [load_problems(task, options.revision, setting.data_dir)[0] for task in tasks]
        return [_request(problem, 0, asking, options) for problems in loaded for problem in problems]

    def lengths(self, options: CodeOptions) -> Lengths:
        said = self._planning
        prompt = said.get("prompt_tokens", 200)
        tasks = [task for task in self.code_tasks if task.count is not None]
        if not tasks:
            raise UsageError(f"suite {self.name}: its definitions do not say how many problems they have")
        return Lengths(
            questions={task.task: task.count or 0 for task in tasks},
            prompt_tokens={
                t.task: prompt.get(t.language.name, 200) if isinstance(prompt, dict) else prompt for t in tasks
            },
            new_tokens=said.get("new_tokens", 180),
            max_new_tokens=said.get("max_new_tokens", options.max_new_tokens),
            seconds=said.get("seconds_per_program", 1.0),
            parallel=True,
        )

    def assumed(self, values: Mapping[str, Any]) -> Row:
        return {
            "samples": 1 if values["greedy"] else values["samples"],
            "prompt_style": values["prompt_style"],
            "temperature": 0.0 if values["greedy"] else None,
            "max_new_tokens": values["max_new_tokens"],
            "dtype": values["dtype"],
        }

    def old_facts(self, manifest: Row) -> Row:
        """Version 0.1 named the profile alone, which tells the data set's revision."""
        name = (manifest.get("profile") or {}).get("name")
        try:
            revision = self.configured(load_profile(str(name))).revision
        except UsageError:
            revision = ""
        return {"noted": {"revision": revision}} if revision else {}

    def limits_text(self, task: str, key: str, profile: str) -> str:
        found = next((definition for definition in self.code_tasks if definition.task == task), None)
        if found is None:
            return key
        try:
            limits = found.limits(self.configured(load_profile(profile)))
        except UsageError:
            return key
        stages = [("build", limits.build), ("run", limits.run)]
        words = "; ".join(f"{name}: {_limits_of(stage)}" for name, stage in stages if stage is not None)
        return words if limits.key == key else key


def _limits_of(stage: StageLimits) -> str:
    return f"{stage.cpu_s:g} s CPU, {stage.wall_s:g} s wall, {stage.memory_bytes / 2**30:g} GiB"


def _request(problem: Problem, sample: int, asking: Asking, options: CodeOptions) -> GenerationRequest:
    if asking.style is PromptStyle.RAW:
        return request_of(asking, problem, sample, problem.prompt, stops=stops_of(problem, options))
    assert isinstance(problem.checker, Tests)
    question = chat_prompt(problem.prompt, problem.checker.language)
    return request_of(asking, problem, sample, [Message(role="user", content=question)])


class CodeSession(Session):
    """Assembles programs and runs them in the sandbox."""

    suite: CodeSuite

    def __init__(self, suite: CodeSuite, setting: Setting, options: CodeOptions, files: Sequence[Path] = ()) -> None:
        super().__init__(suite, suite.asking(setting, options), options)
        rows = [row for file in files for row in read_completion_file(file, suite.name, _only(setting.parts))]
        if files and not rows:
            raise UsageError(f"no completions in {', '.join(map(str, files))}")
        parts = frozenset(row.task.split("/")[-1] for row in rows) if rows else setting.parts
        chosen = self._chosen(parts, setting.say if not rows else lambda _: None)
        loaded = {task.task: load_problems(task, options.revision, setting.data_dir) for task in chosen}
        self._hashes = {name: found[1] for name, found in loaded.items()}
        self._problems = [problem for problems, _ in loaded.values() for problem in problems]
        self._given = match(rows, self._problems)
        self._sandbox, self._executor = _open_box(setting, parts, options)
        self._tasks: dict[str, CodeTask] = {}
        skipped: dict[str, str] = {}
        for task in chosen:
            try:
                self._sandbox.image(task.language.name)
                self._tasks[task.task] = task
            except InfrastructureError as error:
                skipped[task.task] = str(error)
        self.skipped = skipped
        if not self._tasks:
            self.close()
            raise InfrastructureError(f"no language of {suite.name} can run here: {next(iter(skipped.values()))}")
        self._limits = {name: task.limits(options, _host_factor()) for name, task in self._tasks.items()}

    def _chosen(self, parts: frozenset[str] | None, say: Any) -> list[CodeTask]:
        tasks, mine = self.suite.code_tasks, self.suite.parts()
        if parts is None:
            return tasks
        for part in parts:
            if part not in language_names():
                raise UsageError(unknown("language", part, list(language_names())))
        chosen = [task for task in tasks if task.language.name in parts]
        if not chosen:
            raise UsageError(f"suite {self.suite.name} has none of the languages {', '.join(sorted(parts))}")
        for part in sorted(parts - set(mine)):
            say(f"suite {self.suite.name} has no {part}")
        return chosen

    def problems(self) -> list[Problem]:
        return self._problems

    def given(self) -> list[Work]:
        return self._given

    def describe(self) -> Facts:
        images = {t.language.name: self._sandbox.image(t.language.name) for t in self._tasks.values()}
        return Facts(
            data=self._hashes,
            limits={name: limits.key for name, limits in self._limits.items()},
            images={language: image.digest for language, image in images.items()},
            toolchains={language: image.version for language, image in images.items()},
            sandbox=self._sandbox.name,
        )

    def request(self, problem: Problem, sample: int, history: Sequence[Completion]) -> GenerationRequest | None:
        return None if history else _request(problem, sample, self.asking, self.options)

    def program(self, work: Work) -> Program:
        if work.source is not None:
            return program_of(work.problem, work.source, self.options)
        return assemble(work.problem, work.completion, self.options)

    def examine(self) -> None:
        """Known programs through the slots of this run. The nodes of a cluster have examined theirs before they took
        part."""
        from codecard.sandbox import Executor
        from codecard.sandbox.doctor import examine

        if isinstance(self._executor, Executor):
            examine(self._executor, {t.language.name: self._limits[name] for name, t in self._tasks.items()})

    @property
    def busy_s(self) -> float | None:  # type: ignore[override]
        return self._executor.busy_s

    @property
    def workers(self) -> int | None:  # type: ignore[override]
        return self._executor.workers

    def key(self, work: Work) -> str:
        return self._key(work.problem.task, self.program(work))

    def _key(self, task: str, program: Program) -> str:
        digest = self._sandbox.image(self._tasks[task].language.name).digest
        return content_key([program.key, digest, self._limits[task].key])

    def evaluate(self, works: Iterable[Work]) -> Iterator[Outcome]:
        from codecard.sandbox import Job

        jobs = (Job(tag=work, program=self.program(work), limits=self._limits[work.problem.task]) for work in works)
        for job, execution in self._executor.execute(jobs):
            assert isinstance(job.tag, Work)
            yield self._outcome(job.tag, job.program, execution)

    def _outcome(self, work: Work, program: Program, execution: Execution) -> Outcome:
        verdict = execution.verdict
        return work.outcome(
            verdict.value,
            None if verdict.void else float(self.passes(verdict)),
            self._key(work.problem.task, program),
            void=Void(who="sandbox", why=execution.reason) if verdict.void else None,
            stage=execution.stage.value,
            exit_code=execution.exit_code,
            signal=execution.signal,
            cpu_s=execution.cpu_s,
            wall_s=execution.wall_s,
            peak_memory_bytes=execution.peak_memory_bytes,
            stdout=execution.stdout,
            stderr=execution.stderr,
            image=execution.image,
            attempts=execution.attempts,
            program=program.source,
        )

    def counted(self, outcome: Outcome) -> float | None:
        verdict = Verdict(outcome.verdict)
        return None if verdict.void else float(self.passes(verdict))

    def passes(self, verdict: Verdict) -> bool:
        """The profile's choice: the reference asks for status 0 alone, and counts an early exit as a pass."""
        return verdict is Verdict.PASSED or (verdict is Verdict.EARLY_EXIT and self.options.early_exit_passes)

    def close(self) -> None:
        self._executor.__exit__()
        self._sandbox.close()


def _only(parts: frozenset[str] | None) -> str | None:
    """The one language that files are in where they do not name it."""
    return next(iter(parts)) if parts is not None and len(parts) == 1 else None


def _host_factor() -> float:
    from codecard.sandbox.host import stored_host_factor

    return stored_host_factor()


def _open_box(
    setting: Setting, parts: frozenset[str] | None, options: CodeOptions
) -> tuple[Sandbox, Executor | RayExecutor]:
    """Where programs run, and who runs them there: this process, or the nodes of a cluster."""
    from codecard.sandbox import Executor, open_sandbox

    plain = options.executor == "plain"
    if setting.cluster is None:
        sandbox = open_sandbox(setting.sandbox, setting.say)
        return sandbox, Executor(sandbox, setting.workers, plain=plain)
    from codecard.sandbox.ray_ import RayExecutor, RaySandbox

    box = RaySandbox(setting.cluster, setting.sandbox, parts, plain=plain)
    return box, RayExecutor(box)
