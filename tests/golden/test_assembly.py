"""The assembled program against programs that the reference harness made of the same completions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from codecard.languages import language_names
from codecard.model import Completion, Tests, UsageError
from codecard.settings import load_profile
from codecard.suites import find_suite
from codecard.suites.code.problems import assemble, load_problems, program_of
from codecard.suites.code.suite import CodeSuite

SUITE = find_suite("multipl_e")
assert isinstance(SUITE, CodeSuite)
CARD = SUITE.configured(load_profile("card-2024-03"))
TASKS = {task.language.name: task for task in SUITE.code_tasks}


@pytest.mark.parametrize("language", ["cpp", "java", "js", "php", "rs"])
def test_an_assembled_program_equals_the_references_byte_for_byte(data_dir: Path, language: str) -> None:
    """One byte more or less in the program and every score of that language is another protocol's."""
    problems = {p.id: p for p in load_problems(TASKS[language], CARD.revision, data_dir)[0]}
    checked = 0
    with (data_dir / f"completions/reference.{language}.jsonl").open() as file:
        for row in map(json.loads, file):
            if row["set"] != "gpt":
                continue
            completion = Completion(task=row["task"], problem=row["problem"], sample=0, text=row["completion"])
            assert assemble(problems[row["problem"]], completion, CARD).source == row["program"], row["id"]
            checked += 1
    assert checked >= 98


@pytest.mark.parametrize("language", language_names())
def test_the_proof_is_planted_after_the_last_assertion(data_dir: Path, language: str) -> None:
    """The place is after the last assertion, and only braces and blanks follow it."""
    for problem in load_problems(TASKS[language], CARD.revision, data_dir)[0]:
        assert isinstance(problem.checker, Tests)
        program = program_of(problem, f"{problem.prompt}\n{problem.checker.source}", CARD)
        assert program.proof_at is not None
        assert set(program.source[program.proof_at :]) <= set("} \n")
        assert program.source[: program.proof_at].rstrip().endswith((";", ")", "}", "{"))


def test_a_problem_too_few_is_refused_with_the_count(data_dir: Path, tmp_path: Path) -> None:
    """A truncated data file would give a score over other problems without a word."""
    source = (data_dir / "multipl_e/humaneval-rs.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "multipl_e").mkdir()
    (tmp_path / "multipl_e/humaneval-rs.jsonl").write_text("".join(source[:-1]))
    with pytest.raises(UsageError, match="155 problems, but multipl_e/rs has 156"):
        load_problems(TASKS["rs"], CARD.revision, tmp_path)


def test_rows_with_foreign_stop_tokens_are_refused(data_dir: Path, tmp_path: Path) -> None:
    """Another revision's stop tokens cut completions elsewhere."""
    text = (data_dir / "multipl_e/humaneval-cpp.jsonl").read_text().replace('["\\n}"]', '["\\n}", "\\nint"]')
    (tmp_path / "multipl_e").mkdir()
    (tmp_path / "multipl_e/humaneval-cpp.jsonl").write_text(text)
    with pytest.raises(UsageError, match="stop tokens"):
        load_problems(TASKS["cpp"], CARD.revision, tmp_path)


def test_python_problems_have_the_stop_tokens_of_the_pinned_revision(data_dir: Path) -> None:
    """The Python rows carry a fifth stop string that the pinned revision has not; the definition decides."""
    problems = load_problems(TASKS["py"], CARD.revision, data_dir)[0]
    assert {p.stop_tokens for p in problems} == {("\ndef", "\n#", "\nif", "\nclass")}
