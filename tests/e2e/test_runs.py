"""Whole runs through the command line: what is scored, what is skipped, and what a kill leaves behind."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from codecard.languages import language_names
from codecard.paths import sandbox_dir, tasks_dir
from e2e_types import CODECARD, Command
from folders import read_executions, read_rows, read_scores, read_texts

EXPECTED = {
    "good": {"passed"},
    "chat": {"passed"},
    "wrong": {"wrong"},
    "build_error": {"build_error"},
    "runtime_error": {"runtime_error"},
    "timeout": {"timeout"},
    "early_exit": {"early_exit"},
}


@pytest.mark.docker
@pytest.mark.parametrize("language", language_names())
def test_known_programs_get_their_verdicts(
    codecard: Command, docker_engine: None, tmp_path: Path, language: str
) -> None:
    """Every starter program says what must become of it; under `strict` an early exit is no pass."""
    rows = [json.loads(line) for line in (tasks_dir() / f"starter/{language}.programs.jsonl").read_text().splitlines()]
    if language not in ("py", "rs"):  # endless loops cost their whole limit: two languages stand for all
        rows = [row for row in rows if row["kind"] != "timeout"]
    path = tmp_path / "c.jsonl"
    with path.open("w") as file:
        for number, row in enumerate(rows):
            text = {"answer": row["answer"]} if row["kind"] == "chat" else {"completion": row["completion"]}
            sample = {"task": f"starter/{language}", "problem": row["name"], "sample": number, "id": row["kind"]}
            file.write(json.dumps(sample | text) + "\n")
    done = codecard("score", path, "--suite", "starter", "--profile", "strict", "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    executions = read_executions(tmp_path / "run")
    assert len(executions) == len(rows)
    odd = [row for row in executions.values() if row["verdict"] not in EXPECTED[row["id"]]]
    assert not [(row["id"], row["problem"], row["verdict"], row["stderr"][-200:]) for row in odd]
    estimate = read_scores(tmp_path / "run")[f"starter/{language}"]["pass@1"]
    assert estimate["void"] == 0


def test_without_an_engine_bubblewrap_takes_over_and_says_so(
    codecard: Command, bubblewrap: None, starter_replay: Path, tmp_path: Path
) -> None:
    env = {"DOCKER_HOST": f"unix://{tmp_path}/no.sock"}
    done = codecard("run", "--model", f"replay:{starter_replay}", "--suite", "starter", "--samples", 1,
                    "--limit", 1, "--prompt-style", "raw", "--out", tmp_path / "run", env=env)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "taking bubblewrap instead" in done.stderr
    scores = read_scores(tmp_path / "run")
    assert [scores[f"starter/{language}"]["pass@1"]["value"] for language in language_names()] == [1.0] * 6


def test_a_missing_toolchain_is_skipped_never_scored_zero(codecard: Command, bubblewrap: None, tmp_path: Path) -> None:
    """A language whose toolchain is not on the machine: shown as skipped, void, exit 3; the others are scored."""
    folder = tmp_path / "tasks/two"
    folder.mkdir(parents=True)
    strange = tmp_path / "languages/zz"
    strange.mkdir(parents=True)
    text = (sandbox_dir() / "php/language.toml").read_text()
    text = text.replace('name = "php"', 'name = "zz"').replace('"php"', '"no-such-program"')
    (strange / "language.toml").write_text(text)
    for language in ("py", "zz"):
        (folder / f"{language}.toml").write_text(f'[dataset]\nfile = "{language}.jsonl"\n')
        problem = {"name": "P_1_add", "prompt": "def add(a, b):", "tests": "assert add(1, 2) == 3\n"}
        (folder / f"{language}.jsonl").write_text(json.dumps(problem) + "\n")
    replay = tmp_path / "replay.jsonl"
    replay.write_text(json.dumps(
        {"task": "two/py", "problem": "P_1_add", "sample": 0, "completion": "\n    return a + b\n"}
    ) + "\n")  # fmt: skip
    env = {"CODECARD_TASKS": str(tmp_path / "tasks"), "CODECARD_LANGUAGES": str(tmp_path / "languages")}
    done = codecard("run", "--model", f"replay:{replay}", "--suite", "two", "--prompt-style", "raw",
                    "--sandbox", "bwrap", "--samples", 1, "--out", tmp_path / "run", env=env)  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert "skipped two/zz: no toolchain for zz" in done.stdout.replace("\n", " ")
    assert "two/zz did not run" in done.stderr.replace("\n", " ")
    found = read_scores(tmp_path / "run")
    assert found["two/py"]["pass@1"]["value"] == 1
    assert (found["two/zz"]["pass@1"]["value"], found["two/zz"]["pass@1"]["void"]) == (None, 1)
    assert found["two/average"]["pass@1"]["value"] is None


@pytest.mark.docker
def test_kill_9_neither_loses_nor_doubles_a_finished_sample(
    codecard: Command, docker_engine: None, starter_replay: Path, tmp_path: Path
) -> None:
    """Killed four times at random moments and resumed: the end equals that of a run nobody disturbed."""
    arguments = ["run", "--model", f"replay:{starter_replay}", "--suite", "starter", "--samples", "1",
                 "--languages", "py,js,php,rs", "--prompt-style", "raw", "--out"]  # fmt: skip
    assert codecard(*arguments, tmp_path / "calm").returncode == 0
    seed = random.Random(20240325)
    for _ in range(4):
        process = subprocess.Popen(
            [str(CODECARD), *arguments, str(tmp_path / "killed")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 60
        goal = seed.randrange(1, 40)
        while process.poll() is None and time.monotonic() < deadline:
            executions = tmp_path / "killed/executions.jsonl"
            if executions.exists() and executions.read_bytes().count(b"\n") >= goal:
                break
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = codecard(*arguments, tmp_path / "killed")
    assert done.returncode == 0, done.stderr
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    assert read_scores(killed) == read_scores(calm)
    texts = [read_texts(run) for run in (calm, killed)]
    assert texts[0] == texts[1]
    for name in ("completions.jsonl", "executions.jsonl"):
        rows = [(r["task"], r["problem"], r["sample"]) for r in read_rows(killed / name)]
        assert len(rows) == len(set(rows)) == 48, name


def test_a_second_run_on_the_same_folder_does_nothing_again(
    codecard: Command, docker_engine: None, starter_replay: Path, tmp_path: Path
) -> None:
    arguments = ["run", "--model", f"replay:{starter_replay}", "--suite", "starter", "--samples", 1, "--limit", 1,
                 "--languages", "py", "--prompt-style", "raw", "--out", tmp_path / "run"]  # fmt: skip
    assert codecard(*arguments).returncode == 0
    before = (tmp_path / "run/executions.jsonl").read_bytes()
    assert codecard(*arguments).returncode == 0
    assert (tmp_path / "run/executions.jsonl").read_bytes() == before


def test_ctrl_c_ends_with_the_way_to_go_on(docker_engine: None, starter_replay: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [str(CODECARD), "run", "--model", f"replay:{starter_replay}", "--suite", "starter", "--samples", "1",
         "--prompt-style", "raw", "--out", str(tmp_path / "run")], stderr=subprocess.PIPE, text=True,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    while process.poll() is None and not (tmp_path / "run/executions.jsonl").exists():
        pass
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate()
    assert process.returncode == 130
    assert "goes on from here" in stderr
