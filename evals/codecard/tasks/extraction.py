"""Code out of chat answers: the dialogue that asks for it, and the program made of the reply.

The answer's own definition is kept whole (its helpers, imports and signature), never pasted behind the
prompt, which would define the function twice. What the prompt stands on (imports, types) is put in front,
and what would collide with the tests (a `main`, a class of another name, test code) is taken away. Tests that
begin with the brace that ends the function find one opened for them.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from codecard.tasks import fences, python_answers
from codecard.tasks.cutting import truncate
from codecard.tasks.scanning import block_end, depths, drop_function, drop_statements, line_start, mask

_TAGS = {"py": "python", "cpp": "cpp", "java": "java", "js": "javascript", "php": "php", "rs": "rust"}

_SIGNATURES = {
    "py": r"def\s+(\w+)\s*\(",
    "js": r"function\s*\*?\s*(\w+)\s*\(",
    "php": r"function\s+&?\s*(\w+)\s*\(",
    "rs": r"fn\s+(\w+)\s*[<(]",
    "cpp": r"(\w+)\s*\([^;{}]*\)[^;{}()]*\{",
    "java": r"(\w+)\s*\([^;{}]*\)[^;{}()]*\{",
}
_DEFINES = {
    "py": r"^(?:async\s+)?def\s+{0}\s*\(|^{0}\s*=",
    "js": r"function\s*\*?\s*{0}\s*\(|(?:const|let|var)\s+{0}\s*=",
    "php": r"function\s+&?\s*{0}\s*\(",
    "rs": r"fn\s+{0}\s*[<(]",
    "cpp": r"(?<=[\w>\]&*])\s+[&*]*{0}\s*\([^;{{}}]*\)[^;{{}}()]*\{{",
    "java": r"(?<=[\w>\]])\s+{0}\s*\([^;{{}}]*\)[^;{{}}()]*\{{",
}
_WHOLE_FILE = {
    "php": r"\s*<\?php",
    "cpp": r"\s*#include",
    "java": r"\s*(?:import|package|(?:public\s+)?class)\b",
}
"""How a block begins that cannot be the body of a function."""


def chat_prompt(problem_prompt: str, language: str) -> str:
    """The user turn that asks for a problem's function.

    Wording of DeepSeek-Coder's HumanEval evaluation (`Evaluation/HumanEval/eval_instruct.py`), which
    StarChat-style and Qwen evaluations took over.
    """
    return (
        "Please continue to complete the function. You are not allowed to modify the given code and do the "
        "completion only. Please return all completed function in a codeblock. Here is the given code to do "
        f"completion:\n```{_TAGS[language]}\n{problem_prompt.strip()}\n```"
    )


def chat_program(prompt: str, answer: str, tests: str, language: str, stops: Sequence[str]) -> str:
    """The whole program that a chat answer to `prompt` makes; it ends with `tests`.

    The first fenced block that defines the prompt's function is taken, or failing that such a stretch of
    plain text. Without either, the first block (or the whole answer) continues the prompt, cut at `stops`;
    but a whole file stays one, whatever it defines.
    """
    asked = _Asked.of(prompt, language)
    parts = fences.split(answer)
    candidates = [part for part in parts if part.fenced] + [part for part in parts if not part.fenced]
    chosen = next((part for part in candidates if asked.defined_in(part.text)), None)
    first = candidates[0].text if candidates else ""
    if chosen is not None:
        head, code = asked.head, chosen.text if chosen.fenced else asked.without_prose(chosen.text)
    elif re.match(_WHOLE_FILE.get(language, r"(?!)"), first):
        head, code = asked.head, first
    else:
        head, code = "", asked.continued_by(first, stops)
    return _BUILDERS[language](asked, head, code, tests)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A prompt taken apart: its function's name, and `head`, the code before the function, uncommented."""

    language: str
    prompt: str
    name: str
    head: str

    @classmethod
    def of(cls, prompt: str, language: str) -> _Asked:
        prompt = prompt.strip()
        if language == "py":
            masked, pattern = prompt, rf"^{_SIGNATURES['py']}"
        else:
            masked, pattern = mask(prompt, language), _SIGNATURES[language]
        found = list(re.finditer(pattern, masked, re.MULTILINE))
        if not found:
            return cls(language, prompt, "", "")
        start = line_start(masked, found[-1].start())
        head = re.sub(r"\n\s*\n", "\n", masked[:start]).strip()
        return cls(language, prompt, found[-1][1], head)

    def defined_in(self, text: str) -> bool:
        return bool(self.name) and self.definition(self._masked(text)) is not None

    def definition(self, masked: str) -> re.Match[str] | None:
        return re.search(_DEFINES[self.language].format(self.name), masked, re.MULTILINE)

    def continued_by(self, text: str, stops: Sequence[str]) -> str:
        """The prompt with a body that lacks its signature behind it."""
        if self.language != "py":
            return f"{self.prompt}\n{truncate(text, stops)}"
        body = textwrap.indent(text, "    ") if re.match(r"\s*^\S", text, re.MULTILINE) else text
        return f"{self.prompt}\n{truncate(body, stops)}"

    def without_prose(self, text: str) -> str:
        """Plain text from the first line that looks like code to the last brace that closes at the top."""
        if self.language == "py":
            return python_answers.code_in(text, self.name)
        masked = self._masked(text)
        definition = self.definition(masked)
        starts = re.search(
            r"^\s*(?:#include|using |use |import |package |template|class |public |//|/\*|<\?php)", text, re.M
        )
        at = definition.start() if definition else 0
        start = line_start(text, min(at, starts.start() if starts else at))
        depth = depths(masked)
        closes = [i + 1 for i, char in enumerate(masked) if char == "}" and depth[i + 1] == 0 and i > at]
        return text[start : closes[-1] if closes else len(text)]

    def _masked(self, text: str) -> str:
        return text if self.language == "py" else mask(text, self.language)


def _python(asked: _Asked, head: str, code: str, tests: str) -> str:
    code = python_answers.without_usage(code, asked.name)
    future = re.findall(r"^from __future__ import [^\n]+\n", code, re.MULTILINE)
    code = re.sub(r"^from __future__ import [^\n]+\n", "", code, flags=re.MULTILINE)
    return _join(*future, head, code, tests)


def _cpp(asked: _Asked, head: str, code: str, tests: str) -> str:
    code = drop_function(code, "cpp", r"\b(?:int|void|auto|signed)\s+main\s*\(")
    for kind, name in re.findall(r"\b(union|struct|class)\s+(\w+)\s*\{", mask(code, "cpp")):
        head = drop_function(head, "cpp", rf"\b{kind}\s+{name}\s*(?=\{{)")
    head = re.sub(r"^\s*;\s*$", "", head, flags=re.MULTILINE)
    return _join(head, code, _opener(code, "cpp", "namespace {", tests), tests)


def _rust(asked: _Asked, head: str, code: str, tests: str) -> str:
    code = drop_function(code, "rs", r"\b(?:pub\s+)?(?:async\s+)?fn\s+main\s*(?=\()")
    imported = set(re.findall(r"\w+", " ".join(re.findall(r"\buse\b[^;]*;", mask(code, "rs")))))
    uses = [line for line in head.split("\n") if not set(re.findall(r"(\w+);", line)) & imported]
    return _join("\n".join(uses), code, _opener(code, "rs", "fn _before_tests() {", tests), tests)


def _opener(code: str, language: str, opener: str, tests: str) -> str:
    """Something for the tests' leading brace to close, unless the code left its last function open."""
    needed = tests.lstrip().startswith("}") and depths(mask(code, language))[-1] < 1
    return opener if needed else ""


_JAVA_TYPE = re.compile(
    r"\b((?:(?:public|abstract|final|static|sealed|strictfp)\s+)*)"
    r"(?:class|interface|enum|record)\s+(\w+)([^{};]*)\{"
)
_JAVA_MAIN = r"(?:@\w+\s+)*(?:(?:public|static|final)\s+)*void\s+main\s*(?=\()"


def _java(asked: _Asked, head: str, code: str, tests: str) -> str:
    """One `class Problem` around the members that stand beside the function; other types go before it."""
    imports = re.findall(r"^\s*(import\s[^;]+;)", f"{head}\n{mask(code, 'java')}", re.MULTILINE)
    code = re.sub(r"^[ \t]*(?:import|package)\s[^;\n]+;", "", code, flags=re.MULTILINE)
    types, loose = _java_types(code)
    home = next((found for found in types if asked.defined_in(found.body)), None)
    heading, members = "class Problem", loose
    if home:
        heading += home.heritage.rstrip()
        members = re.sub(rf"\b{home.name}\b", "Problem", home.body)
    others = [found.source for found in types if found is not home and found.name != "Problem"]
    members = drop_function(members, "java", _JAVA_MAIN)
    opener = _opener(members, "java", "    static {", tests)
    return _join("\n".join(dict.fromkeys(imports)), *others, heading + " {", members, opener, tests)


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


_JS_USAGE = (
    r"(?:console\s*\.\s*\w+|(?:node:)?assert(?:\s*\.\s*\w+)?|module\s*\.\s*exports|{0}|"
    r"(?:run)?[tT]ests?\w*|main|check\w*)\s*\("
)


def _js(asked: _Asked, head: str, code: str, tests: str) -> str:
    code = re.sub(r"^export\s+(?:default\s+)?(?=async|function|const|let|var|class)", "", code, flags=re.M)
    code = drop_statements(code, "js", _JS_USAGE.format(asked.name), ";\n")
    code = drop_statements(code, "js", r"if\s*\(\s*require\s*\.\s*main", "}")
    if re.search(r"^(?:const|let|var|class|function)\s+\{?\s*(?:assert|test)\b", mask(code, "js"), re.M):
        code = f"const {asked.name} = (() => {{\n{code}\nreturn {asked.name};\n}})();"
    return _join(head, code, tests)


def _php(asked: _Asked, head: str, code: str, tests: str) -> str:
    code = _php_only(code)
    code = drop_statements(code, "php", rf"(?:echo|print|print_r|var_dump|assert|{asked.name})\b", ";")
    for taken in ("test", "candidate"):
        if re.search(rf"^function\s+{taken}\s*\(", mask(code, "php"), re.MULTILINE):
            code = re.sub(rf"\b{taken}(?=\s*\()", f"answer_{taken}", code)
    return _join("<?php", code, tests)


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


def _join(*parts: str) -> str:
    """Parts that are not blank, a line break between them; the last one (the tests) as it stands."""
    *before, tests = parts
    return "\n".join([*(part.strip("\n") for part in before if part.strip()), tests])


_BUILDERS: dict[str, Callable[[_Asked, str, str, str], str]] = {
    "py": _python,
    "cpp": _cpp,
    "java": _java,
    "js": _js,
    "php": _php,
    "rs": _rust,
}
