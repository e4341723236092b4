"""Every suite of the card in one command, one folder and one report, whatever happens on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from e2e_types import CODECARD, Command
from folders import read_manifest, read_rows, read_scores, read_texts, sample_of
from zero_shot_data import write_data

SUITES = ("multipl_e", "sql", "mt_bench", "zero_shot")
FILES = ("completions.jsonl", "executions.jsonl", "judgments.jsonl")


@pytest.fixture(scope="module")
def everything(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The benchmark data, with zero-shot sets of three documents."""
    folder = tmp_path_factory.mktemp("data")
    for name in ("multipl_e", "sql", "mt_bench"):
        (folder / name).symlink_to(data_dir / name)
    write_data(folder / "zero_shot")
    return folder


ONE = ("--limit", "1", "--samples", "1", "--languages", "py", "--max-new-tokens", "8",
       "--set", "mt_bench.judge_max_new_tokens=8")  # fmt: skip
TWO = ("--limit", "2", "--samples", "1", "--max-new-tokens", "32", "--set", "mt_bench.judge_max_new_tokens=32")


def command(data: Path, out: Path, more: tuple[str, ...]) -> list[str]:
    asked = ["--suite", ",".join(SUITES), "--model", "embedded", "--judge", "embedded", *more]
    return ["run", *asked, "--data-dir", str(data), "--out", str(out)]


def rows(run: Path) -> int:
    return sum((run / name).read_bytes().count(b"\n") for name in FILES if (run / name).exists())


@pytest.mark.docker
@pytest.mark.embedded
@pytest.mark.data
@pytest.mark.postgres
@pytest.mark.parametrize(
    ("options", "kills"),
    [(ONE, (0.5,)), pytest.param(TWO, (0.2, 0.5, 0.8), marks=pytest.mark.long)],
    ids=["one problem", "two problems"],
)
def test_all_suites_end_in_one_folder_with_the_same_scores_however_often_killed(
    codecard: Command,
    docker_engine: None,
    embedded: Path,
    everything: Path,
    tmp_path: Path,
    options: tuple[str, ...],
    kills: tuple[float, ...],
) -> None:
    """A judge so small rates nothing: those numbers are missing, who failed is said, and the exit code is 3."""
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    done = codecard(*command(everything, calm, options))
    assert done.returncode == 3, done.stderr
    assert "not every planned number is there" in done.stderr
    for part in kills:
        kill_at(command(everything, killed, options), killed, round(part * rows(calm)))
    assert codecard(*command(everything, killed, options)).returncode == 3
    assert read_scores(killed) == read_scores(calm)
    assert read_texts(killed) == read_texts(calm)
    completions = [(*sample_of(row), row.get("turn", 1)) for row in read_rows(killed / "completions.jsonl")]
    assert len(completions) == len(set(completions)) == len(read_rows(calm / "completions.jsonl"))
    assert {task.split("/")[0] for task in read_scores(calm)} == set(SUITES)
    assert set(read_manifest(calm)["suites"]) == set(SUITES)
    report = json.loads(codecard("report", calm, "--json").stdout)
    assert report["scores"] == read_scores(calm)
    assert "ratings missing" in " ".join(report["remarks"])
    assert codecard("report", calm, "--format", "html").returncode == 0
    page = (calm / "report.html").read_text()
    assert all(title in page for title in ("MultiPL-E", "SQL by category", "MT-Bench Coding", "Zero-shot"))


def kill_at(arguments: list[str], run: Path, goal: int) -> None:
    """Start, and kill -9 as soon as the journals have `goal` rows."""
    null = subprocess.DEVNULL
    process = subprocess.Popen([str(CODECARD), *arguments], stdout=null, stderr=null, env=dict(os.environ))
    deadline = time.monotonic() + 3000
    while process.poll() is None and rows(run) < goal and time.monotonic() < deadline:
        time.sleep(0.02)
    assert process.poll() is None, "it ended before it could be killed"
    process.send_signal(signal.SIGKILL)
    process.wait()
