"""From the facts of an execution to its verdict. Pure.

Only `passed`, `early_exit` and the void `sandbox_error` decide a number; the other verdicts say why a program
failed, and are read from what the language's own runtime prints. A program that prints the same can choose among
them, never a pass.
"""

from __future__ import annotations

import re
import signal

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

_TRACEBACK = rb"^Traceback \(most recent call last\):\n(?:.*\n)*"

# How a failed assertion of the MultiPL-E tests shows on stderr (PHP: or stdout, as its configuration has it).
_ASSERTION = {
    "py": re.compile(_TRACEBACK + rb"AssertionError\b", re.M),
    "cpp": re.compile(rb"Assertion `"),
    "js": re.compile(rb"AssertionError|ERR_ASSERTION"),
    "java": re.compile(rb"java\.lang\.AssertionError"),
    "php": re.compile(rb"Exception: Test failed!"),
    "rs": re.compile(rb"panicked at .*assertion.{0,40}failed", re.S),
}

# How a runtime says that it got no more memory before the sandbox's own limit was reached.
_NO_MEMORY = {
    "py": re.compile(_TRACEBACK + rb"MemoryError\b", re.M),
    "cpp": re.compile(rb"^terminate called after throwing an instance of 'std::bad_alloc'", re.M),
    "js": re.compile(rb"^FATAL ERROR: .*out of memory", re.M),
    "java": re.compile(rb"java\.lang\.OutOfMemoryError"),
    "php": re.compile(rb"Fatal error: +(Allowed memory size|Out of memory)"),
    "rs": re.compile(rb"^memory allocation of \d+ bytes failed", re.M),
}

# A program of an interpreted language that did not even parse: it has no build stage to fail in. Its runtime names
# the program's own file as the place, and nothing of the program has run.
_UNPARSED = {
    "py": re.compile(
        rb'\A(?:(?!Traceback |  File ).*\n)*  File "[^"\n]*/f\.py", line \d+\n'
        rb"(?:.*\n){0,3}?(?:SyntaxError|IndentationError|TabError): "
        rb"|\ASyntaxError: (?:encoding problem|unknown encoding|Non-UTF-8 code|source code cannot)"
    ),
    "js": re.compile(rb"\A/\S*/f\.js:\d+\n(?:.*\n)*SyntaxError: .*\n    at (?:wrapSafe|internalCompileFunction|node:)"),
    "php": re.compile(rb"^(?:PHP )?(?:Parse|Fatal) error: .* in \S*/f\.php on line \d+$", re.M),
}
_PHP_COMPILE_ERROR = re.compile(
    rb"error: +(?:syntax error|Cannot redeclare|Cannot use|Unclosed|Unterminated|.*unexpected)"
)


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


def run_verdict(answer: StageAnswer, language: str, *, proof_planted: bool) -> Verdict:
    if answer.killed:
        return _KILLED[answer.killed]
    if answer.exit_code == 0:
        return Verdict.PASSED if answer.proved or not proof_planted else Verdict.EARLY_EXIT
    if answer.oom or _NO_MEMORY[language].search(answer.stderr):
        return Verdict.MEMORY
    if _unparsed(answer, language):
        return Verdict.BUILD_ERROR
    return Verdict.WRONG if _assertion_failed(answer, language) else Verdict.RUNTIME_ERROR


def _assertion_failed(answer: StageAnswer, language: str) -> bool:
    if language == "cpp" and answer.signal != signal.SIGABRT:
        return False
    said = answer.stderr + b"\n" + answer.stdout if language == "php" else answer.stderr
    return _ASSERTION[language].search(said) is not None


def _unparsed(answer: StageAnswer, language: str) -> bool:
    if language not in _UNPARSED:
        return False
    said = answer.stderr
    if language == "php":  # errors go to stderr, stdout or both, as its configuration has it
        said = answer.stderr or answer.stdout
        return bool(_UNPARSED["php"].search(said) and _PHP_COMPILE_ERROR.search(said))
    return not answer.stdout and _UNPARSED[language].search(said) is not None


def worth_repeating(answer: StageAnswer, verdict: Verdict, limit_cpu_s: float, limit_wall_s: float) -> bool:
    """A pass within a fifth of a limit, or a time-out while the machine was overloaded, is run again alone."""
    own_wall = answer.wall_s - answer.delayed_s
    if verdict is Verdict.PASSED:
        return answer.cpu_s > 0.8 * limit_cpu_s or own_wall > 0.8 * limit_wall_s
    return verdict is Verdict.TIMEOUT and answer.delayed_s > 0.1 * limit_wall_s


def publishable(executions: int, voids: int) -> tuple[bool, str]:
    """Whether a run's numbers may be published, and the reason in one line when not."""
    if not 0 <= voids <= executions:
        raise ValueError(f"{voids} voids of {executions} executions")
    if voids <= VOID_SHARE * executions:
        return True, ""
    share = 100 * voids / executions
    return False, (
        f"not publishable: the sandbox failed on {voids} of {executions} programs ({share:.1f} %, the limit is "
        f"{100 * VOID_SHARE:.0f} %); mend the machine (codecard doctor) and resume the run"
    )
