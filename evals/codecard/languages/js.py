"""A JavaScript program out of a chat answer."""

from __future__ import annotations

import re

from codecard.languages.making import Parts, join
from codecard.languages.scanning import drop_statements, mask

_JS_USAGE = (
    r"(?:console\s*\.\s*\w+|(?:node:)?assert(?:\s*\.\s*\w+)?|module\s*\.\s*exports|{0}|"
    r"(?:run)?[tT]ests?\w*|main|check\w*)\s*\("
)


def program(parts: Parts) -> str:
    code = re.sub(r"^export\s+(?:default\s+)?(?=async|function|const|let|var|class)", "", parts.code, flags=re.M)
    code = drop_statements(code, "js", _JS_USAGE.format(parts.name), ";\n")
    code = drop_statements(code, "js", r"if\s*\(\s*require\s*\.\s*main", "}")
    if re.search(r"^(?:const|let|var|class|function)\s+\{?\s*(?:assert|test)\b", mask(code, "js"), re.M):
        code = f"const {parts.name} = (() => {{\n{code}\nreturn {parts.name};\n}})();"
    return join(parts.head, code, parts.tests)
