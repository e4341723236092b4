"""The proof that the tests ran to their end: a statement, planted after the last assertion, that makes a file.

The file's name is drawn anew for every execution, so nothing that a program prints or exits with can stand for it.
What this does not claim: a program that knows codecard and searches its own text or memory for the name can forge
it, because tests and completion share one process in every MultiPL-E language.
"""

from __future__ import annotations

import secrets

from codecard.languages import find_language
from codecard.model import Program


def new_name() -> str:
    return f".{secrets.token_hex(16)}"


def planted(program: Program, name: str) -> str:
    """The program's source with the proof in it; unchanged where no place for it is known."""
    if program.proof_at is None:
        return program.source
    statement = find_language(program.language).proof.statement.format(path=f"/tmp/{name}")  # noqa: S108 - the sandbox's scratch
    return program.source[: program.proof_at] + statement + program.source[program.proof_at :]
