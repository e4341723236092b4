"""Which builds are the warm compiler's to judge, and which are done again by the plain command."""

from __future__ import annotations

from dataclasses import replace

import pytest

from codecard.languages import find_language
from codecard.model import Execution, Program, Stage, Verdict
from codecard.sandbox import Executor, Job
from codecard.sandbox.known import GENEROUS
from codecard.sandbox.port import Image, Slot, StageAnswer, StageRequest

from .test_verdicts import ENDED_WELL, failed

HEADERS = "#include<assert.h>\n#include<bits/stdc++.h>\n"


class Compilers:
    """A sandbox whose warm build answers with `warm` and whose plain one always succeeds. Remembers who was asked."""

    name = "fake"

    def __init__(self, warm: StageAnswer) -> None:
        self.warm = warm
        self.asked: list[str] = []

    def image(self, language: str) -> Image:
        return Image(language=language, digest="digest", version="1")

    def open_slot(self, language: str, stage: Stage) -> Slot:
        return self

    def run(self, request: StageRequest) -> StageAnswer:
        if not request.collect:
            self.asked.append("run")
            return ENDED_WELL
        self.asked.append("warm" if request.server else "plain")
        built = replace(ENDED_WELL, files={"b": b"binary"})
        return self.warm if request.server else built

    def close(self) -> None:
        return None


def run(warm: StageAnswer, source: str) -> tuple[Execution, list[str]]:
    sandbox = Compilers(warm)
    job = Job(tag=0, program=Program(language="cpp", source=source), limits=GENEROUS)
    with Executor(sandbox, workers=1) as pool:
        ((_, execution),) = pool.execute([job])
    return execution, sandbox.asked


def test_a_programs_own_error_is_compiled_once() -> None:
    execution, asked = run(failed(1, err=b"f.cpp:3:1: error: expected ';'"), HEADERS + "int main() { }")
    assert (execution.verdict, asked) == (Verdict.BUILD_ERROR, ["warm"])
    assert "expected ';'" in execution.stderr


@pytest.mark.parametrize("code", [3, 4])
def test_what_fails_in_the_warm_way_is_built_again_by_the_plain_command(code: int) -> None:
    execution, asked = run(failed(code, err=b"mold: error: undefined symbol"), HEADERS + "int main() { }")
    assert (execution.verdict, asked) == (Verdict.PASSED, ["warm", "plain", "run"])


@pytest.mark.parametrize(
    "source",
    [
        "#include<bits/stdc++.h>\nint main() { }",
        HEADERS + "#  pragma GCC optimize(3)\n",
        HEADERS + '_Pragma("GCC optimize(3)")\n',
        HEADERS + "template < > struct std::hash<int> { };\n",
        HEADERS + "namespace  std\n{ }\n",
        HEADERS + "namespace std::chrono { }\n",
    ],
)
def test_a_program_that_changes_the_librarys_templates_is_built_the_plain_way(source: str) -> None:
    assert run(failed(), source)[1] == ["plain", "run"]


def test_an_ordinary_program_is_built_the_warm_way() -> None:
    """`using namespace std` and templates of one's own are what programs are made of."""
    source = HEADERS + "using namespace std;\ntemplate <class T> T f(T a) { return a; }\n"
    assert run(replace(ENDED_WELL, files={"b": b"binary"}), source)[1] == ["warm", "run"]
    assert find_language("cpp").toolchain.warm.build_unless
