"""Where the project's declarative files lie: beside the source in a checkout, inside the package in a wheel."""

from __future__ import annotations

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent


def _folder(checkout: str, packaged: str) -> Path:
    shipped = _PACKAGE / "data" / packaged
    return shipped if shipped.is_dir() else _PACKAGE.parent.parent / checkout


def tasks_dir() -> Path:
    """Task definitions and profiles."""
    return _folder("tasks", "tasks")


def sandbox_dir() -> Path:
    """One folder per language: Dockerfile, packages, toolchain."""
    return _folder("sandbox", "sandbox")


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
