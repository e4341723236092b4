"""A C++ program out of a chat answer."""

from __future__ import annotations

import re

from codecard.languages.making import Parts, join, opener
from codecard.languages.scanning import drop_function, mask


def program(parts: Parts) -> str:
    code, head = parts.code, parts.head
    code = drop_function(code, "cpp", r"\b(?:int|void|auto|signed)\s+main\s*\(")
    for kind, name in re.findall(r"\b(union|struct|class)\s+(\w+)\s*\{", mask(code, "cpp")):
        head = drop_function(head, "cpp", rf"\b{kind}\s+{name}\s*(?=\{{)")
    head = re.sub(r"^\s*;\s*$", "", head, flags=re.MULTILINE)
    return join(head, code, opener(code, "cpp", "namespace {", parts.tests), parts.tests)
