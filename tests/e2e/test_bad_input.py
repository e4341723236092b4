"""Bad input: one clear line that says what and where, exit code 2 (or 3 with the remedy), nothing half-written."""

from __future__ import annotations

import json
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from codecard.paths import sandbox_dir
from e2e_types import Command

ROW = {"task": "starter/py", "problem": "Starter_0_add_integers", "sample": 0, "completion": "\n    return a + b\n"}


def assert_refused(done: CompletedProcess[str], code: int, *parts: str) -> None:
    stderr = done.stderr.strip()
    assert done.returncode == code, stderr
    assert stderr.startswith("codecard: ")
    assert len(stderr.splitlines()) == 1, stderr
    for part in parts:
        assert part in stderr


def test_unknown_suite_names_the_near_miss(codecard: Command, tmp_path: Path) -> None:
    done = codecard("run", "--model", "embedded", "--suite", "multpl_e", "--out", tmp_path / "run")
    assert_refused(done, 2, "multpl_e", "did you mean 'multipl_e'")
    assert not (tmp_path / "run").exists()


def test_unknown_profile_names_the_known_ones(codecard: Command) -> None:
    done = codecard("run", "--model", "embedded", "--suite", "starter", "--profile", "card-2024-3")
    assert_refused(done, 2, "did you mean 'card-2024-03'")


def test_zero_samples_are_refused(codecard: Command, tmp_path: Path) -> None:
    done = codecard("run", "--model", "embedded", "--suite", "starter", "--samples", 0, "--out", tmp_path / "run")
    assert_refused(done, 2, "--samples 0")
    assert not (tmp_path / "run").exists()


def test_a_model_folder_without_weights_is_refused_by_name(codecard: Command, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    done = codecard("run", "--model", tmp_path / "model", "--suite", "starter", "--out", tmp_path / "run")
    assert_refused(done, 2, str(tmp_path / "model"))
    assert not (tmp_path / "run").exists()


def test_a_completion_for_an_unknown_problem_names_the_near_miss(codecard: Command, tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text(json.dumps(ROW | {"problem": "Starter_0_add_integer"}) + "\n")
    done = codecard("score", path, "--suite", "starter", "--out", tmp_path / "run")
    assert_refused(done, 2, "c.jsonl:1", "Starter_0_add_integer", "did you mean")
    assert not (tmp_path / "run").exists()


def test_a_cut_off_file_is_refused_with_its_line(codecard: Command, tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text(json.dumps(ROW) + "\n" + json.dumps(ROW)[:40])
    done = codecard("score", path, "--suite", "starter", "--out", tmp_path / "run")
    assert_refused(done, 2, "c.jsonl:2", "cut off")


def test_a_file_that_is_not_there_is_refused(codecard: Command, tmp_path: Path) -> None:
    assert_refused(codecard("score", tmp_path / "none.jsonl", "--suite", "starter"), 2, "none.jsonl", "No such file")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('name = "php"', ""), "'name'"),
        (('name = "php"', "name = 5"), "its name"),
        (("rank = 5", 'rank = "5"'), "its rank"),
    ],
    ids=["no name", "a number for a name", "a text for a rank"],
)
def test_a_broken_language_is_refused_by_its_file(
    codecard: Command, tmp_path: Path, change: tuple[str, str], said: str
) -> None:
    text = (sandbox_dir() / "php" / "language.toml").read_text()
    assert change[0] in text
    file = tmp_path / "languages" / "zz" / "language.toml"
    file.parent.mkdir(parents=True)
    file.write_text(text.replace(*change))
    done = codecard("doctor", "--languages", "php", "--short", env={"CODECARD_LANGUAGES": str(tmp_path / "languages")})
    assert_refused(done, 2, str(file), said)


@pytest.mark.embedded
def test_a_cache_that_cannot_be_made_is_refused(codecard: Command, tmp_path: Path) -> None:
    run = ("run", "--model", "embedded", "--suite", "starter", "--out", tmp_path / "run")
    done = codecard(*run, env={"CODECARD_CACHE": "/dev/null/cache"})
    assert_refused(done, 2, "cannot make /dev/null/cache")
    assert not (tmp_path / "run").exists()


def test_an_output_folder_that_cannot_be_written_is_refused(codecard: Command, tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text(json.dumps(ROW) + "\n")
    done = codecard("score", path, "--suite", "starter", "--out", path / "run")
    assert_refused(done, 2, "cannot write to")


def test_no_data_and_no_hub_names_cause_and_remedy(codecard: Command, tmp_path: Path) -> None:
    offline = {"CODECARD_DATA": None, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = codecard("run", "--model", "embedded", "--suite", "multipl_e", "--out", tmp_path / "run", env=offline)
    assert_refused(done, 2, "multipl_e/py", "Hub", "CODECARD_DATA")
    assert not (tmp_path / "run").exists()


def test_a_wrong_problem_count_is_refused_with_both_counts(codecard: Command, tmp_path: Path) -> None:
    (tmp_path / "multipl_e").mkdir()
    (tmp_path / "multipl_e/humaneval-py.jsonl").write_text("")
    model = ("--model", "embedded", "--suite", "multipl_e")
    done = codecard("run", *model, "--data-dir", tmp_path, "--out", tmp_path / "r")
    assert_refused(done, 2, "humaneval-py.jsonl", "0 problems", "161")


def test_no_engine_is_exit_3_with_the_remedy(codecard: Command, tmp_path: Path) -> None:
    env = {"DOCKER_HOST": f"unix://{tmp_path}/no.sock"}
    model = ("--model", "embedded", "--suite", "starter")
    done = codecard("run", *model, "--sandbox", "docker", "--out", tmp_path / "r", env=env)
    assert_refused(done, 3, "no Docker engine answers", "--sandbox bwrap")
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("options", [["--limit", "0"], ["--temperature", "-1"], ["--no-such-option"]])
def test_options_out_of_range_are_usage_errors(codecard: Command, options: list[str]) -> None:
    assert codecard("run", "--model", "embedded", "--suite", "starter", *options).returncode == 2
