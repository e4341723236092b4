"""Splitting a run and merging it again changes nothing, whatever the split and whatever the order."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codecard.model import Problem, Tests, UsageError
from codecard.runs.merge import merge
from codecard.runs.reading import read_run
from codecard.runs.shard import Shard, parse_shard
from folders import read_executions, read_manifest, read_scores

Row = dict[str, Any]
FILES = ("manifest.json", "problems.jsonl", "completions.jsonl", "executions.jsonl", "scores.json")
TASKS = ("multipl_e/py", "multipl_e/rs")
SAMPLES = 2


def manifest(**other: Any) -> Row:
    return {
        "suites": ["multipl_e"],
        "profile": {"name": "strict", "key": "1"},
        "recipe": {"model": "m", "sampling": {"temperature": 0.2}},
        "data": {task: f"hash of {task}" for task in TASKS},
        "sandbox": "docker",
        "samples": SAMPLES,
        "limit": None,
        "host": {"python": "3.11"},
        **other,
    }


def completion(task: str, number: int, sample: int) -> Row:
    return {"task": task, "problem": f"HumanEval_{number}_f", "sample": sample, "completion": f"{number}",
            "finish_reason": "stop", "seconds": 0.5}  # fmt: skip


def execution(task: str, number: int, sample: int, passed: bool | None) -> Row:
    verdict = "sandbox_error" if passed is None else "passed" if passed else "wrong"
    return {"task": task, "problem": f"HumanEval_{number}_f", "sample": sample, "verdict": verdict, "passed": passed,
            "void": "" if passed is not None else "gone", "cpu_s": 0.1, "program": "p", "key": "k"}  # fmt: skip


def write_run(path: Path, completions: list[Row], executions: list[Row], described: Row) -> Path:
    path.mkdir()
    problems = dict.fromkeys((row["task"], row["problem"]) for row in completions)
    lines = [{"task": t, "problem": p, "cluster": "_".join(p.split("_")[:2]), "prompt": "", "tests": ""}
             for t, p in problems]  # fmt: skip
    for name, rows in (("problems", lines), ("completions", completions), ("executions", executions)):
        (path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (path / "manifest.json").write_text(json.dumps(described))
    return path


@contextmanager
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp())
    try:
        yield path
    finally:
        shutil.rmtree(path)


def contents(run: Path) -> dict[str, bytes]:
    return {name: (run / name).read_bytes() for name in FILES}


@settings(deadline=None, max_examples=60)
@given(
    outcomes=st.lists(st.tuples(st.sampled_from((True, False, None)), st.integers(0, 4)), min_size=1, max_size=24),
    order=st.randoms(use_true_random=False),
    shards=st.integers(1, 5),
)
def test_split_and_merged_equals_the_run(outcomes: list[tuple[bool | None, int]], order: Any, shards: int) -> None:
    """Parts that overlap and are given in any order, grouped or again: the same bytes, and the run's own scores."""
    keys = [(TASKS[i // SAMPLES % 2], i // SAMPLES // 2, i % SAMPLES) for i in range(len(outcomes))]
    rows = [(completion(*key), execution(*key, passed)) for key, (passed, _) in zip(keys, outcomes, strict=True)]
    parts: list[list[tuple[Row, Row]]] = [[] for _ in range(shards)]
    for row, (_, place) in zip(rows, outcomes, strict=True):
        parts[place % shards].append(row)
        if place == 4:  # also elsewhere, slower
            parts[(place + 1) % shards].append((row[0] | {"seconds": 9.0}, row[1] | {"cpu_s": 3.0}))
    for part in parts:
        order.shuffle(part)
    with folder() as base:
        whole = write_run(base / "whole", [c for c, _ in rows], [e for _, e in rows], manifest())
        split = [
            write_run(base / f"{i}", [c for c, _ in part], [e for _, e in part], manifest(shard=f"{i}/{shards}"))
            for i, part in enumerate(parts)
        ]
        merge(base / "merged", split)
        found = contents(base / "merged")
        assert read_scores(base / "merged") == scores_of(whole)
        assert read_run(base / "merged").histories.keys() == read_run(whole).histories.keys()
        order.shuffle(split)
        merge(base / "again", split)
        merge(base / "again", [base / "merged"])
        assert contents(base / "again") == found, "merged with itself, in another order"
        filled = [part for part in split if (part / "completions.jsonl").read_bytes()]
        for run in filled:
            merge(base / "one by one", [run])
        merge(base / "at once", filled)
        assert contents(base / "one by one") == contents(base / "at once")


def scores_of(run: Path) -> Row:
    """As the run itself would have written them: its samples in the data set's order."""
    with folder() as base:
        merge(base / "alone", [run])
        found = read_scores(base / "alone")
    summary = read_run(run).estimates
    assert {t: {m: e.value for m, e in ms.items()} for t, ms in summary.items()} == {
        t: {m: e["value"] for m, e in ms.items()} for t, ms in found.items()
    }
    return found


@settings(deadline=None)
@given(count=st.integers(1, 9), names=st.lists(st.text(max_size=6), unique=True, max_size=40))
def test_every_problem_falls_to_exactly_one_shard(count: int, names: list[str]) -> None:
    for name in names:
        problem = Problem(task="t", id=name, cluster=name, prompt="", checker=Tests(language="py", source=""))
        assert sum(parse_shard(f"{index}/{count}").holds(problem) for index in range(count)) == 1


@pytest.mark.parametrize("given_", ["4/4", "-1/4", "1", "a/b", "1/0", "1/4/5", ""])
def test_a_shard_that_does_not_exist_is_refused(given_: str) -> None:
    with pytest.raises(UsageError, match="--shard"):
        parse_shard(given_)
    assert parse_shard("3/4") == Shard(index=3, count=4)


def one(base: Path, name: str, text: str = "x", passed: bool | None = True, **described: Any) -> Path:
    asked = completion(TASKS[0], 1, 0) | {"completion": text}
    return write_run(base / name, [asked], [execution(TASKS[0], 1, 0, passed)], manifest(**described))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"recipe": {"model": "m", "sampling": {"temperature": 0.8}}}, "asking.multipl_e.sampling.temperature"),
        ({"recipe": None}, "made elsewhere"),
        ({"profile": {"name": "card-2024-03", "key": "2"}}, "profile.name"),
        ({"data": {TASKS[0]: "other rows"}}, f"data.{TASKS[0]}"),
    ],
)
def test_runs_of_different_questions_are_never_merged(tmp_path: Path, change: Row, named: str) -> None:
    runs = [one(tmp_path, "a"), one(tmp_path, "b", **change)]
    with pytest.raises(UsageError, match=named.replace(".", r"\.")) as refused:
        merge(tmp_path / "out", runs)
    assert len(str(refused.value).splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("text", "passed", "what"), [("y", True, "completions"), ("x", False, "executions")])
def test_two_different_rows_of_one_sample_are_refused(tmp_path: Path, text: str, passed: bool, what: str) -> None:
    runs = [one(tmp_path, "a"), one(tmp_path, "b", text, passed)]
    for order in (runs, runs[::-1]):
        with pytest.raises(UsageError, match=f"different {what} of multipl_e/py HumanEval_1_f 0"):
            merge(tmp_path / "out", order)
    assert not (tmp_path / "out").exists()


def test_a_void_gives_way_to_the_outcome_that_another_run_has(tmp_path: Path) -> None:
    void, found = one(tmp_path, "a", passed=None), one(tmp_path, "b")
    merge(tmp_path / "out", [void, found])
    (row,) = read_executions(tmp_path / "out").values()
    assert row["passed"] is True


def test_runs_in_two_languages_merge_into_one(tmp_path: Path) -> None:
    """Each knows the data of its own language; the union knows both, and who made which."""
    runs = [one(tmp_path, name, data={task: "h"}, shard=f"{i}/2", argv=[name])
            for i, (name, task) in enumerate(zip("ab", TASKS, strict=True))]  # fmt: skip
    merge(tmp_path / "out", runs)
    made = read_manifest(tmp_path / "out")
    assert made["data"] == dict.fromkeys(TASKS, "h")
    assert made["shard"] is None
    assert [(origin["run"], origin["shard"]) for origin in made["merged"]] == [("a", "0/2"), ("b", "1/2")]


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such run folder"):
        merge(tmp_path / "out", [one(tmp_path, "a"), tmp_path / "none"])
    assert not (tmp_path / "out").exists()
