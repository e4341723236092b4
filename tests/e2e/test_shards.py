"""A run in two shards, merged: the same as the run in one piece, and a folder that goes on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from codecard.store import read_completions, read_executions, read_journal, read_manifest, read_scores
from e2e_types import Command


@pytest.mark.docker
def test_two_shards_lack_what_the_whole_run_has(
    codecard: Command, docker_engine: None, starter_replay: Path, tmp_path: Path
) -> None:
    """Scores, completions and verdicts are equal; a lost shard is made up for on the merged folder."""
    asked = ["run", "--model", f"replay:{starter_replay}", "--suite", "starter", "--samples", 1,
             "--languages", "py,php", "--prompt-style", "raw", "--out"]  # fmt: skip
    whole, shards, out = tmp_path / "whole", [tmp_path / "0", tmp_path / "1"], tmp_path / "merged"
    assert codecard(*asked, whole).returncode == 0
    for index, shard in enumerate(shards):
        assert codecard(*asked, shard, "--shard", f"{index}/2").returncode == 0
        assert read_manifest(shard)["shard"] == f"{index}/2"
    assert all(0 < len(read_executions(shard)) < 24 for shard in shards)
    done = codecard("merge", out, *shards)
    assert done.returncode == 0, done.stderr
    assert "24 completions, 24 executions" in done.stderr
    assert_same(out, whole)
    before = (out / "executions.jsonl").read_bytes()
    assert codecard(*asked, out).returncode == 0
    assert (out / "executions.jsonl").read_bytes() == before

    shutil.rmtree(out)
    assert codecard("merge", out, shards[0]).returncode == 0
    assert codecard(*asked, out).returncode == 0
    assert_same(out, whole)


def assert_same(run: Path, whole: Path) -> None:
    assert read_scores(run) == read_scores(whole)
    texts = [{c.id: c.text for c in read_completions(path)} for path in (run, whole)]
    assert texts[0] == texts[1]
    verdicts = [{key: row["verdict"] for key, row in read_executions(path).items()} for path in (run, whole)]
    assert verdicts[0] == verdicts[1]
    rows = [(row["task"], row["problem"], row["sample"]) for row in read_journal(run / "executions.jsonl")]
    assert len(rows) == len(set(rows))


@pytest.mark.docker
def test_a_shard_goes_on_in_the_folder_of_another(
    codecard: Command, docker_engine: None, starter_replay: Path, tmp_path: Path
) -> None:
    """Refused, with the shards' names; the suites that have no shards say so."""
    asked = ["run", "--model", f"replay:{starter_replay}", "--suite", "starter", "--samples", 1, "--limit", 2,
             "--languages", "py", "--prompt-style", "raw", "--out", tmp_path / "run"]  # fmt: skip
    assert codecard(*asked, "--shard", "0/2").returncode == 0
    done = codecard(*asked, "--shard", "1/2")
    assert done.returncode == 2
    assert 'another shard ("0/2"; now "1/2")' in done.stderr
    done = codecard("run", "--model", "embedded", "--suite", "mt_bench", "--shard", "0/2", "--out", tmp_path / "mt")
    assert done.returncode == 2
    assert "--shard is for" in done.stderr
