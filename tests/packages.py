"""Packages made on the spot and installed by pip, as a user would install one."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"


def documented_files(page: str) -> dict[str, str]:
    """Path → content of the files that a page of the documentation shows: a path in backticks, then a fenced block."""
    text = (DOCS / page).read_text()
    return dict(re.findall(r"^`([\w./-]+)`\n\n```\w*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))


def write_files(folder: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def install(target: Path, name: str, source: str, project: str) -> None:
    """One module as a package in the folder `target`; `project`: its pyproject's entry points."""
    groups = tomllib.loads(project)["project"]["entry-points"]
    points = "".join(
        f"[{group}]\n" + "".join(f"{entry} = {value}\n" for entry, value in entries.items())
        for group, entries in groups.items()
    )
    target.mkdir(parents=True, exist_ok=True)
    wheel, info = target.parent / f"{name}-1.0-py3-none-any.whl", f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": source,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": points,
    }
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
        archive.writestr(f"{info}/RECORD", "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"]))
    command = ["install", "--quiet", "--no-index", "--no-deps", "--disable-pip-version-check", "--target", str(target)]
    subprocess.run([sys.executable, "-m", "pip", *command, str(wheel)], check=True, capture_output=True)
