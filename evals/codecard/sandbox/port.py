"""The port through which programs run: a sandbox opens slots, a slot runs one command at a time.

Two adapters stand behind it, docker and bubblewrap. Both start the same agent inside; all that differs is how the
walls around it are built.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from codecard.model import Stage, StageLimits


class SlotDied(Exception):
    """The slot is gone or broke its protocol: an infrastructure fault, never the program's verdict."""


class ProtocolBroken(SlotDied):
    """It answered, but not in our terms: that is a fault of ours, whatever the program did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRequest:
    """One command with the files it finds in its work folder; `collect` names the files to bring back."""

    command: tuple[str, ...]
    files: Mapping[str, bytes]
    limits: StageLimits
    collect: tuple[str, ...] = ()
    server: tuple[str, ...] = ()
    """Command of a warm server that runs the program, before `command` where there is one."""
    server_kind: str = ""
    """`fork` for a server that forks per program, `inside` for one that compiles in itself."""
    proof: str = ""
    """Name of the file in the scratch folder whose existence proves that the tests ran to their end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageAnswer:
    """What the agent saw. Facts only; the verdict is made from them by `verdicts`."""

    exit_code: int | None
    signal: int | None
    killed: str
    """Why the agent stopped it: cpu, wall, memory, output, or empty; `server` when the warm server failed."""
    oom: bool
    proved: bool
    clean: bool
    """False when something was left behind; the slot must be replaced, the facts stand."""
    cpu_s: float
    wall_s: float
    delayed_s: float
    """Seconds that the machine's load kept the program from a core."""
    peak_memory_bytes: int
    output_bytes: int
    stdout: bytes = b""
    stderr: bytes = b""
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """What a slot of a language is made of: its digest and the version its toolchain prints."""

    language: str
    digest: str
    version: str
    warm: bool = True
    """The image holds what the warm servers of its language need."""


class Slot(Protocol):
    def run(self, request: StageRequest) -> StageAnswer:
        """Raises SlotDied; after that, or after an unclean answer, the slot must be closed."""
        ...

    def close(self) -> None: ...


class Sandbox(Protocol):
    """`docker` or `bwrap`."""

    name: str

    def image(self, language: str) -> Image:
        """Raises InfrastructureError with the remedy when the language cannot run here."""
        ...

    def open_slot(self, language: str, stage: Stage) -> Slot: ...

    def close(self) -> None: ...
