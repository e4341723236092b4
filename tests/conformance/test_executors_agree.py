"""What makes the executors fast must not make a number: the warm ways against the plain commands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts/check_executors.py"


@pytest.mark.docker
@pytest.mark.parametrize("every", [51, pytest.param(5, marks=pytest.mark.long)])
def test_a_verdict_depends_neither_on_the_executor_nor_on_the_machines_load(
    data_dir: Path, docker_engine: None, every: int
) -> None:
    """A sample of all languages, odd and hostile programs among them; the script takes them all."""
    command = [sys.executable, str(SCRIPT), "--every", str(every), "--repeats", "1", "--busy", "4"]
    environment = {**os.environ, "CODECARD_DATA": str(data_dir)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("0 differ") == 6
