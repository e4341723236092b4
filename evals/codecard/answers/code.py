"""Code out of chat answers: the dialogue that asks for it, and the program made of the reply.

The answer's own definition is kept whole (its helpers, imports and signature), never pasted behind the
prompt, which would define the function twice. What the prompt stands on (imports, types) is put in front,
and what would collide with the tests (a `main`, a class of another name, test code) is taken away. Tests that
begin with the brace that ends the function find one opened for them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from codecard.answers import fences
from codecard.answers.cutting import truncate
from codecard.languages import Language, find_language
from codecard.languages.making import Parts, join
from codecard.languages.scanning import depths, line_start, mask


def chat_prompt(problem_prompt: str, name: str) -> str:
    """The user turn that asks for a problem's function.

    Wording of DeepSeek-Coder's HumanEval evaluation (`Evaluation/HumanEval/eval_instruct.py`), which
    StarChat-style and Qwen evaluations took over.
    """
    return (
        "Please continue to complete the function. You are not allowed to modify the given code and do the "
        "completion only. Please return all completed function in a codeblock. Here is the given code to do "
        f"completion:\n```{find_language(name).tags[0]}\n{problem_prompt.strip()}\n```"
    )


def chat_program(prompt: str, answer: str, tests: str, name: str, stops: Sequence[str]) -> str:
    """The whole program that a chat answer to `prompt` makes in the language `name`; it ends with `tests`.

    The first fenced block that defines the prompt's function is taken, or failing that such a stretch of
    plain text. Without either, the first block (or the whole answer) continues the prompt, cut at `stops`;
    but a whole file stays one, whatever it defines.
    """
    asked = _Asked.of(prompt, find_language(name))
    found = fences.split(answer)
    candidates = [part for part in found if part.fenced] + [part for part in found if not part.fenced]
    chosen = next((part for part in candidates if asked.defined_in(part.text)), None)
    first = candidates[0].text if candidates else ""
    if chosen is not None:
        head, code = asked.head, chosen.text if chosen.fenced else asked.without_prose(chosen.text)
    elif asked.language.whole_file.match(first):
        head, code = asked.head, first
    else:
        head, code = "", asked.continued_by(first, stops)
    parts = Parts(name=asked.name, head=head, code=code, tests=tests, defines=asked.defined_in)
    rules = asked.language.rules
    return str(rules.program(parts)) if rules else join(head, code, tests)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A prompt taken apart: its function's name, and `head`, the code before the function, uncommented."""

    language: Language
    prompt: str
    name: str
    head: str

    @classmethod
    def of(cls, prompt: str, asked: Language) -> _Asked:
        prompt = prompt.strip()
        masked = mask(prompt, asked.name)
        found = list(asked.signature.finditer(masked))
        if not found:
            return cls(asked, prompt, "", "")
        start = line_start(masked, found[-1].start())
        head = re.sub(r"\n\s*\n", "\n", masked[:start]).strip()
        return cls(asked, prompt, found[-1][1], head)

    def defined_in(self, text: str) -> bool:
        return bool(self.name) and self.definition(mask(text, self.language.name)) is not None

    def definition(self, masked: str) -> re.Match[str] | None:
        return re.search(self.language.defines.format(self.name), masked, re.MULTILINE)

    def continued_by(self, text: str, stops: Sequence[str]) -> str:
        """The prompt with a body that lacks its signature behind it."""
        body = _rule(self.language.rules, "indented", str)(text)
        return f"{self.prompt}\n{truncate(body, stops)}"

    def without_prose(self, text: str) -> str:
        """Plain text from the first line that looks like code to the last brace that closes at the top."""
        if code_in := _rule(self.language.rules, "code_in", None):
            return str(code_in(text, self.name))
        masked = mask(text, self.language.name)
        definition = self.definition(masked)
        starts = re.search(
            r"^\s*(?:#include|using |use |import |package |template|class |public |//|/\*|<\?php)", text, re.M
        )
        at = definition.start() if definition else 0
        start = line_start(text, min(at, starts.start() if starts else at))
        depth = depths(masked)
        closes = [i + 1 for i, char in enumerate(masked) if char == "}" and depth[i + 1] == 0 and i > at]
        return text[start : closes[-1] if closes else len(text)]


def _rule(rules: ModuleType | None, name: str, otherwise: Any) -> Any:
    """A procedure of the language's own module, where it has that one."""
    return getattr(rules, name, otherwise)
