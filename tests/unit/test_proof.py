"""The proof that the tests ran to their end: planted where the tests end, under a name nobody can know before."""

from __future__ import annotations

import pytest

from codecard.languages import language_names
from codecard.model import Program
from codecard.sandbox.stages import new_name, planted


@pytest.mark.parametrize("language", language_names())
def test_the_proof_is_planted_at_its_place_and_nowhere_else(language: str) -> None:
    source = "the program { the tests }"
    text = planted(Program(language=language, source=source, proof_at=24), "NAME")
    assert text.startswith(source[:24])
    assert text.endswith(source[24:])
    assert text.count("/tmp/NAME") == 1


@pytest.mark.parametrize("language", language_names())
def test_a_program_without_a_known_end_is_left_as_it_stands(language: str) -> None:
    assert planted(Program(language=language, source="as it stands"), "NAME") == "as it stands"


def test_names_never_repeat_and_are_too_long_to_guess() -> None:
    names = {new_name() for _ in range(100)}
    assert len(names) == 100
    assert all(len(name) >= 32 for name in names)
