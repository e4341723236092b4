"""Where the suite's files come from: a folder, or their pinned addresses by way of the cache."""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
from pathlib import Path

from codecard.model import InfrastructureError, UsageError
from codecard.tasks import paths
from codecard.tasks.sql import PinnedFile, SqlDefinition

TIMEOUT_S = 60
MAX_BYTES = 16 * 1024**2


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
        fetch(file, folder)
    return folder


def fetch(file: PinnedFile, folder: Path) -> None:
    """Puts `file` under `folder` unless it is there already; never leaves half a file, or another one."""
    place = folder / file.path
    if place.is_file() and _sha256(place.read_bytes()) == file.sha256:
        return
    try:
        with urllib.request.urlopen(file.url, timeout=TIMEOUT_S) as answer:  # noqa: S310 - pinned in tasks/sql
            content: bytes = answer.read(MAX_BYTES)
    except (urllib.error.URLError, OSError) as error:
        why = getattr(error, "reason", error)
        raise InfrastructureError(
            f"{file.url}: not to be had ({why}); try again, or name a folder with --data-dir or CODECARD_DATA"
        ) from None
    if _sha256(content) != file.sha256:
        raise InfrastructureError(f"{file.url}: what came is not the pinned file (sha256 {file.sha256[:12]}… expected)")
    place.parent.mkdir(parents=True, exist_ok=True)
    partial = place.with_name(f".{place.name}.{os.getpid()}")
    partial.write_bytes(content)
    partial.replace(place)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
