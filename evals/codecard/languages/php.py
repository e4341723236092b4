"""A PHP program out of a chat answer."""

from __future__ import annotations

import re

from codecard.languages.making import Parts, join
from codecard.languages.scanning import drop_statements, mask


def program(parts: Parts) -> str:
    code = _php_only(parts.code)
    code = drop_statements(code, "php", rf"(?:echo|print|print_r|var_dump|assert|{parts.name})\b", ";")
    for taken in ("test", "candidate"):
        if re.search(rf"^function\s+{taken}\s*\(", mask(code, "php"), re.MULTILINE):
            code = re.sub(rf"\b{taken}(?=\s*\()", f"answer_{taken}", code)
    return join("<?php", code, parts.tests)


def _php_only(code: str) -> str:
    """PHP source without its tags; what stands between a closing and the next opening tag is no PHP."""
    code = re.sub(r"^\s*<\?(?:php\b|=)?", "", code)
    masked = mask(code, "php")
    while close := re.search(r"\?>", masked):
        reopened = re.search(r"<\?(?:php\b)?", masked[close.end() :])
        end = close.end() + reopened.end() if reopened else len(code)
        code = f"{code[: close.start()]}\n{code[end:]}"
        masked = mask(code, "php")
    return code
