"""What docs/extending.md shows, as it stands there: installed and put through every command."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from e2e_types import Command
from folders import read_manifest, read_scores
from packages import documented_files, write_files

ANSWERS = {
    "py": ("    return 2 * n\n", "    return n * 2\n"),
    "pl": ("    return 2 * $n;\n}\n", "    return $n * 2;\n}\n"),
}
"""Right for `double`, wrong for `half`."""
Env = dict[str, str | None]


@pytest.fixture(scope="module")
def documented(documented_packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Env]:
    """The environment in which the page's files are found; `languages` are those that the suite has."""
    folder = tmp_path_factory.mktemp("extending")
    files = documented_files("extending.md")

    def prepare(*languages: str) -> Env:
        root = folder / "-".join(languages)
        left_out = tuple(f"tasks/small/{name}." for name in ANSWERS if name not in languages)
        write_files(root, {name: text for name, text in files.items() if not name.startswith(left_out)})
        path = ":".join(filter(None, [str(documented_packages), os.environ.get("PYTHONPATH")]))
        return {
            "CODECARD_TASKS": str(root / "tasks"),
            "CODECARD_LANGUAGES": str(root / "languages") if "pl" in languages else None,
            "PYTHONPATH": path,
        }

    return prepare


def recorded(path: Path, languages: tuple[str, ...]) -> Path:
    """A model whose completions were recorded."""
    rows = [
        {"task": f"small/{language}", "problem": problem, "sample": 0, "completion": text}
        for language in languages
        for problem, text in zip(("Small_0_double", "Small_1_half"), ANSWERS[language], strict=True)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def through_every_command(codecard: Command, env: Env, folder: Path, suite: str, *options: str) -> Path:
    """Run whole and in shards, merge, plan, report and compare; the whole run's folder."""

    def call(*arguments: object) -> str:
        done = codecard(*arguments, env=env)
        assert done.returncode == 0, f"{arguments}: {done.stderr}"
        return done.stdout

    whole, shards = folder / "whole", [folder / "0", folder / "1"]
    call("run", "--suite", suite, *options, "--out", whole)
    for number, shard in enumerate(shards):
        codecard("run", "--suite", suite, *options, "--shard", f"{number}/2", "--out", shard, env=env)
    call("merge", folder / "merged", *shards)
    assert read_scores(folder / "merged") == read_scores(whole)
    (plan,) = json.loads(call("plan", "--suite", suite, "--json"))
    average = read_scores(whole).get(f"{suite}/average") or next(iter(read_scores(whole).values()))
    assert plan["questions"] == average["pass@1"]["n"]
    assert json.loads(call("report", whole, "--json"))["scores"] == read_scores(whole)
    call("report", whole, "--format", "html", "--format", "junit", "--format", "md")
    compared = json.loads(call("compare", whole, folder / "merged", "--json", "--gate"))
    assert (compared["decision"], compared["delta"]) == ("no regression", 0.0)
    assert suite in call("suites")
    return whole


@pytest.mark.docker
@pytest.mark.parametrize("languages", [("py",), ("py", "pl")], ids="-".join)
def test_a_folder_of_toml_files_is_a_suite_in_one_language_and_in_two(
    codecard: Command, documented: Callable[..., Env], docker_engine: None, tmp_path: Path, languages: tuple[str, ...]
) -> None:
    """The second language is itself a folder outside: its image, its doctor, its column and its plots are there."""
    env = documented(*languages)
    if "pl" in languages:
        assert codecard("images", "build", "pl", env=env).returncode == 0
        done = codecard("doctor", "--languages", "pl", "--json", env=env)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["fine"]
    model = f"replay:{recorded(tmp_path / 'model.jsonl', languages)}"
    whole = through_every_command(
        codecard, env, tmp_path, "small", "--model", model, "--prompt-style", "raw", "--greedy"
    )
    scores = read_scores(whole)
    assert {task: found["pass@1"]["value"] for task, found in scores.items() if task != "small/average"} == {
        f"small/{language}": 0.5 for language in languages
    }
    page = (whole / "report.html").read_text()
    assert all(title in page for title in ("Python", "Perl")[: len(languages)])
    assert page.count("<svg") >= 1
    table = (whole / "tables.md").read_text()
    assert ("Perl" in table) == ("pl" in languages)


def test_an_installed_suite_and_an_installed_backend_go_through_every_command(
    codecard: Command, documented: Callable[..., Env], tmp_path: Path
) -> None:
    env = documented("py")
    whole = through_every_command(codecard, env, tmp_path, "sums", "--model", "abacus:hasty")
    assert read_scores(whole)["sums/average"]["pass@1"]["value"] == pytest.approx(1 / 3)
    assert read_manifest(whole)["recipe"]["model"] == "abacus:hasty"


def test_an_option_of_an_installed_suite_decides_and_is_part_of_its_identity(
    codecard: Command, documented: Callable[..., Env], tmp_path: Path
) -> None:
    env, run = documented("py"), tmp_path / "run"
    asked = ("run", "--suite", "sums", "--model", "abacus:hasty", "--out", run)
    assert codecard(*asked, "--set", "sums.tolerance=1", env=env).returncode == 0
    assert read_scores(run)["sums/average"]["pass@1"]["value"] == 1.0
    for changed in ("sums.tolerance=0", "sums.largest=2"):
        done = codecard(*asked, "--set", "sums.tolerance=1", "--set", changed, env=env)
        assert done.returncode == 2
        assert f"another {changed.partition('=')[0]}" in done.stderr
    typo = codecard(*asked, "--set", "sums.tolerence=1", env=env)
    assert typo.returncode == 2
    assert "did you mean 'tolerance'?" in typo.stderr
