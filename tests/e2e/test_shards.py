"""A run in two shards, merged: the same as the run in one piece, and a folder that goes on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from e2e_types import Command
from folders import read_executions, read_manifest, read_rows, read_scores, read_texts


@pytest.mark.docker
def test_two_shards_merged_are_the_whole_run(
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
    lost = codecard("merge", out, shards[0])
    assert lost.returncode == 3  # what no shard has is void, and said
    assert "not every planned number is there" in lost.stderr
    assert sum(found["pass@1"]["void"] for task, found in read_scores(out).items() if "average" not in task) > 0
    assert codecard(*asked, out).returncode == 0
    assert_same(out, whole)


def assert_same(run: Path, whole: Path) -> None:
    assert read_scores(run) == read_scores(whole)
    texts = [read_texts(path) for path in (run, whole)]
    assert texts[0] == texts[1]
    verdicts = [{key: row["verdict"] for key, row in read_executions(path).items()} for path in (run, whole)]
    assert verdicts[0] == verdicts[1]
    rows = [(row["task"], row["problem"], row["sample"]) for row in read_rows(run / "executions.jsonl")]
    assert len(rows) == len(set(rows))


@pytest.mark.docker
def test_shards_in_one_folder_are_the_whole(
    codecard: Command, docker_engine: None, starter_replay: Path, tmp_path: Path
) -> None:
    """A folder's plan is all that was ever asked of it, in whatever order."""
    asked = ["run", "--model", f"replay:{starter_replay}", "--suite", "starter", "--samples", 1, "--limit", 4,
             "--languages", "py", "--prompt-style", "raw", "--out"]  # fmt: skip
    for index in (1, 0):
        assert codecard(*asked, tmp_path / "run", "--shard", f"{index}/2").returncode == 0
    assert codecard(*asked, tmp_path / "whole").returncode == 0
    assert_same(tmp_path / "run", tmp_path / "whole")
