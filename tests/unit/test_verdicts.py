"""The rules that turn facts into verdicts: nothing that a program prints makes a pass, and little misleads at all."""

from __future__ import annotations

import signal
from dataclasses import replace

import pytest

from codecard.languages import language_names
from codecard.model import Verdict
from codecard.sandbox.port import StageAnswer
from codecard.sandbox.verdicts import build_verdict, compiler_rejected, run_verdict, unpublishable, worth_repeating

ENDED_WELL = StageAnswer(
    exit_code=0, signal=None, killed="", oom=False, proved=True, clean=True,
    cpu_s=0.1, wall_s=0.2, delayed_s=0.0, peak_memory_bytes=1, output_bytes=0,
)  # fmt: skip
TRACE = b'Traceback (most recent call last):\n  File "/tmp/work/f.py", line 1, in <module>\n'


def failed(code: int | None = 1, *, signal: int | None = None, err: bytes = b"", out: bytes = b"") -> StageAnswer:
    return replace(ENDED_WELL, exit_code=code, signal=signal, stderr=err, stdout=out, proved=False)


@pytest.mark.parametrize("language", language_names())
def test_a_program_with_a_planted_proof_passes_only_by_it(language: str) -> None:
    """Status 0 is a pass only where the tests ran to their end, or where nobody could have proved it."""
    unproved = replace(ENDED_WELL, proved=False)
    assert run_verdict(ENDED_WELL, language, proof_planted=True) is Verdict.PASSED
    assert run_verdict(unproved, language, proof_planted=True) is Verdict.EARLY_EXIT
    assert run_verdict(unproved, language, proof_planted=False) is Verdict.PASSED


@pytest.mark.parametrize("language", language_names())
def test_a_bad_end_outweighs_the_proof(language: str) -> None:
    """Tests that passed, and then a crash: the reference harness fails it, and so do we."""
    assert run_verdict(replace(ENDED_WELL, exit_code=3), language, proof_planted=True) is Verdict.RUNTIME_ERROR
    assert run_verdict(replace(ENDED_WELL, killed="cpu"), language, proof_planted=True) is Verdict.TIMEOUT


@pytest.mark.parametrize(
    ("killed", "verdict"),
    [("cpu", Verdict.TIMEOUT), ("wall", Verdict.TIMEOUT), ("memory", Verdict.MEMORY), ("output", Verdict.OUTPUT_LIMIT)],
)
def test_the_agents_reason_decides_the_verdict(killed: str, verdict: Verdict) -> None:
    answer = replace(failed(None, signal=signal.SIGKILL), killed=killed)
    assert run_verdict(answer, "cpp", proof_planted=True) is verdict
    assert build_verdict(answer) is verdict


def test_an_out_of_memory_kill_is_a_memory_verdict() -> None:
    killed = replace(failed(None, signal=signal.SIGKILL), oom=True)
    assert run_verdict(killed, "py", proof_planted=True) is Verdict.MEMORY
    assert build_verdict(killed) is Verdict.MEMORY
    assert run_verdict(replace(ENDED_WELL, oom=True), "py", proof_planted=True) is Verdict.PASSED


REJECTION = failed(1, err=b"f.cpp:3:5: error: 'x' was not declared in this scope")


def test_a_programs_own_error_is_a_rejection_by_the_compiler() -> None:
    assert compiler_rejected(REJECTION)
    assert compiler_rejected(failed(1, err=b"f.java:3: error: ';' expected"))
    assert compiler_rejected(failed(1, err=b"warning: x\n\nerror[E0425]: cannot find value `y`\n --> f.rs:2:5\n"))
    assert compiler_rejected(failed(1, err=b"error: expected one of `!` or `::`\n  --> f.rs:2:5\n"))
    assert compiler_rejected(failed(1, err=b"f.cpp:3:9: fatal error: x.h: No such file or directory\n    3 | #include"))


@pytest.mark.parametrize(
    "answer",
    [
        replace(REJECTION, exit_code=3),  # the linker's
        replace(REJECTION, exit_code=4),  # an internal error
        replace(REJECTION, exit_code=None, signal=signal.SIGKILL),
        replace(REJECTION, killed="cpu"),
        replace(REJECTION, killed="server"),
        replace(REJECTION, oom=True),
        failed(1, err=b""),
        failed(1, err=b"error: linking with `cc` failed: exit status: 1\n  |\n  = note: undefined reference to `f`"),
        failed(1, err=b"cc1plus: error: out of something"),
        failed(1, err=b"f.cpp:2: error: a\nf.cpp:3: fatal error: error writing to f.s: No space left on device"),
        failed(1, err=b"f.cpp:2:1: error: a\ncc1plus: fatal error: can't open f.s: No such file or directory"),
        failed(1, err=b"f.cpp:2: internal compiler error: error: in cp_parser"),
        failed(1, err=b"f.cpp:2:17: error: specialization of 'std::vector<int>' after instantiation"),
    ],
)
def test_our_trouble_is_never_called_the_programs_error(answer: StageAnswer) -> None:
    """A build that fails for a reason that the plain command may not have is the plain command's to judge."""
    assert not compiler_rejected(answer)


def test_a_program_that_raises_sigxcpu_is_no_time_out() -> None:
    """The agent says `cpu` when the time was used up; the signal alone is the program's own doing."""
    answer = failed(None, signal=signal.SIGXCPU)
    assert run_verdict(answer, "py", proof_planted=True) is Verdict.RUNTIME_ERROR
    assert build_verdict(answer) is Verdict.BUILD_ERROR


@pytest.mark.parametrize(
    ("language", "answer"),
    [
        ("py", failed(err=b'  File "/tmp/work/f.py", line 1\n    x = (1\n        ^\nSyntaxError: never closed\n')),
        ("py", failed(err=b'  File "/tmp/work/f.py", line 3\n    y=2\nTabError: inconsistent use of tabs\n')),
        ("py", failed(err=b"SyntaxError: encoding problem: foo\n")),
        ("js", failed(err=b"/tmp/work/f.js:1\nlet x = (;\n\nSyntaxError: Unexpected token ';'\n    at wrapSafe (n)\n")),
        (
            "php",
            failed(255, err=b'PHP Parse error:  syntax error, unexpected token ";" in /tmp/work/f.php on line 1\n'),
        ),
        ("php", failed(255, out=b"\nFatal error: Cannot redeclare a() in /tmp/work/f.php on line 1\n")),
    ],
)
def test_a_program_that_does_not_parse_is_a_build_error(language: str, answer: StageAnswer) -> None:
    assert run_verdict(answer, language, proof_planted=True) is Verdict.BUILD_ERROR


@pytest.mark.parametrize(
    ("language", "answer"),
    [
        ("py", failed(err=b"SyntaxError: invalid syntax\n")),
        ("py", failed(err=TRACE + b'  File "<string>", line 1\n    (\n    ^\nSyntaxError: never closed\n')),
        ("py", failed(out=b"SyntaxError: invalid syntax\n")),
        (
            "js",
            failed(err=b"/tmp/work/f.js:1\nthrow e\n^\n\nSyntaxError: x\n    at Object.<anonymous> (/tmp/work/f.js)\n"),
        ),
        ("js", failed(out=b"ran", err=b"/tmp/work/f.js:1\n\nSyntaxError: x\n    at wrapSafe (n)\n")),
        ("php", failed(255, err=b"PHP Parse error:  syntax error in /tmp/work/f.php(1) : eval()'d code on line 1\n")),
    ],
)
def test_a_forged_syntax_error_is_never_believed(language: str, answer: StageAnswer) -> None:
    assert run_verdict(answer, language, proof_planted=True) is Verdict.RUNTIME_ERROR


@pytest.mark.parametrize(
    ("language", "answer"),
    [
        ("py", failed(err=TRACE + b"    check(f)\nAssertionError\n")),
        ("py", failed(err=TRACE + b"AssertionError: 3 != 4\n")),
        ("cpp", failed(None, signal=signal.SIGABRT, err=b"b: f.cpp:9: int main(): Assertion `f(1) == 2' failed.\n")),
        ("js", failed(err=b"node:assert:125\nAssertionError [ERR_ASSERTION]: 1 == 2\n")),
        ("java", failed(err=b'Exception in thread "main" java.lang.AssertionError\n\tat Problem.main(x)\n')),
        ("php", failed(255, err=b"PHP Fatal error:  Uncaught Exception: Test failed! in /tmp/work/f.php:9\n")),
        ("php", failed(255, out=b"Fatal error: Uncaught Exception: Test failed! in /tmp/work/f.php:9\n")),
        ("rs", failed(101, err=b"thread 'main' panicked at f.rs:9:5:\nassertion `left == right` failed\n")),
        ("rs", failed(101, err=b"thread 'main' panicked at 'assertion failed: `(left == right)`', f.rs:9\n")),
    ],
)
def test_a_failed_assertion_is_a_wrong_answer(language: str, answer: StageAnswer) -> None:
    assert run_verdict(answer, language, proof_planted=True) is Verdict.WRONG


def test_a_printed_assertion_is_never_believed() -> None:
    assert run_verdict(failed(out=b"AssertionError\n"), "py", proof_planted=True) is Verdict.RUNTIME_ERROR
    printed = failed(err=b"b: f.cpp:9: int main(): Assertion `f(1) == 2' failed.\n")
    assert run_verdict(printed, "cpp", proof_planted=True) is Verdict.RUNTIME_ERROR


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("py", TRACE + b"MemoryError\n"),
        ("cpp", b"terminate called after throwing an instance of 'std::bad_alloc'\n  what():  std::bad_alloc\n"),
        ("js", b"FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory\n"),
        ("java", b'Exception in thread "main" java.lang.OutOfMemoryError: Java heap space\n'),
        ("php", b"PHP Fatal error:  Allowed memory size of 134217728 bytes exhausted\n"),
        ("rs", b"memory allocation of 1125899906842624 bytes failed\n"),
    ],
)
def test_a_runtime_that_runs_out_of_memory_is_a_memory_verdict(language: str, said: bytes) -> None:
    """Whether the runtime or the kernel notices first depends on the machine; the verdict must not."""
    assert run_verdict(failed(err=said), language, proof_planted=True) is Verdict.MEMORY


def test_a_pass_close_to_a_limit_is_run_again() -> None:
    near = replace(ENDED_WELL, cpu_s=0.9)
    assert worth_repeating(near, Verdict.PASSED, 1.0, 10.0)
    assert not worth_repeating(ENDED_WELL, Verdict.PASSED, 1.0, 10.0)
    assert not worth_repeating(near, Verdict.WRONG, 1.0, 10.0)
    late = replace(ENDED_WELL, wall_s=9.0)
    assert worth_repeating(late, Verdict.PASSED, 1.0, 10.0)
    assert not worth_repeating(replace(late, delayed_s=5.0), Verdict.PASSED, 1.0, 10.0)


def test_a_time_out_on_a_loaded_machine_is_run_again() -> None:
    assert worth_repeating(replace(ENDED_WELL, killed="wall", delayed_s=2.0), Verdict.TIMEOUT, 1.0, 10.0)
    assert not worth_repeating(replace(ENDED_WELL, killed="wall"), Verdict.TIMEOUT, 1.0, 10.0)


def test_a_run_with_more_than_one_void_in_a_hundred_is_not_publishable() -> None:
    """Above one void in a hundred, the numbers say more of the machine than of the model."""
    assert unpublishable(1000, 10) == ""
    assert unpublishable(0, 0) == ""
    assert "11 of 1000 programs (1.1%" in unpublishable(1000, 11)
    assert "codecard doctor" in unpublishable(1000, 11)
    with pytest.raises(ValueError, match="2 voids of 1"):
        unpublishable(1, 2)
