"""Where the project's declarative files lie: beside the source in a checkout, inside the package in a wheel."""

from __future__ import annotations

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def _folder(checkout: str, packaged: str) -> Path:
    shipped = _PACKAGE / "data" / packaged
    return shipped if shipped.is_dir() else _PACKAGE.parent.parent / checkout


def tasks_dir() -> Path:
    """The project's own task definitions and profiles."""
    return _folder("tasks", "tasks")


def task_roots() -> list[Path]:
    """Folders that hold a folder a suite: the project's own, then those of `CODECARD_TASKS` (separated by `:`)."""
    return [tasks_dir(), *_listed("CODECARD_TASKS")]


def sandbox_dir() -> Path:
    """The Dockerfile, and one folder per language: definition, packages, warm servers."""
    return _folder("sandbox", "sandbox")


def language_roots() -> list[Path]:
    """Folders that hold a folder a language: the project's own, then those of `CODECARD_LANGUAGES`."""
    return [sandbox_dir(), *_listed("CODECARD_LANGUAGES")]


def reported_dir() -> Path:
    """Published cells with their sources."""
    return _folder("results/reported", "reported")


def cache_dir() -> Path:
    """`CODECARD_CACHE`, or `codecard` in the user's cache folder. Not created here."""
    if override := os.environ.get("CODECARD_CACHE"):
        return Path(override).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "codecard"


def data_dir() -> Path | None:
    """`CODECARD_DATA` as a folder, or None when it is not set."""
    override = os.environ.get("CODECARD_DATA")
    return Path(override).absolute() if override else None


def _listed(variable: str) -> list[Path]:
    return [Path(part).absolute() for part in os.environ.get(variable, "").split(":") if part]
