"""Build and run of one program: the warm way where there is one, the plain commands wherever it does not settle it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from codecard.languages import Toolchain, find_language
from codecard.model import Execution, Limits, Program, Stage, Verdict
from codecard.sandbox import proof
from codecard.sandbox.port import Sandbox, Slot, SlotDied, StageAnswer, StageRequest
from codecard.sandbox.verdicts import build_verdict, compiler_rejected, run_verdict, worth_repeating

Slots = dict[tuple[str, Stage], Slot]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A program to be run for one sample; `tag` is handed back with its execution."""

    tag: object
    program: Program
    limits: Limits


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
        name = proof.new_name()
        files = {self.tools.source: proof.planted(program, name).encode("utf-8", "surrogatepass")}
        if self.tools.build:
            assert limits.build is not None
            built = self._build(files)
            failed = build_verdict(built)
            if failed:
                again = worth_repeating(built, failed, limits.build.cpu_s, limits.build.wall_s)
                return self._execution(built, failed, Stage.BUILD), again
            files = dict(built.files)
        ran = self._run(files, name)
        verdict = run_verdict(ran, self.language, proof_planted=program.proof_at is not None)
        again = worth_repeating(ran, verdict, limits.run.cpu_s, limits.run.wall_s)
        return self._execution(ran, verdict, Stage.RUN), again

    def _build(self, files: dict[str, bytes]) -> StageAnswer:
        """A warm build counts when it succeeds; of what fails, what the compiler rejects, where it is trusted."""
        tools, warm, limits = self.tools, self.tools.warm, self.job.limits.build
        assert limits is not None
        if self.warm and (warm.build or warm.build_server) and self._fits(files[tools.source]):
            request = StageRequest(
                command=warm.build,
                files=files,
                limits=limits,
                collect=tools.artifacts,
                server=warm.build_server,
                server_kind=warm.build_kind,
            )
            answer = self._stage(Stage.BUILD, request)
            if build_verdict(answer) is None and answer.files:
                return answer
            if warm.build_failure_counts and compiler_rejected(answer):
                return answer
        return self._stage(
            Stage.BUILD, StageRequest(command=tools.build, files=files, limits=limits, collect=tools.artifacts)
        )

    def _fits(self, source: bytes) -> bool:
        warm = self.tools.warm
        unless = warm.build_unless and re.search(warm.build_unless.encode(), source)
        return source.startswith(warm.build_when.encode()) and not unless

    def _run(self, files: dict[str, bytes], name: str) -> StageAnswer:
        warm, limits, options = self.tools.warm, self.job.limits.run, self.job.program.options
        command = warm.run_command(options, limits)
        if self.warm and (command or warm.run_server):
            request = StageRequest(
                command=command,
                files=files,
                limits=limits,
                proof=name,
                server=warm.run_server,
                server_kind="fork" if warm.run_server else "",
            )
            answer = self._stage(Stage.RUN, request)
            if answer.killed != "server" and answer.killed not in warm.doubted:
                return answer
        command = self.tools.run_command(options)
        return self._stage(Stage.RUN, StageRequest(command=command, files=files, limits=limits, proof=name))

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
        slot = self.slots.pop(where, None)
        if slot is not None:
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
