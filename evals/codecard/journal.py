"""An append-only JSONL file that survives `kill -9`: a torn last line is dropped when it is opened."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path

from codecard.files import Row, numbered_rows
from codecard.model import UsageError


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

    def append(self, row: Row) -> None:
        data = (json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")
        while data:
            data = data[os.write(self._file, data) :]

    def close(self) -> None:
        os.fsync(self._file)
        os.close(self._file)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_journal(path: Path, needed: tuple[str, ...] = ()) -> Iterator[Row]:
    """Rows of a journal, without opening it for writing. A torn last line is left out; each row has the fields
    `needed`. UsageError names the line that is no such row: something other than a crash wrote there."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, row in numbered_rows(itertools.takewhile(lambda line: line.endswith(b"\n"), file), path):
            missing = next((name for name in needed if name not in row), None)
            if missing:
                raise UsageError(f"{path}:{number}: no field {missing!r}")
            yield row
