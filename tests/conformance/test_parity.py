"""Every verdict against the reference evaluator's own (bigcode-evaluation-harness 8fc5bae6), row by row."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from codecard.model import LANGUAGES
from codecard.pipeline import Work
from codecard.pipeline.code import CodeEvaluator
from codecard.sandbox import open_sandbox
from codecard.store.importers import match, read_completion_file
from codecard.tasks.definitions import load_profile

PARITY = Path(__file__).parents[2] / "docs/parity.md"


def listed(language: str) -> dict[str, str]:
    """Rows that docs/parity.md explains: id → cause."""
    rows = re.findall(r"^\| `([a-z]+/\w+/\w+)` \|.*\| (.+?) \|$", PARITY.read_text(), re.M)
    return {name: cause for name, cause in rows if name.startswith(f"{language}/")}


@pytest.mark.docker
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_verdict_differs_from_the_references_unexplained(data_dir: Path, docker_engine: None, language: str) -> None:
    """A program that passes there and fails here, or the other way round, is a wrong number in somebody's table."""
    path = data_dir / f"completions/reference.{language}.jsonl"
    reference = {row["id"]: row["reference"] for row in map(json.loads, path.read_text().splitlines())}
    evaluator = CodeEvaluator(
        "multipl_e",
        load_profile("card-2024-03"),
        open_sandbox("docker"),
        data_dir=data_dir,
        limit=None,
        languages=frozenset({language}),
    )
    try:
        found = match(read_completion_file(path, "multipl_e"), evaluator.problems())
        works = [Work(problem=m.problem, completion=m.completion, source=m.program, label=m.label) for m in found]
        ours = {row["id"]: row for row in evaluator.evaluate(works)}
    finally:
        evaluator.close()
    assert ours.keys() == reference.keys()
    different = {name for name, row in ours.items() if row["passed"] != reference[name]["passed"]}
    told = {name: (ours[name]["verdict"], reference[name]["status"]) for name in different}
    assert different == listed(language).keys(), told
