"""Hostile programs, the same on both adapters: the verdict each must get, and what must not have happened.

The programs are data (`hostile/<language>.toml`). After each, on the same slot, everything that a program could have
changed is compared with a fresh slot, and a good program must still pass.
"""

from __future__ import annotations

import itertools
import json
import platform
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from codecard.languages import language_names
from codecard.model import Execution, Limits, Program, Stage, StageLimits, Verdict
from codecard.sandbox import Executor, Job, open_sandbox
from codecard.sandbox.known import GENEROUS, known_programs
from codecard.sandbox.port import Image, Sandbox, Slot, StageRequest
from sizes import some

HOSTILE = Path(__file__).with_name("hostile")
MIB = 1024**2
LIMITS = Limits(
    run=StageLimits(
        cpu_s=2, wall_s=4, memory_bytes=512 * MIB, pids=128, open_files=256, file_bytes=64 * MIB, output_bytes=MIB
    ),
    build=StageLimits(cpu_s=4, wall_s=15, memory_bytes=1024 * MIB, file_bytes=128 * MIB, output_bytes=MIB),
)
ASKING = StageLimits(cpu_s=20, wall_s=60)
# What a program could have left or changed, told from the inside by a process that starts after it.
STATE = r"""
import json, os
def read(path):
    try:
        return open(path, errors="replace").read()
    except OSError as error:
        return error.strerror
def listing(place):
    try:
        return sorted(os.listdir(place)), oct(os.stat(place).st_mode), sorted(os.listxattr(place))
    except OSError as error:
        return error.strerror
pids = [name for name in os.listdir("/proc") if name.isdigit()]
print(json.dumps({
    "files": [listing(place) for place in ("/tmp", "/tmp/work", "/dev/shm", "/dev/mqueue", "/codecard")],
    "processes": sorted(read(f"/proc/{pid}/cmdline") for pid in pids if pid != str(os.getpid())),
    "ipc": [read(f"/proc/sysvipc/{kind}") for kind in ("shm", "sem", "msg")],
    "sockets": [read(f"/proc/net/{kind}").count("\n") for kind in ("tcp", "udp", "unix")],
    "agent": [read(f"/proc/1/{name}") for name in ("limits", "oom_score_adj", "comm")],
    "agent's cores and priority": [os.sched_getaffinity(1).__repr__(), os.getpriority(os.PRIO_PROCESS, 1)],
    "mounts": [line.split()[1:3] + [line.split()[3][:2]] for line in read("/proc/self/mounts").splitlines()],
    "environment": sorted(os.environ.items()),
    "name": os.uname().nodename,
}, default=repr))
"""


@dataclass(frozen=True, kw_only=True)
class Hostile:
    language: str
    name: str
    code: str
    expect: tuple[str, ...]
    may_replace_slot: bool = False
    must_not_print: tuple[str, ...] = ()
    only_machine: str = ""


def expanded(code: str, snippets: dict[str, str]) -> str:
    """`{{NAME}}` and `{{NAME*3}}` stand for a snippet, once and three times."""

    def snippet(found: re.Match[str]) -> str:
        return snippets[found[1]] * int(found[2] or 1)

    return re.sub(r"\{\{(\w+)(?:\*(\d+))?\}\}", snippet, code)


def load() -> list[Hostile]:
    found = []
    for language in language_names():
        entries = tomllib.loads((HOSTILE / f"{language}.toml").read_text())
        snippets = entries.pop("snippets")
        for name, entry in entries.items():
            code = expanded(entry.pop("code"), snippets)
            fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()}
            found.append(Hostile(language=language, name=name, code=code, **fields))
    return found


ALL = load()
# In `make test` every other program, by turns on one of the adapters; in `make test-long` all on both.
BY_TURNS = [
    case
    for turn, adapter in enumerate(("docker", "bwrap"))
    for case in some(
        [pytest.param(adapter, hostile, marks=getattr(pytest.mark, adapter)) for hostile in ALL], 4, first=2 * turn
    )
]


def program(hostile: Hostile) -> Program:
    """With the proof's place where the code says that its tests end, if it says so."""
    at = hostile.code.find("TESTS-END")
    place = hostile.code.rindex("\n", 0, at) + 1 if at >= 0 else None
    return Program(language=hostile.language, source=hostile.code, proof_at=place)


_numbers = itertools.count()


def good(language: str) -> Program:
    """A program that passes, never the same twice: identical programs run once."""
    known = known_programs(language)["good"]
    comment = "#" if language == "py" else "//"
    return Program(language=language, source=f"{known.source}\n{comment} {next(_numbers)}", proof_at=known.proof_at)


@dataclass
class Watched:
    """A sandbox that remembers its open slots, so that a test can look inside."""

    inner: Sandbox
    name: str = field(init=False)
    slots: dict[tuple[str, Stage], Slot] = field(default_factory=dict)
    opened: int = 0

    def __post_init__(self) -> None:
        self.name = self.inner.name

    def image(self, language: str) -> Image:
        return self.inner.image(language)

    def open_slot(self, language: str, stage: Stage) -> Slot:
        self.opened += 1
        self.slots[language, stage] = slot = self.inner.open_slot(language, stage)
        return slot

    def close(self) -> None:
        self.inner.close()

    def state(self, language: str, stage: Stage) -> dict[str, Any]:
        request = StageRequest(command=("python3", "-I", "-c", STATE), files={"asker": b""}, limits=ASKING)
        answer = self.slots[language, stage].run(request)
        assert answer.exit_code == 0, answer.stderr
        state: dict[str, Any] = json.loads(answer.stdout)
        return state


@dataclass
class Bench:
    """One worker on a watched sandbox, and what its fresh slots looked like."""

    sandbox: Watched
    executor: Executor
    fresh: dict[tuple[str, Stage], dict[str, Any]] = field(default_factory=dict)

    def run(self, program: Program, limits: Limits = LIMITS) -> Execution:
        ((_, execution),) = self.executor.execute([Job(tag=None, program=program, limits=limits)])
        return execution

    def warm(self, language: str) -> None:
        if (language, Stage.RUN) not in self.fresh:
            assert self.run(good(language), GENEROUS).verdict is Verdict.PASSED
        for stage in Stage:
            where = (language, stage)
            if where in self.sandbox.slots and where not in self.fresh:
                self.fresh[where] = self.sandbox.state(language, stage)


@pytest.fixture(scope="module")
def bench(adapter: str) -> Iterator[Bench]:
    sandbox = Watched(open_sandbox(adapter))
    with Executor(sandbox, workers=1) as executor:
        yield Bench(sandbox, executor)
    sandbox.close()


@pytest.mark.parametrize(
    ("adapter", "hostile"),
    BY_TURNS,
    indirect=["adapter"],
    ids=lambda given: f"{given.language}-{given.name}" if isinstance(given, Hostile) else given,
)
def test_a_hostile_program_gets_its_verdict_and_harms_nothing(bench: Bench, hostile: Hostile) -> None:
    """It gets the verdict it deserves, in time, and the next program finds the slot as if it had never run."""
    if hostile.only_machine and platform.machine() != hostile.only_machine:
        pytest.skip(f"written for {hostile.only_machine}")
    bench.warm(hostile.language)
    died = bench.executor.replaced_slots

    execution = bench.run(program(hostile))

    assert execution.verdict in hostile.expect, execution
    printed = execution.stdout + execution.stderr
    assert not [word for word in hostile.must_not_print if word in printed]
    assert bench.executor.replaced_slots == died, "its slot died"
    limits = LIMITS.build if execution.stage is Stage.BUILD else LIMITS.run
    assert limits is not None
    assert execution.wall_s < 10 * limits.wall_s + 5, "it outlived the longest that a busy machine may give it"
    opened = bench.sandbox.opened
    assert bench.run(good(hostile.language), GENEROUS).verdict is Verdict.PASSED
    assert hostile.may_replace_slot or bench.sandbox.opened == opened, "its slot had to be replaced"
    for (language, stage), fresh in bench.fresh.items():
        if language == hostile.language:
            assert more_than(fresh, bench.sandbox.state(language, stage)) == {}


def more_than(fresh: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """What differs from a fresh slot, but for a warm server of ours that is not there at the moment."""
    different = {key: value for key, value in now.items() if value != fresh[key]}
    if not Counter(now["processes"]) - Counter(fresh["processes"]):
        different.pop("processes", None)
    if all(count <= before for count, before in zip(now["sockets"], fresh["sockets"], strict=True)):
        different.pop("sockets", None)
    return different


def test_there_are_at_least_sixty_hostile_programs() -> None:
    """Sixty over six languages is the least that the claim stands on."""
    assert len(ALL) >= 60
    assert {hostile.language for hostile in ALL} == set(language_names())
