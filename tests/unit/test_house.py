"""The rules of the house that a reader relies on, and the pages that tell them."""

from __future__ import annotations

import dataclasses
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from codecard.languages import find_language, language_names
from codecard.runs.manifest import Manifest, Role
from codecard.suites import suite_names

ROOT = Path(__file__).parent.parent.parent
PACKAGE = ROOT / "evals" / "codecard"
HEAVY = ("torch", "transformers", "docker", "lm_eval", "psycopg", "scipy.stats", "pandas", "matplotlib", "datasets")


@pytest.mark.parametrize("room", ["runs", "report", "cli"])
def test_runs_reports_and_commands_name_no_suite_and_no_language(room: str) -> None:
    """What is added as a folder must not be needed here as a name."""
    titles = [find_language(name).title for name in language_names()]
    names = [*suite_names(), *language_names(), *titles, "MultiPL-E", "MT-Bench", "SQL", "Zero-shot"]
    pattern = re.compile("|".join(rf"(?<![\w.{{]){re.escape(name)}(?![\w}}])" for name in names))
    found = [
        f"{file.relative_to(PACKAGE)}:{number}: {line.strip()}"
        for file in (PACKAGE / room).rglob("*.py")
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if pattern.search(line.replace('"js"', "").replace("{kind}", ""))
    ]
    assert found == []


def test_the_core_imports_no_heavy_library() -> None:
    """Neither `import codecard` nor the command line's help waits for what a command may never need."""
    code = (
        "import sys, codecard, codecard.api, codecard.cli\n"
        "from codecard.suites import find_suite, suite_names\n"
        "[find_suite(name) for name in suite_names()]\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_field_of_a_manifest_says_its_role() -> None:
    for field in dataclasses.fields(Manifest):
        assert set(field.metadata["roles"]) <= set(Role), field.name
        assert field.metadata["roles"] or field.name == "facts"  # whose parts have a role each


def test_the_page_of_the_commands_is_what_the_commands_say() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "cli_docs.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", *sorted(
    path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md")
)])  # fmt: skip
def test_a_page_points_only_to_what_is_there(page: str) -> None:
    """Links, and the files, modules and scripts that are named in backticks."""
    text = (ROOT / page).read_text()
    links = [link.partition("#")[0] for link in re.findall(r"\]\((?!https?:)([^)#][^)]*)\)", text)]
    missing = [link for link in links if not (ROOT / page).parent.joinpath(link).exists()]
    files = re.findall(r"`((?:scripts|tests|tasks|sandbox|evals|docs|results)/[\w./-]+\w)`", text)
    missing += [file for file in files if page != "docs/extending.md" and not (ROOT / file).exists()]
    assert missing == []
    for name in re.findall(r"`(codecard(?:\.\w+)+)(?:\(\))?`", text):
        assert resolves(name), name


def resolves(name: str) -> bool:
    """Whether a dotted name is a module or something in one."""
    if name in ("codecard.suites", "codecard.generators"):  # entry points
        return True
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False
