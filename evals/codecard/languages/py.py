"""The Python of a chat answer: what of it is program, and what is prose or usage."""

from __future__ import annotations

import ast
import re
import textwrap
import warnings

from codecard.languages.making import Parts, join


def program(parts: Parts) -> str:
    code = without_usage(parts.code, parts.name)
    future = re.findall(r"^from __future__ import [^\n]+\n", code, re.MULTILINE)
    code = re.sub(r"^from __future__ import [^\n]+\n", "", code, flags=re.MULTILINE)
    return join(*future, parts.head, code, parts.tests)


def indented(body: str) -> str:
    """A function's body that lacks its indentation, with it."""
    return textwrap.indent(body, "    ") if re.match(r"\s*^\S", body, re.MULTILINE) else body


def code_in(text: str, name: str) -> str:
    """The stretch of plain text that parses and defines `name`; the text itself if there is none."""
    lines = text.split("\n")
    starts = [at for at, line in enumerate(lines) if re.match(r"(?:from|import|def|class|async|@|#)\b|@|#", line)]
    for start in starts:
        code = _longest_program("\n".join(lines[start:]))
        if re.search(rf"^(?:async\s+)?def\s+{name}\b|^{name}\s*=", code, re.MULTILINE):
            return code
    return text


def without_usage(code: str, name: str) -> str:
    """`code` without what runs on its own: the main guard, and calls and checks after `name` is defined.

    Definitions, imports and assignments stay, and so does all else that stands before the definition. Code
    that does not parse (an answer that broke off) is first cut to its longest parsing beginning.
    """
    code = _longest_program(code)
    tree = _parse(code)
    if isinstance(tree, int):
        return code
    lines = code.split("\n")
    defined = False
    for node in tree.body:
        if _is_main_guard(node) or (defined and not _kept(node, name)):
            for at in range(node.lineno - 1, node.end_lineno or node.lineno):
                lines[at] = ""
        defined = defined or _defines(node, name)
    return "\n".join(lines)


def _longest_program(code: str) -> str:
    """`code` up to the line before the first that does not parse; `code` itself if nothing is left."""
    lines = code.split("\n")
    while lines:
        parsed = _parse("\n".join(lines))
        if isinstance(parsed, ast.Module):
            return "\n".join(lines)
        lines = lines[: min(parsed, len(lines)) - 1]
    return code


def _parse(code: str) -> ast.Module | int:
    """The syntax tree, or the number (from 1) of the line that is at fault."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(code)
    except SyntaxError as error:
        return max(1, error.lineno or 1)
    except (ValueError, RecursionError, MemoryError):
        return 1


def _is_main_guard(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and "__name__" in {
        name.id for name in ast.walk(node.test) if isinstance(name, ast.Name)
    }


def _defines(node: ast.stmt, name: str) -> bool:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return node.name == name
    return isinstance(node, ast.Assign) and any(
        isinstance(target, ast.Name) and target.id == name for target in node.targets
    )


def _kept(node: ast.stmt, name: str) -> bool:
    definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)
    if isinstance(node, definitions) or _defines(node, name):
        return True
    used = {found.id for found in ast.walk(node) if isinstance(found, ast.Name)}
    return isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)) and name not in used
