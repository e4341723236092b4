"""Proof that this machine's sandbox works before a run leans on it: programs whose verdicts are known, per language.

A wall that stands gives the program that tries it a verdict other than `passed`; a pass there means that the wall is
open.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Mapping
from dataclasses import dataclass

from codecard.model import Execution, InfrastructureError, Limits, StageLimits, Verdict
from codecard.sandbox.executor import Executor
from codecard.sandbox.host import LANGUAGE, HostFactor, measure_host_factor
from codecard.sandbox.known import known_programs
from codecard.sandbox.port import Sandbox, SlotDied
from codecard.sandbox.stages import Job

LIMITS = Limits(
    run=StageLimits(cpu_s=5, wall_s=10, memory_bytes=512 * 1024**2, output_bytes=1024**2),
    build=StageLimits(cpu_s=60, wall_s=120),
)
EXPECTED: dict[str, tuple[Verdict, ...]] = {
    "good": (Verdict.PASSED,),
    "wrong": (Verdict.WRONG,),
    "build_error": (Verdict.BUILD_ERROR,),
    "runtime_error": (Verdict.RUNTIME_ERROR,),
    "timeout": (Verdict.TIMEOUT,),
    "early_exit": (Verdict.EARLY_EXIT,),
    "memory": (Verdict.MEMORY,),
    "forks": (Verdict.TIMEOUT, Verdict.MEMORY, Verdict.RUNTIME_ERROR),
    "floods": (Verdict.OUTPUT_LIMIT,),
    "network": (Verdict.RUNTIME_ERROR,),
    "writes_outside": (Verdict.RUNTIME_ERROR,),
}
"""The verdicts that each kind of program may get. Who starts processes or threads without end meets a limit, but
which one first is a matter of the machine."""
SHORT = ("good", "wrong", "early_exit")
"""What `codecard run` looks at before it starts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing looked at. `kind` is a key of EXPECTED, or `toolchain`; `detail` says what was seen."""

    language: str
    kind: str
    fine: bool
    expected: str
    seen: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """All findings, in order of language; `host` is None in the short form or where it could not be measured."""

    sandbox: str
    findings: tuple[Finding, ...]
    host: HostFactor | None = None

    @property
    def fine(self) -> bool:
        return all(finding.fine for finding in self.findings)


def examine(executor: Executor, limits: Mapping[str, Limits]) -> None:
    """The short form for these languages, on the slots and under the limits that a run is about to use.

    Raises InfrastructureError with what is off.
    """
    diagnosis = diagnose(executor.sandbox, tuple(limits), short=True, executor=executor, limits=limits)
    off = [found for found in diagnosis.findings if not found.fine]
    if off:
        first, more = off[0], f" (and {len(off) - 1} more)" if len(off) > 1 else ""
        what = f"{first.language} {first.kind}".strip()
        raise InfrastructureError(
            f"the {diagnosis.sandbox} sandbox is not sound: {what}: expected {first.expected}, saw {first.seen}{more}; "
            "try: codecard doctor"
        )


def diagnose(
    sandbox: Sandbox, languages: tuple[str, ...], *, short: bool, executor: Executor | None = None,
    limits: Mapping[str, Limits] | None = None,
) -> Diagnosis:  # fmt: skip
    """Run the known programs of these languages. Never raises for what is found: that is in the findings."""
    limits = limits or dict.fromkeys(languages, LIMITS)
    findings = [_toolchain(sandbox, language) for language in languages]
    kinds = SHORT if short else tuple(EXPECTED)
    jobs = [
        Job(tag=f"{program.language} {kind}", program=program, limits=limits[program.language])
        for found in findings
        if found.fine
        for kind, program in known_programs(found.language).items()
        if kind in kinds
    ]
    try:
        with contextlib.nullcontext(executor) if executor else Executor(sandbox) as pool:
            findings += [_judged(str(job.tag), execution) for job, execution in pool.execute(jobs)]
    except InfrastructureError as error:
        findings.append(Finding(language="", kind="sandbox", fine=False, expected="starts", seen=str(error)))
    measured = None
    if not short and any(found.fine and (found.language, found.kind) == (LANGUAGE, "good") for found in findings):
        try:
            measured = measure_host_factor(sandbox)
        except (SlotDied, InfrastructureError) as error:
            findings.append(Finding(language=LANGUAGE, kind="sandbox", fine=False, expected="starts", seen=str(error)))
    order = list(itertools.product(languages, ("toolchain", *EXPECTED)))
    findings.sort(key=lambda found: order.index((found.language, found.kind)) if found.kind != "sandbox" else -1)
    return Diagnosis(sandbox=sandbox.name, findings=tuple(findings), host=measured)


def _toolchain(sandbox: Sandbox, language: str) -> Finding:
    try:
        image = sandbox.image(language)
    except InfrastructureError as error:
        return Finding(language=language, kind="toolchain", fine=False, expected="there", seen=str(error))
    seen, detail = image.version, image.digest
    return Finding(language=language, kind="toolchain", fine=True, expected="there", seen=seen, detail=detail)


def _judged(tag: str, execution: Execution) -> Finding:
    language, kind = tag.split()
    allowed = EXPECTED[kind]
    fine = execution.verdict in allowed
    said = (execution.reason or execution.stderr or execution.stdout).strip().splitlines()
    measured = f"{execution.cpu_s:.2f} s CPU, {execution.wall_s:.2f} s, {execution.peak_memory_bytes / 2**20:.0f} MiB"
    return Finding(
        language=language,
        kind=kind,
        fine=fine,
        expected=" or ".join(allowed),
        seen=execution.verdict,
        detail=measured if fine or not said else f"{measured}; {said[-1][:160]}",
    )
