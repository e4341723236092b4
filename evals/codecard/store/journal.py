"""An append-only JSONL file that survives `kill -9`: a torn last line is dropped when it is opened."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from codecard.model import CodecardError


class CorruptJournal(CodecardError):
    """A line in the middle of a journal is not JSON: something other than a crash wrote there."""


class Journal:
    """Rows appended one by one, each in a single write. Reading yields the rows of complete lines."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._drop_torn_line()
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def _drop_torn_line(self) -> None:
        if not self.path.exists():
            return
        with self.path.open("r+b") as file:
            file.seek(0, os.SEEK_END)
            size = file.tell()
            end = size
            while end > 0:
                step = min(65536, end)
                file.seek(end - step)
                newline = file.read(step).rfind(b"\n")
                if newline >= 0:
                    end = end - step + newline + 1
                    break
                end -= step
            if end < size:
                file.truncate(end)

    def append(self, row: dict[str, Any]) -> None:
        data = (json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")
        while data:
            data = data[os.write(self._file, data) :]

    def sync(self) -> None:
        os.fsync(self._file)

    def close(self) -> None:
        self.sync()
        os.close(self._file)


def read_journal(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a journal, without opening it for writing. A torn last line is left out."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            try:
                row = json.loads(line)
            except ValueError as error:
                raise CorruptJournal(f"{path}:{number}: not JSON ({error})") from None
            if not isinstance(row, dict):
                raise CorruptJournal(f"{path}:{number}: not a JSON object")
            yield row
