"""Build and run of one program: the warm way where there is one, the plain commands wherever it does not settle it.

The proof that the tests ran to their end is a statement, planted after the last assertion, that makes a file. The
file's name is drawn anew for every execution, so nothing that a program prints or exits with can stand for it. What
this does not claim: a program that knows codecard and searches its own text or memory for the name can forge it,
because tests and completion share one process in every MultiPL-E language.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace

from codecard.languages import Toolchain, find_language
from codecard.model import Execution, Limits, Program, Stage, StageLimits, Verdict
from codecard.sandbox.port import Sandbox, Slot, SlotDied, StageAnswer, StageRequest
from codecard.sandbox.verdicts import build_verdict, compiler_rejected, run_verdict, worth_repeating

Slots = dict[tuple[str, Stage], Slot]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A program to be run for one sample; `tag` is handed back with its execution."""

    tag: object
    program: Program
    limits: Limits


def new_name() -> str:
    return f".{secrets.token_hex(16)}"


def planted(program: Program, name: str) -> str:
    """The program's source with the proof in it; unchanged where no place for it is known."""
    if program.proof_at is None:
        return program.source
    statement = find_language(program.language).proof.statement.format(path=f"/tmp/{name}")  # noqa: S108 - the sandbox's scratch
    return program.source[: program.proof_at] + statement + program.source[program.proof_at :]


class Stages:
    """Build and run of one job on one worker's slots. `plain` keeps to the reference's commands."""

    def __init__(
        self, open_slot: Callable[[str, Stage], Slot], sandbox: Sandbox, slots: Slots, job: Job, *, plain: bool
    ) -> None:
        self.open_slot, self.sandbox, self.slots, self.job = open_slot, sandbox, slots, job
        self.language = job.program.language
        self.tools: Toolchain = find_language(self.language).toolchain
        self.warm = not plain and sandbox.image(self.language).warm

    def go(self) -> tuple[Execution, bool]:
        """The execution, and whether it is worth repeating alone. Raises SlotDied."""
        program, limits = self.job.program, self.job.limits
        name = new_name()
        files = {self.tools.source: planted(program, name).encode("utf-8", "surrogatepass")}
        if self.tools.build:
            assert limits.build is not None
            built = self._build(files, limits.build)
            failed = build_verdict(built)
            if failed:
                again = worth_repeating(built, failed, limits.build.cpu_s, limits.build.wall_s)
                return self._execution(built, failed, Stage.BUILD), again
            files = dict(built.files)
        ran = self._run(files, name)
        verdict = run_verdict(ran, self.language, proof_planted=program.proof_at is not None)
        again = worth_repeating(ran, verdict, limits.run.cpu_s, limits.run.wall_s)
        return self._execution(ran, verdict, Stage.RUN), again

    def _build(self, files: dict[str, bytes], limits: StageLimits) -> StageAnswer:
        """A warm build counts when it succeeds; of what fails, what the compiler rejects, where it is trusted."""
        tools, warm = self.tools, self.tools.warm
        plain = StageRequest(command=tools.build, files=files, limits=limits, collect=tools.artifacts)
        if self.warm and (warm.build or warm.build_server) and self._fits(files[tools.source]):
            served = replace(plain, command=warm.build, server=warm.build_server, server_kind=warm.build_kind)
            answer = self._stage(Stage.BUILD, served)
            if build_verdict(answer) is None and answer.files:
                return answer
            if warm.build_failure_counts and compiler_rejected(answer):
                return answer
        return self._stage(Stage.BUILD, plain)

    def _fits(self, source: bytes) -> bool:
        warm = self.tools.warm
        unless = warm.build_unless and re.search(warm.build_unless.encode(), source)
        return source.startswith(warm.build_when.encode()) and not unless

    def _run(self, files: dict[str, bytes], name: str) -> StageAnswer:
        warm, limits, options = self.tools.warm, self.job.limits.run, self.job.program.options
        plain = StageRequest(command=self.tools.run_command(options), files=files, limits=limits, proof=name)
        command = warm.run_command(options, limits)
        if self.warm and (command or warm.run_server):
            kind = "fork" if warm.run_server else ""
            answer = self._stage(Stage.RUN, replace(plain, command=command, server=warm.run_server, server_kind=kind))
            if answer.killed != "server" and answer.killed not in warm.doubted:
                return answer
        return self._stage(Stage.RUN, plain)

    def _stage(self, stage: Stage, request: StageRequest) -> StageAnswer:
        where = (self.language, stage)
        if where not in self.slots:
            self.slots[where] = self.open_slot(self.language, stage)
        try:
            answer = self.slots[where].run(request)
        except SlotDied:
            self._discard(where)
            raise
        if not answer.clean:
            self._discard(where)
        return answer

    def _discard(self, where: tuple[str, Stage]) -> None:
        if slot := self.slots.pop(where, None):
            slot.close()

    def _execution(self, answer: StageAnswer, verdict: Verdict, stage: Stage) -> Execution:
        return Execution(
            verdict=verdict,
            stage=stage,
            exit_code=answer.exit_code,
            signal=answer.signal,
            cpu_s=answer.cpu_s,
            wall_s=answer.wall_s,
            peak_memory_bytes=answer.peak_memory_bytes,
            stdout=answer.stdout.decode("utf-8", "replace"),
            stderr=answer.stderr.decode("utf-8", "replace"),
            image=self.sandbox.image(self.language).digest,
        )
