"""Recorded chat answers, extracted and run: none that the reference evaluator accepted is lost through cutting.

Programs run inside bubblewrap (no network, nothing writable but a scratch folder): they are a model's. The
quick languages run whole; C++ and Java, whose compilers take seconds, every tenth problem.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from codecard.answers.code import chat_program
from folders import Row

pytestmark = [pytest.mark.bwrap, pytest.mark.data, pytest.mark.toolchain]

JAR = "/usr/share/java/javatuples-1.2.jar"
COMMANDS = {
    "py": "python3 f.py",
    "js": "node f.js",
    "php": "php f.php",
    "rs": "rustc f.rs -o f && ./f",
    "cpp": "g++ f.cpp -o f -std=c++17 && ./f",
    "java": f"javac -encoding UTF8 -cp {JAR} -d . f.java && java -ea -cp .:{JAR} Problem",
}
STEPS = {"py": 1, "js": 1, "php": 1, "rs": 3, "cpp": 10, "java": 10}
CHECKED = {"py": 92, "js": 86, "php": 75, "rs": 28, "cpp": 8, "java": 8}
BWRAP = (
    "bwrap --unshare-all --die-with-parent --ro-bind /usr /usr --ro-bind /etc /etc --symlink usr/lib /lib "
    "--symlink usr/lib64 /lib64 --symlink usr/bin /bin --proc /proc --dev /dev --tmpfs /tmp --chdir /work "
    "--clearenv --setenv PATH /usr/bin --setenv HOME /tmp --bind"
)


def rows(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def passes(language: str, source: str, scratch: Path) -> bool:
    scratch.mkdir()
    (scratch / f"f.{language}").write_text(source, encoding="utf-8")
    command = [*BWRAP.split(), str(scratch), "/work", "sh", "-c", COMMANDS[language]]
    try:
        return subprocess.run(command, check=False, capture_output=True, timeout=120).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def own_tests(row: Row) -> str:
    """The tests at the end of a recorded Python program (OpenAI's, not MultiPL-E's)."""
    program = str(row["program"])
    starts = [program.find(mark) for mark in ("\nMETADATA", "\ndef check(")]
    return program[min(at for at in starts if at >= 0) + 1 :]


def accepted(language: str, references: list[Row]) -> list[str]:
    """Problems of which the reference passed a program that truly ran its tests.

    A PHP program that closes its tag prints the tests instead of running them: its pass proves nothing.
    """
    names: dict[str, None] = {}
    for row in references:
        program = str(row["program"])
        tests_at = program.find("function candidate(")
        printed = language == "php" and program.rfind("?>", 0, tests_at) > program.rfind("<?php", 0, tests_at)
        if row["set"] in ("gpt", "gptfree") and row["reference"]["passed"] and not printed:
            names[str(row["problem"])] = None
    return list(names)


@pytest.mark.parametrize("language", sorted(COMMANDS))
def test_no_accepted_answer_is_lost(
    language: str, data_dir: Path, tmp_path: Path, absent: Callable[[str, str], None]
) -> None:
    """Every problem whose recorded answer the reference accepted is accepted as extracted here."""
    for tool in ("bwrap", COMMANDS[language].split()[0]):
        if not shutil.which(tool, path="/usr/bin"):
            absent(f"no {tool}", f"install {tool}")
    problems = {row["name"]: row for row in rows(data_dir / "multipl_e" / f"humaneval-{language}.jsonl")}
    answers = {row["problem"]: row for row in rows(data_dir / "completions" / f"chat-gpt.{language}.jsonl")}
    references = rows(data_dir / "completions" / f"reference.{language}.jsonl")
    recorded = {row["problem"]: row for row in references if row["set"] == "gpt"}

    def lost(name: str) -> str | None:
        problem = problems[name]
        tests = own_tests(recorded[name]) if language == "py" else str(problem["tests"])
        stops = [str(stop) for stop in problem["stop_tokens"]]
        source = chat_program(str(problem["prompt"]), str(answers[name]["answer"]), tests, language, stops)
        return None if passes(language, source, tmp_path / name) else name

    names = [name for name in accepted(language, references) if name in answers][:: STEPS[language]]
    with ThreadPoolExecutor(2) as pool:
        assert [name for name in pool.map(lost, names) if name] == []
    assert len(names) == CHECKED[language]
