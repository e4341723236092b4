"""Where programs run. `open_sandbox` picks the adapter, `Executor` runs programs on it."""

from __future__ import annotations

from collections.abc import Callable

from codecard.model import InfrastructureError, UsageError
from codecard.sandbox.executor import Executor
from codecard.sandbox.port import Image, Sandbox
from codecard.sandbox.stages import Job
from codecard.text import unknown

__all__ = ["Executor", "Image", "Job", "Sandbox", "open_sandbox"]

NAMES = ("docker", "bwrap")


def open_sandbox(name: str | None, say: Callable[[str], None] = lambda _: None) -> Sandbox:
    """The named sandbox, or docker where an engine answers and bubblewrap where none does (and says so).

    Raises UsageError for an unknown name and InfrastructureError, with the remedy, when none works.
    """
    from codecard.sandbox.bubblewrap import BubblewrapSandbox
    from codecard.sandbox.docker_ import DockerSandbox

    if name not in (None, *NAMES):
        raise UsageError(unknown("sandbox", str(name), list(NAMES)))
    if name == "bwrap":
        return BubblewrapSandbox()
    try:
        return DockerSandbox()
    except InfrastructureError as error:
        if name == "docker":
            raise
        say(f"{error}; taking bubblewrap instead")
        return BubblewrapSandbox()
