"""The YAML front matter of a card: read with places, and patched as text.

Loading and dumping YAML loses comments, order or quotes, and huggingface_hub 2.4.0 merges model-index
entries on the way (its key leaves the data set's name out). Here a value's own characters are replaced and
nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from codecard.card.markdown import body_start
from codecard.model import InfrastructureError, UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexEntry:
    """One metric of one result of the `model-index`. Offsets are into the document."""

    model: str
    task_type: str
    dataset: dict[str, str]
    """type, name, config, split, revision, args: those given."""
    metric_name: str
    metric_type: str
    value: str
    line: int
    value_at: tuple[int, int]
    dataset_at: dict[str, tuple[int, int]]
    """Places of the data set's values, by key."""
    dataset_line: int
    insert_at: int
    """Where further keys of the data set may be written."""
    insert_before: str
    """What must stand before such a key: a new line and the indentation, or a comma."""

    @property
    def identity(self) -> tuple[str, ...]:
        """What huggingface_hub groups results by (`EvalResult.unique_identifier`): the name is not in it."""
        given = self.dataset
        return (self.task_type, *(given.get(key, "") for key in ("type", "config", "split", "revision")))

    @property
    def title(self) -> str:
        return self.dataset.get("name") or self.dataset.get("type", "")


def front_matter(document: str) -> tuple[str, int]:
    """The YAML between the two `---` lines, and the offset it starts at. Empty where there is none."""
    end = body_start(document)
    if not end:
        return "", 0
    start = document.index("\n") + 1
    return document[start : document.rstrip("\r\n").rfind("---", start, end)], start


def index_entries(document: str) -> list[IndexEntry]:
    """The model-index of a card, one entry a metric, in order.

    Raises UsageError with the line where the YAML cannot be read. Parts that do not have the model-index's
    shape are passed over: a card may hold what it likes there.
    """
    text, offset = front_matter(document)
    if not text.strip():
        return []
    return [
        entry
        for model in _items(_get(_compose(text), "model-index"))
        for result in _items(_get(model, "results"))
        for entry in _result_entries(result, _text(_get(model, "name")), text, offset)
    ]


def _result_entries(result: Any, model: str, text: str, offset: int) -> Iterator[IndexEntry]:
    dataset = _get(result, "dataset")
    pairs = list(dataset.value) if _is_map(dataset) else []
    if not pairs:
        return
    indent = " " * pairs[0][0].start_mark.column
    line_end = "\r\n" if "\r\n" in text else "\n"
    last = pairs[-1][1]
    for metric in _items(_get(result, "metrics")):
        value = _get(metric, "value")
        if value is None or not isinstance(value.value, str):
            continue
        yield IndexEntry(
            model=model,
            task_type=_text(_get(_get(result, "task"), "type")),
            dataset={key.value: _text(node) for key, node in pairs if isinstance(key.value, str)},
            metric_name=_text(_get(metric, "name")),
            metric_type=_text(_get(metric, "type")),
            value=value.value,
            line=value.start_mark.line + 2,
            value_at=(offset + value.start_mark.index, offset + value.end_mark.index),
            dataset_at={
                key.value: (offset + node.start_mark.index, offset + node.end_mark.index)
                for key, node in pairs
                if isinstance(key.value, str) and isinstance(node.value, str) and node.value
            },
            dataset_line=pairs[0][0].start_mark.line + 2,
            insert_at=offset + (last.end_mark.index if dataset.flow_style else _line_end(text, last)),
            insert_before=", " if dataset.flow_style else line_end + indent,
        )


def _line_end(text: str, node: Any) -> int:
    """End of the line a scalar ends on, behind its comment."""
    found = text.find("\n", node.end_mark.index)
    end = len(text) if found < 0 else found
    return end - 1 if text[end - 1 : end] == "\r" else end


def _compose(text: str) -> Any:
    """The tree of a front matter's YAML; its first line is the document's second."""
    try:
        from ruamel.yaml import YAML
        from ruamel.yaml.error import YAMLError
    except ImportError as error:
        raise InfrastructureError(
            "reading a card's front matter needs ruamel.yaml: pip install 'codecard[card]'"
        ) from error
    try:
        return YAML(typ="rt", pure=True).compose(text)
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 2 if mark else 2
        problem = getattr(error, "problem", None) or "not YAML"
        raise UsageError(f"line {line}: the front matter cannot be read: {problem}") from error
    except (RecursionError, ValueError) as error:
        raise UsageError(f"line 2: the front matter cannot be read: {error}") from error


def _is_map(node: Any) -> bool:
    return node is not None and node.id == "mapping"


def _get(node: Any, key: str) -> Any:
    if not _is_map(node):
        return None
    return next((value for name, value in node.value if name.value == key), None)


def _items(node: Any) -> list[Any]:
    return list(node.value) if node is not None and node.id == "sequence" else []


def _text(node: Any) -> str:
    return node.value if node is not None and isinstance(node.value, str) else ""
