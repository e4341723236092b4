"""A run as jobs of a batch system; here the batch system is this machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from e2e_types import Command
from folders import read_manifest, read_scores, read_texts

ASKED = ("--suite", "starter", "--samples", "1", "--languages", "py,php", "--limit", "6", "--prompt-style", "raw")


@pytest.fixture(autouse=True)
def submitit(absent: Callable[[str, str], None]) -> None:
    try:
        import submitit  # noqa: F401
    except ImportError:
        absent("no submitit", "pip install 'codecard[slurm]'")


@pytest.mark.docker
def test_jobs_write_the_same_rows_as_one_process(
    codecard: Command, docker_engine: None, starter_replay: Path, tmp_path: Path
) -> None:
    """Two jobs, awaited and merged: the run in one piece. Submitted again, they find everything done."""
    model = ("--model", f"replay:{starter_replay}")
    assert codecard("run", *model, *ASKED, "--out", tmp_path / "whole").returncode == 0
    out = tmp_path / "run"
    command = ("submit", "--shards", 2, "--on", "local", "--wait", "--out", out, "--", *model, *ASKED)
    done = codecard(*command)
    assert done.returncode == 0, done.stderr
    assert read_scores(out) == read_scores(tmp_path / "whole")
    texts = [read_texts(path) for path in (out, tmp_path / "whole")]
    assert texts[0] == texts[1]
    assert [read_manifest(out / f"shards/{index}")["shard"] for index in (0, 1)] == ["0/2", "1/2"]
    before = (out / "executions.jsonl").read_bytes()
    assert codecard(*command).returncode == 0
    assert (out / "executions.jsonl").read_bytes() == before


@pytest.mark.docker
def test_a_failed_job_is_told_and_nothing_is_scored(
    codecard: Command, docker_engine: None, starter_replay: Path, tmp_path: Path
) -> None:
    """Rows are missing from the recording: exit 3 with the shard and its own last line."""
    rows = starter_replay.read_text().splitlines()
    model = tmp_path / "some.jsonl"
    kept = [row for row in rows if json.loads(row)["task"] != "starter/php"]
    model.write_text("\n".join(kept))
    out = tmp_path / "run"
    command = ("submit", "--shards", 2, "--on", "debug", "--out", out, "--", "--model", f"replay:{model}", *ASKED)
    done = codecard(*command)
    assert done.returncode == 3
    last = done.stderr.strip().splitlines()[-1]
    assert "shard " in last
    assert "no completion of starter/php" in last
    assert not (out / "scores.json").exists()


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        (("--on", "slurms", "--", "--model", "m"), "did you mean 'slurm'"),
        (("--on", "local", "--set", "partition", "--", "--model", "m"), "expected NAME=VALUE"),
        (("--on", "local", "--set", "colour=red", "--", "--model", "m", "--suite", "starter"), "colour"),
        (("--", "--model", "m", "--suite", "starter", "--out=x"), "--out of the shards"),
        (("--", "--model", "m", "--suite", "starter", "--shard", "0/2"), "--shard of the shards"),
        (("--", "--model", "m", "--suite", "starter", "--sampels", "3"), "--sampels"),
        (("--", "--model", "m"), "--suite"),
        (("--", "--model", "m", "--suite", "starter", "--limit", "0"), "--limit 0"),
        (("--", "--model", "m", "--suite", "startre"), "unknown suite 'startre'"),
        (("--", "--model", "m", "--suite", "starter", "--set", "starter.top_q=1"), "unknown option 'top_q'"),
        (("--", "--model", "m", "--suite", "sql", "--samples", "5"), "--samples 5: sql is greedy"),
        (("--", "--suite", "starter"), "no model"),
    ],
)
def test_a_wrong_call_is_refused_before_anything_is_queued(
    codecard: Command, tmp_path: Path, given_: tuple[str, ...], said: str
) -> None:
    done = codecard("submit", "--shards", 2, "--out", tmp_path / "run", *given_)
    assert done.returncode == 2
    assert said in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_requeued_job_is_the_same_call() -> None:
    """What submitit asks for before it requeues a job is the same call: the run folder knows what is done."""
    from codecard.cluster.shards import ShardJob

    job = ShardJob(arguments=("--model", "m"))
    assert job.checkpoint().function == job
