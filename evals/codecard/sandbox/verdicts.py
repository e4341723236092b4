"""From the facts of an execution to its verdict. Pure.

Only `passed`, `early_exit` and the void `sandbox_error` decide a number; the other verdicts say why a program
failed, and are read from what the language's own runtime prints.
"""

from __future__ import annotations

import re
import signal

from codecard.model import Verdict
from codecard.sandbox.port import StageAnswer

_KILLED = {
    "cpu": Verdict.TIMEOUT,
    "wall": Verdict.TIMEOUT,
    "memory": Verdict.MEMORY,
    "output": Verdict.OUTPUT_LIMIT,
}

# How a failed assertion of the MultiPL-E tests shows on stdout or stderr.
_ASSERTION = {
    "py": re.compile(rb"^AssertionError", re.M),
    "cpp": re.compile(rb"Assertion `"),
    "js": re.compile(rb"AssertionError|ERR_ASSERTION"),
    "java": re.compile(rb"java\.lang\.AssertionError"),
    "php": re.compile(rb"Exception: Test failed!"),
    "rs": re.compile(rb"assertion.{0,40}failed", re.S),
}

# A program of an interpreted language that did not even parse; it has no build stage to fail in.
_UNPARSED = {
    "py": re.compile(rb"\A(?!.*^Traceback ).*^(SyntaxError|IndentationError|TabError): ", re.S | re.M),
    "js": re.compile(rb"^SyntaxError: .*\n    at (wrapSafe|internalCompileFunction|node:)", re.M),
    "php": re.compile(rb"^(PHP )?(Parse|Fatal) error: .*(syntax error|Cannot redeclare|Unclosed|unexpected)", re.M),
}


def build_verdict(answer: StageAnswer) -> Verdict | None:
    """None when the build succeeded."""
    if answer.killed:
        return _KILLED[answer.killed]
    if answer.exit_code == 0:
        return None
    if answer.oom:
        return Verdict.MEMORY
    return Verdict.TIMEOUT if answer.signal == signal.SIGXCPU else Verdict.BUILD_ERROR


def run_verdict(answer: StageAnswer, language: str, *, proof_planted: bool) -> Verdict:
    if answer.killed:
        return _KILLED[answer.killed]
    if answer.exit_code == 0:
        return Verdict.PASSED if answer.proved or not proof_planted else Verdict.EARLY_EXIT
    if answer.signal == signal.SIGXCPU:
        return Verdict.TIMEOUT
    if answer.oom:
        return Verdict.MEMORY
    text = answer.stderr + b"\n" + answer.stdout
    if language in _UNPARSED and _UNPARSED[language].search(text):
        return Verdict.BUILD_ERROR
    return Verdict.WRONG if _ASSERTION[language].search(text) else Verdict.RUNTIME_ERROR


def worth_repeating(answer: StageAnswer, verdict: Verdict, limit_cpu_s: float, limit_wall_s: float) -> bool:
    """A pass within a fifth of a limit, or a time-out while the machine was overloaded, is run again alone."""
    own_wall = answer.wall_s - answer.delayed_s
    if verdict is Verdict.PASSED:
        return answer.cpu_s > 0.8 * limit_cpu_s or own_wall > 0.8 * limit_wall_s
    return verdict is Verdict.TIMEOUT and answer.delayed_s > 0.1 * limit_wall_s
