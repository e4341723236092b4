"""Where the suite's files come from: a folder, or their pinned addresses by way of the cache."""

from __future__ import annotations

from pathlib import Path

from codecard import paths
from codecard.model import UsageError
from codecard.sql.definition import SqlDefinition


def data_folder(version: SqlDefinition, data_dir: Path | None = None) -> Path:
    """The folder with the version's files, laid out as CODECARD_DATA/sql.

    That of `data_dir` or CODECARD_DATA where one is given; else the cache, after fetching what it lacks. Raises
    UsageError where the given folder has no `sql`, InfrastructureError where a file cannot be fetched or is not
    the pinned one.
    """
    given = data_dir or paths.data_dir()
    if given is not None:
        folder = given / "sql"
        if not folder.is_dir():
            raise UsageError(f"{given}: no folder `sql` there (see docs/sql.md for the layout)")
        return folder
    folder = paths.cache_dir() / "sql"
    for file in version.files:
        file.fetch(folder)
    return folder
