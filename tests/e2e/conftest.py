"""The installed command, run as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from codecard.languages import language_names
from codecard.paths import tasks_dir
from e2e_types import CODECARD, Command


@pytest.fixture(scope="session")
def codecard() -> Command:
    """`codecard("run", ..., env={...})`: finished process with text output; never raises on a non-zero status."""

    def call(*arguments: object, env: dict[str, str | None] | None = None) -> subprocess.CompletedProcess[str]:
        merged = {**os.environ, "COLUMNS": "200", **(env or {})}
        return subprocess.run(
            [str(CODECARD), *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            env={k: v for k, v in merged.items() if v is not None},
        )

    return call


@pytest.fixture(scope="session")
def starter_replay(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model recorded earlier: the known-good starter completions, in all six languages."""
    path = tmp_path_factory.mktemp("replay") / "good.jsonl"
    with path.open("w") as file:
        for language in language_names():
            for row in map(json.loads, (tasks_dir() / f"starter/{language}.programs.jsonl").read_text().splitlines()):
                if row["kind"] == "good":
                    sample = {"task": f"starter/{language}", "problem": row["name"], "sample": 0}
                    file.write(json.dumps(sample | {"completion": row["completion"]}) + "\n")
    return path
