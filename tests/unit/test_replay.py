"""Completions recorded elsewhere, and the forms in which a model is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from codecard.generate import GenerationRequest, Generator, open_generator
from codecard.model import FinishReason, PromptStyle, Sampling, UsageError


def recorded(folder: Path, *rows: Any) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def row(problem: str = "p", **more: Any) -> dict[str, Any]:
    return {"task": "starter/py", "problem": problem, "sample": 0, "completion": "return 1\ndef x", **more}


def ask(problem: str = "p", sample: int = 0) -> GenerationRequest:
    return GenerationRequest(
        task="starter/py", problem=problem, sample=sample, prompt="x", stops=("\ndef",), sampling=Sampling()
    )


def test_recorded_text_comes_back_as_it_stands(tmp_path: Path) -> None:
    """Text comes back as recorded, stop strings included; `answer` is a chat answer; order is the requests'."""
    answer = {"task": "starter/py", "problem": "q", "answer": "```python\r\n```"}
    generator: Generator = open_generator(f"replay:{recorded(tmp_path, row(), '', answer)}")
    second, first = generator.generate([ask("q"), ask("p")])
    assert (first.text, first.style) == ("return 1\ndef x", PromptStyle.RAW)
    assert (second.text, second.style) == ("```python\r\n```", PromptStyle.CHAT)
    assert first.finish_reason is FinishReason.UNKNOWN


def test_rows_of_our_own_journal_keep_their_details(tmp_path: Path) -> None:
    """Rows written with style, finish reason and token counts keep them."""
    more: dict[str, Any] = {"style": "chat", "finish_reason": "length", "prompt_tokens": 4, "new_tokens": 9}
    generator = open_generator(f"replay:{recorded(tmp_path, row(**more))}")
    found = next(iter(generator.generate([ask()])))
    assert (found.style, found.finish_reason, found.prompt_tokens, found.new_tokens) == ("chat", "length", 4, 9)


def test_a_missing_row_is_refused_by_name(tmp_path: Path) -> None:
    """A request without a recorded row is an error that names it, not an empty completion."""
    generator = open_generator(f"replay:{recorded(tmp_path, row())}")
    with pytest.raises(UsageError, match="no completion of starter/py p sample 3"):
        list(generator.generate([ask(sample=3)]))


def test_a_changed_file_has_another_fingerprint(tmp_path: Path) -> None:
    """The fingerprint follows the file's content."""
    first = open_generator(f"replay:{recorded(tmp_path, row())}").fingerprint()
    second = open_generator(f"replay:{recorded(tmp_path, row(), row('q'))}").fingerprint()
    assert first["revision"] != second["revision"]
    assert len(first["revision"]) == len("sha256:") + 64


def test_a_byte_order_mark_is_no_part_of_the_first_row(tmp_path: Path) -> None:
    """A recording that was saved on Windows is the same recording."""
    file = recorded(tmp_path, row())
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert next(iter(open_generator(f"replay:{file}").generate([ask()]))).text == row()["completion"]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ('{"task": "starter/py", "prob', ":2: not JSON"),
        ([1, 2], ":2: not a JSON object"),
        ({"task": "starter/py", "problem": "p", "sample": 1}, ":2: no 'completion'"),
        (row(sample="1"), ":2: .*whole number"),
        (row(completion=None), ":2: .*strings"),
        (row(style="loud"), ":2: .*loud"),
        (row(completion="other"), ":2: a second, different row"),
    ],
    ids=["torn", "no object", "no text", "sample", "null", "style", "contradiction"],
)
def test_a_bad_row_is_refused_with_its_line(tmp_path: Path, bad: Any, said: str) -> None:
    """A row that cannot be used stops the load with file and line; none is dropped in silence."""
    with pytest.raises(UsageError, match=said):
        open_generator(f"replay:{recorded(tmp_path, row(), bad)}")


def test_only_a_line_feed_ends_a_row(tmp_path: Path) -> None:
    """Only line feeds end a row: U+2028 and U+0085 may stand in a completion as they are."""
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row(completion="a\u2028b\u0085c"), ensure_ascii=False) + "\n", encoding="utf-8")
    assert next(iter(open_generator(f"replay:{path}").generate([ask()]))).text == "a\u2028b\u0085c"


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("replay:/no/such/file", "No such file"),
        ("replay:/", "directory"),
        ("/no/such/folder", "neither a folder nor a known form"),
        ("bigcode/starcoder", "hf:ORG/NAME"),
        ("hf:", "expected hf:ORG/NAME"),
        ("hf:a/b/c", "expected hf:ORG/NAME"),
        ("ftp:x", "unknown backend"),
        ("", "known form"),
        (__file__, "is a file"),
    ],
)
def test_an_unknown_model_is_a_usage_error_of_one_line(spec: str, said: str) -> None:
    """A model that is named in no known form is a usage error of one line."""
    with pytest.raises(UsageError, match=said) as told:
        open_generator(spec)
    assert "\n" not in str(told.value)
