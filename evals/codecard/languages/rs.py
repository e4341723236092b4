"""A Rust program out of a chat answer."""

from __future__ import annotations

import re

from codecard.languages.making import Parts, join, opener
from codecard.languages.scanning import drop_function, mask


def program(parts: Parts) -> str:
    code = drop_function(parts.code, "rs", r"\b(?:pub\s+)?(?:async\s+)?fn\s+main\s*(?=\()")
    imported = set(re.findall(r"\w+", " ".join(re.findall(r"\buse\b[^;]*;", mask(code, "rs")))))
    uses = [line for line in parts.head.split("\n") if not set(re.findall(r"(\w+);", line)) & imported]
    return join("\n".join(uses), code, opener(code, "rs", "fn _before_tests() {", parts.tests), parts.tests)
