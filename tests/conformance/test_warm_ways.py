"""What a program can see of itself in a warm sandbox is what the plain command shows it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from codecard.model import Execution, Program, Stage
from codecard.sandbox import Executor, Job, open_sandbox
from codecard.sandbox.known import GENEROUS

pytestmark = pytest.mark.docker

SEEN = {
    language: tomllib.loads((Path(__file__).with_name("seen") / f"{language}.toml").read_text())
    for language in ("cpp", "java", "js", "rs")
}


@pytest.fixture(scope="module")
def executors(docker_engine: None) -> Iterator[tuple[Executor, Executor]]:
    """Warm and plain, one worker each."""
    sandbox = open_sandbox("docker")
    with Executor(sandbox, workers=1) as warm, Executor(sandbox, workers=1, plain=True) as plain:
        yield warm, plain
    sandbox.close()


def run(executor: Executor, language: str, source: str) -> Execution:
    program = Program(language=language, source=source)
    ((_, execution),) = executor.execute([Job(tag=None, program=program, limits=GENEROUS)])
    return execution


def shown(execution: Execution) -> tuple[object, ...]:
    """All that the program let be known, but for addresses, process ids and a runtime's or compiler's own words."""
    if execution.stage is Stage.BUILD:
        return (execution.verdict,)
    said = re.sub(r"0x[0-9a-f]+|\(node:\d+\)|(?<=' )\(\d+\)", "", execution.stderr) if execution.signal is None else ""
    return execution.exit_code, execution.signal, execution.stdout, said


@pytest.mark.parametrize(("language", "name"), [(language, name) for language in SEEN for name in SEEN[language]])
def test_a_warm_program_shows_what_a_plain_one_shows(
    executors: tuple[Executor, Executor], language: str, name: str
) -> None:
    """It ends and says the same as under the plain command."""
    code = SEEN[language][name]["code"]
    warm, plain = (run(executor, language, code) for executor in executors)
    assert shown(warm) == shown(plain)


def test_forks_of_one_node_draw_different_numbers(executors: tuple[Executor, Executor]) -> None:
    """A program that draws at random would else fail for all samples of a problem, or for none."""
    draw = "console.log(Math.random(), require('crypto').randomUUID()); //"
    drawn = {run(executors[0], "js", f"{draw} {n}").stdout for n in range(3)}
    assert len(drawn) == 3


def test_javascript_is_forked(executors: tuple[Executor, Executor]) -> None:
    """Where the fork server does not come up every program is the plain command's: right, and slow."""
    asked = "console.log(require('fs').readFileSync(`/proc/${process.ppid}/comm`, 'utf8').trim())"
    warm, plain = executors
    assert (run(warm, "js", asked).stdout, run(plain, "js", asked).stdout) == ("node\n", "python3\n")


def test_the_library_of_instantiations_is_used(executors: tuple[Executor, Executor]) -> None:
    """Where the forked compiler or the direct link fails every program is the plain command's: right, and slow."""
    asked = """#include<assert.h>
#include<bits/stdc++.h>
int main() {
    std::ifstream maps("/proc/self/maps");
    std::string all((std::istreambuf_iterator<char>(maps)), std::istreambuf_iterator<char>());
    std::cout << (all.find("libexercise.so") != std::string::npos);
}
"""
    warm, plain = executors
    assert (run(warm, "cpp", asked).stdout, run(plain, "cpp", asked).stdout) == ("1", "0")


def test_the_rust_compiler_is_forked(executors: tuple[Executor, Executor]) -> None:
    """Where the fork server does not come up every program is the plain command's: right, and slow."""
    asked = 'fn main() { print!("{}", include_str!("/proc/self/environ").contains("LD_PRELOAD=")); }'
    warm, plain = executors
    assert (run(warm, "rs", asked).stdout, run(plain, "rs", asked).stdout) == ("true", "false")
