"""Files of a benchmark that are pinned by their hash: read from a folder, or fetched once from their address."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from codecard.files import make_dir, write_bytes
from codecard.model import InfrastructureError, UsageError

TIMEOUT_S = 60
MAX_BYTES = 16 * 1024**2


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedFile:
    """A file of the benchmark: its place under the data folder, where it comes from, and its hash."""

    path: str
    url: str
    sha256: str

    def read(self, folder: Path) -> bytes:
        """The file's bytes from `folder`, verified. UsageError where it is missing or another one."""
        place = folder / self.path
        try:
            content = place.read_bytes()
        except OSError as error:
            raise UsageError(f"{place}: cannot be read ({error.strerror})") from None
        if _sha256(content) != self.sha256:
            raise UsageError(f"{place}: not the pinned file (sha256 {self.sha256[:12]}… expected)")
        return content

    def fetch(self, folder: Path) -> None:
        """Put the file under `folder` unless it is there already; never leaves half a file, or another one.

        Raises InfrastructureError where it cannot be downloaded or what comes is not the pinned file.
        """
        import urllib.error
        import urllib.request

        place = folder / self.path
        if place.is_file() and _sha256(place.read_bytes()) == self.sha256:
            return
        try:
            with urllib.request.urlopen(self.url, timeout=TIMEOUT_S) as answer:  # noqa: S310 - pinned by a task's TOML
                content: bytes = answer.read(MAX_BYTES)
        except (urllib.error.URLError, OSError) as error:
            why = getattr(error, "reason", error)
            raise InfrastructureError(
                f"cannot download {self.url}: {why}; try again, or name a folder with --data-dir or CODECARD_DATA"
            ) from None
        if _sha256(content) != self.sha256:
            raise InfrastructureError(
                f"{self.url}: what came is not the pinned file (sha256 {self.sha256[:12]}… expected)"
            )
        make_dir(place.parent)
        write_bytes(place, content)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
