"""Every verdict against the reference evaluator's own (bigcode-evaluation-harness 8fc5bae6), row by row."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from codecard.languages import language_names
from codecard.settings import load_profile
from codecard.suites import find_suite
from codecard.suites.suite import Setting

PARITY = Path(__file__).parents[2] / "docs/parity.md"


def listed(language: str) -> dict[str, str]:
    """Rows that docs/parity.md explains: id → cause."""
    rows = re.findall(r"^\| `([a-z]+/\w+/\w+)` \|.*\| (.+?) \|$", PARITY.read_text(), re.M)
    return {name: cause for name, cause in rows if name.startswith(f"{language}/")}


@pytest.mark.docker
@pytest.mark.parametrize("every", [8, pytest.param(1, marks=pytest.mark.long)], ids=["a sample", "all"])
@pytest.mark.parametrize("language", language_names())
def test_every_verdict_equals_the_references_but_for_the_explained(
    data_dir: Path, docker_engine: None, language: str, every: int
) -> None:
    """A program that passes there and fails here, or the other way round, is a wrong number in somebody's table. The
    explained ones are in every sample."""
    explained = listed(language)
    path = data_dir / f"completions/reference.{language}.jsonl"
    reference = {row["id"]: row["reference"] for row in map(json.loads, path.read_text().splitlines())}
    suite = find_suite("multipl_e")
    setting = Setting(
        profile=load_profile("card-2024-03"), data_dir=data_dir, sandbox="docker", parts=frozenset({language})
    )
    session = suite.open(setting, suite.configured(setting.profile), [path])
    try:
        given = [w for place, w in enumerate(session.given()) if place % every == 0 or w.label in explained]
        ours = {outcome.facts["id"]: outcome for outcome in session.evaluate(given)}
    finally:
        session.close()
    assert len(ours) == len(given) >= len(reference) // every
    assert ours.keys() <= reference.keys()
    different = {name for name, found in ours.items() if (found.value == 1) != reference[name]["passed"]}
    told = {name: (ours[name].verdict, reference[name]["status"]) for name in different}
    assert different == explained.keys(), told
