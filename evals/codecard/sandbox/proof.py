"""The proof that the tests ran to their end: a statement, planted after the last assertion, that makes a file.

The file's name is drawn anew for every execution, so nothing that a program prints or exits with can stand for it.
What this does not claim: a program that knows codecard and searches its own text or memory for the name can forge
it, because tests and completion share one process in every MultiPL-E language.
"""

from __future__ import annotations

import secrets

from codecard.model import Program

_STATEMENT = {
    # each works whatever the program imports, includes or shadows at its top level
    "py": '\n__import__("os").close(__import__("os").open("{path}", 65))\n',
    "js": '\n;require("node:fs").writeFileSync("{path}", "");\n',
    "php": '\ntouch("{path}");\n',
    "cpp": '{{ int codecard_done(const char *, unsigned, ...) __asm__("creat"); codecard_done("{path}", 384); }}\n',
    "java": 'try {{ new java.io.FileOutputStream("{path}").close(); }} catch (java.io.IOException codecard) {{ }}\n',
    "rs": 'let _ = ::std::fs::File::create("{path}");\n',
}


def new_name() -> str:
    return f".{secrets.token_hex(16)}"


def planted(program: Program, name: str) -> str:
    """The program's source with the proof in it; unchanged where no place for it is known."""
    if program.proof_at is None:
        return program.source
    statement = _STATEMENT[program.language].format(path=f"/tmp/{name}")  # noqa: S108 - the sandbox's scratch
    return program.source[: program.proof_at] + statement + program.source[program.proof_at :]
