"""A Java program out of a chat answer: one `class Problem` that holds the function."""

from __future__ import annotations

import re
from dataclasses import dataclass

from codecard.languages.making import Parts, join, opener
from codecard.languages.scanning import block_end, depths, drop_function, mask

_JAVA_TYPE = re.compile(
    r"\b((?:(?:public|abstract|final|static|sealed|strictfp)\s+)*)"
    r"(?:class|interface|enum|record)\s+(\w+)([^{};]*)\{"
)
_JAVA_MAIN = r"(?:@\w+\s+)*(?:(?:public|static|final)\s+)*void\s+main\s*(?=\()"


def program(parts: Parts) -> str:
    """One `class Problem` around the members that stand beside the function; other types go before it."""
    code = parts.code
    imports = re.findall(r"^\s*(import\s[^;]+;)", f"{parts.head}\n{mask(code, 'java')}", re.MULTILINE)
    code = re.sub(r"^[ \t]*(?:import|package)\s[^;\n]+;", "", code, flags=re.MULTILINE)
    types, loose = _java_types(code)
    home = next((found for found in types if parts.defines(found.body)), None)
    heading, members = "class Problem", loose
    if home:
        heading += home.heritage.rstrip()
        members = re.sub(rf"\b{home.name}\b", "Problem", home.body)
    others = [found.source for found in types if found is not home and found.name != "Problem"]
    members = drop_function(members, "java", _JAVA_MAIN)
    opening = opener(members, "java", "    static {", parts.tests)
    return join("\n".join(dict.fromkeys(imports)), *others, heading + " {", members, opening, parts.tests)


@dataclass(frozen=True, slots=True)
class _JavaType:
    """A top-level type: `heritage` is what stands between name and body; `source` lacks the word public."""

    name: str
    heritage: str
    body: str
    source: str


def _java_types(code: str) -> tuple[list[_JavaType], str]:
    """The types at the top of `code`, and the rest of it. A body that is never closed runs to the end."""
    masked = mask(code, "java")
    depth = depths(masked)
    types: list[_JavaType] = []
    loose, at = "", 0
    for match in _JAVA_TYPE.finditer(masked):
        if match.start() < at or depth[match.start(2)] != 0:
            continue
        end = block_end(masked, match.end() - 1)
        body = code[match.end() : end - 1 if depth[end] == 0 else end]
        source = re.sub(r"\bpublic\s+", "", match[1]) + code[match.end(1) : end]
        types.append(_JavaType(match[2], match[3], body, source))
        loose += code[at : match.start()]
        at = end
    return types, loose + code[at:]
