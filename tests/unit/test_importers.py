"""Completions made elsewhere: every format reads, every fault is named with file and place."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from codecard.model import Problem, PromptStyle, Tests, UsageError
from codecard.suites.importing import match, read_completion_file

PROBLEMS = [
    Problem(
        task="multipl_e/cpp",
        id=f"HumanEval_{n}_{name}",
        cluster=f"HumanEval_{n}",
        prompt=f"int {name}() {{",
        checker=Tests(language="cpp", source="}\nint main() { }\n"),
    )
    for n, name in ((0, "zero"), (2, "two"))
]


def write(path: Path, value: object) -> Path:
    data = json.dumps(value).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def lines(path: Path, *rows: Mapping[str, object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_bigcode_generations_lose_their_prompt_and_keep_their_order(tmp_path: Path) -> None:
    """The format repeats the prompt and names no problem: the data set's order decides."""
    path = write(
        tmp_path / "generations_multiple-cpp.json",
        [["int zero() { return 0;", "int zero() { return 1;"], ["int two() { return 2;"]],
    )
    found = match(read_completion_file(path, "multipl_e"), PROBLEMS)
    assert [(m.problem.id, m.sample, m.completion.text) for m in found] == [
        ("HumanEval_0_zero", 0, " return 0;"),
        ("HumanEval_0_zero", 1, " return 1;"),
        ("HumanEval_2_two", 0, " return 2;"),
    ]


def test_bigcode_generations_of_another_data_set_are_refused(tmp_path: Path) -> None:
    """Cutting a foreign prompt's length off would give nonsense programs and a plausible score."""
    path = write(tmp_path / "g-cpp.json", [["int other() { return 0;"]])
    with pytest.raises(UsageError, match="does not begin with the prompt"):
        match(read_completion_file(path, "multipl_e"), PROBLEMS)


@pytest.mark.parametrize("name", ["r.json", "r.json.gz"])
def test_multipl_e_result_files_are_read(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, {"name": "HumanEval_2_two", "language": "cpp", "completions": ["a", "b"]})
    found = match(read_completion_file(path, "multipl_e"), PROBLEMS)
    assert [(m.sample, m.completion.text) for m in found] == [(0, "a"), (1, "b")]


def test_multipl_e_programs_run_as_they_stand(tmp_path: Path) -> None:
    value = {"name": "HumanEval_2_two", "language": "cpp", "results": [{"program": "int main(){}"}]}
    found = match(read_completion_file(write(tmp_path / "r.json", value), "multipl_e"), PROBLEMS)
    assert found[0].source == "int main(){}"


def test_evalplus_rows_are_numbered_in_order(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "samples.cpp.jsonl",
        {"task_id": "HumanEval/2", "completion": " return 2;"},
        {"task_id": "HumanEval/2", "solution": "int two() { return 2; }"},
    )
    found = match(read_completion_file(path, "multipl_e"), PROBLEMS)
    assert [(m.problem.id, m.sample, m.completion.style) for m in found] == [
        ("HumanEval_2_two", 0, PromptStyle.RAW),
        ("HumanEval_2_two", 1, PromptStyle.CHAT),
    ]


def test_chat_answers_are_marked_as_such(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", {"task": "multipl_e/cpp", "problem": "HumanEval_2_two", "answer": "```"})
    assert match(read_completion_file(path, "multipl_e"), PROBLEMS)[0].completion.style is PromptStyle.CHAT


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"task": "multipl_e/cpp", "problem": "HumanEval_2_two", "completion": "x"}\n{"task": "mul', r":2: not JSON"),
        (b"\xff\xfe\n", r":1: not UTF-8"),
        (b"[1]\n", r":1: not a JSON object"),
        (b'{"task": "multipl_e/cpp", "problem": "HumanEval_2_two"}\n', "none of completion"),
        (b'{"problem": "HumanEval_2_two", "completion": ""}\n', "no text in field 'task'"),
        (
            b'{"task": "multipl_e/cpp", "problem": "HumanEval_2_too", "completion": ""}\n',
            "did you mean 'HumanEval_2_two'",
        ),
        (b'{"task": "multipl_e/lua", "problem": "HumanEval_2_two", "completion": ""}\n', "no task 'multipl_e/lua'"),
        (b'{"task": "sql/date", "problem": "x", "completion": ""}\n', "not of suite"),
        (b'{"task": "multipl_e/cpp", "problem": "HumanEval_2_two", "sample": -1, "completion": ""}\n', "sample is -1"),
        (b'{"task": "multipl_e/cpp", "problem": "HumanEval_2_two", "completion": 7}\n', "completion is not text"),
    ],
)
def test_bad_rows_are_named_with_file_and_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=message) as raised:
        match(read_completion_file(path, "multipl_e"), PROBLEMS)
    assert "\n" not in str(raised.value)
    assert "bad.jsonl" in str(raised.value)


def test_the_same_sample_twice_is_refused(tmp_path: Path) -> None:
    """Two rows for one sample: whichever won would be an accident of order."""
    row = {"task": "multipl_e/cpp", "problem": "HumanEval_2_two", "sample": 0, "completion": "x"}
    with pytest.raises(UsageError, match="is already at"):
        match(read_completion_file(lines(tmp_path / "d.jsonl", row, row), "multipl_e"), PROBLEMS)


def test_rows_with_their_own_ids_are_numbered_on(tmp_path: Path) -> None:
    row = {"task": "multipl_e/cpp", "problem": "HumanEval_2_two", "sample": 0, "program": "x"}
    path = lines(tmp_path / "d.jsonl", row | {"id": "a"}, row | {"id": "b"})
    found = match(read_completion_file(path, "multipl_e"), PROBLEMS)
    assert [(m.label, m.sample) for m in found] == [("a", 0), ("b", 1)]


def test_a_program_of_a_foreign_problem_is_run_but_marked(tmp_path: Path) -> None:
    row = {"task": "multipl_e/cpp", "problem": "HumanEval_32_poly", "program": "x"}
    found = match(read_completion_file(lines(tmp_path / "d.jsonl", row), "multipl_e"), PROBLEMS)
    assert found[0].outside


@pytest.mark.parametrize("name", ["x.json", "x.json.gz"])
def test_a_cut_off_json_file_is_one_clear_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    data = json.dumps([["x" * 1000]]).encode()
    path.write_bytes((gzip.compress(data) if name.endswith("gz") else data)[:-5])
    with pytest.raises(UsageError, match="cut off"):
        read_completion_file(path, "multipl_e", "cpp")


def test_a_blank_line_moves_no_line_number(tmp_path: Path) -> None:
    """The place that is named is the one in which the user finds the fault."""
    path = tmp_path / "given.jsonl"
    path.write_text('\n\n{"task": "multipl_e/py", "problem": "HumanEval_0_x"}\n')
    with pytest.raises(UsageError, match=r"given\.jsonl:3: none of completion"):
        read_completion_file(path, "multipl_e")
