"""From the facts of an execution to its verdict. Pure.

Only `passed`, `early_exit` and the void `sandbox_error` decide a number; the other verdicts say why a program
failed, and are read from what the language's own runtime prints. A program that prints the same can choose among
them, never a pass.
"""

from __future__ import annotations

import re

from codecard.languages import Verdicts, find_language
from codecard.model import Verdict
from codecard.sandbox.port import StageAnswer

VOID_SHARE = 0.01
"""Share of void executions above which a run is not to be published."""

_KILLED = {
    "cpu": Verdict.TIMEOUT,
    "wall": Verdict.TIMEOUT,
    "memory": Verdict.MEMORY,
    "output": Verdict.OUTPUT_LIMIT,
    "server": Verdict.SANDBOX_ERROR,  # says nothing: the plain command is asked instead
}


def build_verdict(answer: StageAnswer) -> Verdict | None:
    """None when the build succeeded."""
    if answer.killed:
        return _KILLED[answer.killed]
    if answer.exit_code == 0:
        return None
    return Verdict.MEMORY if answer.oom else Verdict.BUILD_ERROR


# Compilers name the place in the program; linkers and those who cannot read or write do not.
# A header that is not there ends a compiler, too, and is as much the program's doing.
_REJECTED = re.compile(rb"^\S+:\d+: error: |^\S+:\d+:\d+: (?:fatal )?error: |^error(?:\[E\d+\])?: .*\n +--> ", re.M)
_OTHER_TROUBLE = re.compile(
    rb"fatal error: (?!\S+: No such file or directory$)|internal compiler error|after instantiation", re.M
)


def compiler_rejected(answer: StageAnswer) -> bool:
    """Whether a failed build is the compiler's word on the program, and neither its own trouble nor our doing."""
    plainly = answer.exit_code == 1 and not answer.killed and not answer.oom
    return plainly and bool(_REJECTED.search(answer.stderr)) and not _OTHER_TROUBLE.search(answer.stderr)


def run_verdict(answer: StageAnswer, name: str, *, proof_planted: bool) -> Verdict:
    """The verdict on a run of a program in the language `name`."""
    if answer.killed:
        return _KILLED[answer.killed]
    if answer.exit_code == 0:
        return Verdict.PASSED if answer.proved or not proof_planted else Verdict.EARLY_EXIT
    printed = find_language(name).verdicts
    if answer.oom or printed.no_memory.search(answer.stderr):
        return Verdict.MEMORY
    if _unparsed(answer, printed):
        return Verdict.BUILD_ERROR
    return Verdict.WRONG if _assertion_failed(answer, printed) else Verdict.RUNTIME_ERROR


def _assertion_failed(answer: StageAnswer, printed: Verdicts) -> bool:
    if printed.assertion_signal not in (None, answer.signal):
        return False
    said = answer.stderr + b"\n" + answer.stdout if printed.reported_on == "both" else answer.stderr
    return printed.assertion.search(said) is not None


def _unparsed(answer: StageAnswer, printed: Verdicts) -> bool:
    """Its runtime names the program's own file as the place, and nothing of the program has run."""
    said = answer.stderr
    if printed.reported_on == "both":
        said = said or answer.stdout
    elif answer.stdout:
        return False
    return bool(printed.unparsed) and all(pattern.search(said) for pattern in printed.unparsed)


def worth_repeating(answer: StageAnswer, verdict: Verdict, limit_cpu_s: float, limit_wall_s: float) -> bool:
    """A pass within a fifth of a limit, or a time-out while the machine was overloaded, is run again alone."""
    own_wall = answer.wall_s - answer.delayed_s
    if verdict is Verdict.PASSED:
        return answer.cpu_s > 0.8 * limit_cpu_s or own_wall > 0.8 * limit_wall_s
    return verdict is Verdict.TIMEOUT and answer.delayed_s > 0.1 * limit_wall_s


def unpublishable(executions: int, voids: int) -> str:
    """Why a run's numbers may not be published; empty where they may."""
    if not 0 <= voids <= executions:
        raise ValueError(f"{voids} voids of {executions} executions")
    if voids <= VOID_SHARE * executions:
        return ""
    return (
        f"not publishable: the sandbox failed on {voids} of {executions} programs ({voids / executions:.1%}, the limit "
        f"is {VOID_SHARE:.0%}); mend the machine (codecard doctor) and resume the run"
    )
