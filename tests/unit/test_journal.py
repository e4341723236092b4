"""A journal that a crash cannot corrupt."""

from __future__ import annotations

from pathlib import Path

import pytest

from codecard.journal import Journal, read_journal
from codecard.model import UsageError
from codecard.runs.folder import RunFolder
from codecard.runs.manifest import Manifest


def test_torn_last_line_is_dropped_on_open(tmp_path: Path) -> None:
    """kill -9 in the middle of a write left half a row; the next run must not trip over it or glue to it."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": 2}\n{"a": 3')
    assert [row["a"] for row in read_journal(path)] == [1, 2]
    journal = Journal(path)
    journal.append({"a": 4})
    journal.close()
    assert [row["a"] for row in read_journal(path)] == [1, 2, 4]


def test_a_file_that_is_one_torn_line_becomes_empty(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": ' + b"x" * 200_000)
    Journal(path).close()
    assert path.read_bytes() == b""


def test_a_broken_line_in_the_middle_is_named_not_skipped(tmp_path: Path) -> None:
    """Something other than a crash wrote there: going on would silently lose a row."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\nnonsense\n{"a": 3}\n')
    with pytest.raises(UsageError, match=r"rows\.jsonl:2: not JSON"):
        list(read_journal(path))


@pytest.mark.parametrize("text", ["", "naïve ✓", "\x00\x1b[31m", "\ud800 lone surrogate", "a\nb\u2028c"])
def test_any_text_comes_back_as_it_went_in(tmp_path: Path, text: str) -> None:
    """Model output holds anything, lone surrogates and line separators included."""
    journal = Journal(tmp_path / "rows.jsonl")
    journal.append({"text": text})
    journal.close()
    assert list(read_journal(tmp_path / "rows.jsonl")) == [{"text": text}]


def asked(temperature: float) -> Manifest:
    return Manifest(format=2, recipe={"model": "m"}, asking={"starter": {"sampling": {"temperature": temperature}}})


def test_resuming_under_another_identity_is_refused_by_the_field_and_both_values(tmp_path: Path) -> None:
    """Mixing two temperatures in one folder would give a number that belongs to neither."""
    RunFolder(tmp_path / "run", asked(0.2), []).close()
    with pytest.raises(UsageError, match=r"another asking\.starter\.sampling\.temperature \(0\.2; now 0\.8\)"):
        RunFolder(tmp_path / "run", asked(0.8), [])
    RunFolder(tmp_path / "run", asked(0.2), []).close()


def test_two_processes_cannot_write_one_run(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run", asked(0), []), pytest.raises(UsageError, match="in use"):
        RunFolder(tmp_path / "run", asked(0), [])


def test_an_unwritable_folder_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write to"):
        RunFolder(tmp_path / "file" / "run", asked(0), [])
