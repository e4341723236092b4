"""Files in and out, one way each: JSONL and JSON read with place and cause of an error, and files written whole or not
at all."""

from __future__ import annotations

import gzip
import io
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from codecard.model import UsageError

Row = dict[str, Any]


def read_bytes(path: Path) -> bytes:
    """A file's bytes, unpacked where its name ends in `.gz`. UsageError in one line where that cannot be."""
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if path.suffix == ".gz" else data
    except EOFError:
        raise UsageError(f"cannot read {path}: the file is cut off") from None
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {os.strerror(error.errno) if error.errno else 'not a gzip file'}"
        ) from None


def read_jsonl(path: Path) -> list[Row]:
    """The objects of a JSONL file. UsageError names file and line."""
    return [row for _, row in numbered_rows(read_bytes(path), path)]


def numbered_rows(lines: bytes | Iterable[bytes], path: Path) -> Iterator[tuple[int, Row]]:
    """(line, object) of each line that is not blank; `path` is where they came from, whole or line by line.

    A byte order mark, which Windows' tools put before the first line, is none of it.
    """
    for number, line in enumerate(io.BytesIO(lines) if isinstance(lines, bytes) else lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line.decode("utf-8-sig"))
        except UnicodeDecodeError:
            raise UsageError(f"{path}:{number}: not UTF-8") from None
        except (ValueError, RecursionError) as error:
            torn = "" if line.endswith(b"\n") else " (the file is cut off here)"
            raise UsageError(f"{path}:{number}: not JSON: {getattr(error, 'msg', error)}{torn}") from None
        if not isinstance(row, dict):
            raise UsageError(f"{path}:{number}: not a JSON object")
        yield number, row


def read_json(path: Path, what: str = "") -> Row:
    """An object out of a JSON file; `what` says, where the file is missing, what its folder then is not."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if what:
            raise UsageError(f"{path.parent} is not {what}: it has no {path.name}") from None
        raise UsageError(f"cannot read {path}: No such file or directory") from None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {os.strerror(error.errno or 0)}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not JSON ({error})") from None
    if not isinstance(value, dict):
        raise UsageError(f"{path}: not a JSON object")
    return value


def make_dir(path: Path) -> None:
    """UsageError in one line where the folder cannot be made."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make {path}: {os.strerror(error.errno or 0)}") from None


def write_bytes(path: Path, data: bytes) -> None:
    """Whole or not at all: a crash leaves the old file. UsageError where it cannot be written."""
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {os.strerror(error.errno or 0)}") from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException as error:
        os.unlink(temporary)
        if isinstance(error, OSError):
            raise UsageError(f"cannot write {path}: {os.strerror(error.errno or 0)}") from None
        raise


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: Path, value: Row) -> None:
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def write_lines(path: Path, rows: Iterable[Row]) -> None:
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
