"""Programs of problems that the suite does not have: run at the user's wish, part of no number."""

from __future__ import annotations

import json
from pathlib import Path

from e2e_types import Command
from folders import read_scores


def test_a_program_outside_the_suite_is_part_of_no_number(
    codecard: Command, docker_engine: None, tmp_path: Path
) -> None:
    """The report reads the run folder again: what is outside the suite must be marked there, not only in memory."""
    rows = [
        {"task": "starter/py", "problem": "Starter_0_add_integers", "completion": "\n    return a + b\n"},
        {"task": "starter/py", "problem": "Elsewhere_7_x", "program": "raise SystemExit(1)\n"},
    ]
    path = tmp_path / "c.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert codecard("score", path, "--suite", "starter", "--out", tmp_path / "run").returncode == 0
    assert read_scores(tmp_path / "run")["starter/py"]["pass@1"]["n"] == 1
    done = codecard("report", tmp_path / "run", "--format", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["scores"]["starter/py"]["pass@1"]["n"] == 1
    assert json.loads(done.stdout)["scores"]["starter/py"]["pass@1"]["value"] == 1.0
