"""Kills in mid-run, bombs next door, and what the proof does not claim: the real sandboxes under real trouble."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from codecard.model import Limits, Program, StageLimits, Verdict
from codecard.sandbox import Executor, Job, Sandbox, open_sandbox
from codecard.sandbox.cgroups import ROOT
from codecard.sandbox.known import GENEROUS, known_programs

LIMITS = Limits(run=StageLimits(cpu_s=2, wall_s=6, memory_bytes=512 * 1024**2, output_bytes=1024**2))
SLOW = "import time\ntime.sleep(2)\n"
PATIENCE_S = 120
T = TypeVar("T")
DRIVER = """
import sys
from codecard.model import Program
from codecard.sandbox import Executor, Job, open_sandbox
from codecard.sandbox.known import GENEROUS
jobs = (Job(tag=n, program=Program(language="py", source=f"{sys.argv[2]}\\n# {n}"), limits=GENEROUS) for n in range(50))
with Executor(open_sandbox(sys.argv[1]), workers=2, plain=True) as executor:
    for job, execution in executor.execute(jobs):
        print(job.tag, execution.verdict, flush=True)
"""


def until(look: Callable[[], T]) -> T:
    """What `look` gives as soon as it gives something. Fails after a patience that no sound machine needs."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := look()):
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.02)
    return found


def children(pid: int) -> list[int]:
    try:
        return [
            int(child)
            for task in os.listdir(f"/proc/{pid}/task")
            for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split()
        ]
    except OSError:
        return []


def agent_of(slot: Any) -> int:
    """The agent's process id on this machine."""
    if hasattr(slot, "_container"):
        slot._container.reload()
        return int(slot._container.attrs["State"]["Pid"])
    return until(lambda: children(slot._process.pid))[0]


@pytest.fixture
def sandbox(adapter: str) -> Iterator[Sandbox]:
    opened = open_sandbox(adapter)
    yield opened
    opened.close()


class Opened:
    """A sandbox whose slots a test can lay its hands on."""

    def __init__(self, inner: Sandbox) -> None:
        self.inner, self.name = inner, inner.name
        self.slots: list[Any] = []

    def image(self, language: str) -> Any:
        return self.inner.image(language)

    def open_slot(self, language: str, stage: Any) -> Any:
        self.slots.append(self.inner.open_slot(language, stage))
        return self.slots[-1]

    def close(self) -> None: ...


def kill_agent(slot: Any) -> None:
    os.kill(agent_of(slot), signal.SIGKILL)


def kill_container(slot: Any) -> None:
    if hasattr(slot, "_container"):
        slot._container.kill("SIGKILL")
    else:
        agent = agent_of(slot)
        slot._process.kill()
        os.kill(agent, signal.SIGKILL)


@pytest.mark.parametrize("kill", [kill_agent, kill_container])
def test_a_slot_killed_in_mid_run_costs_an_attempt_and_no_verdict(
    sandbox: Sandbox, kill: Callable[[Any], None]
) -> None:
    """The program runs again on a fresh slot, and nobody sees a difference but the count of attempts."""
    watched = Opened(sandbox)

    def strike() -> None:
        first = until(lambda: watched.slots)[0]
        agent = agent_of(first)
        until(lambda: children(agent))  # a program is running
        kill(first)

    striker = threading.Thread(target=strike)
    with Executor(watched, workers=1, plain=True) as executor:
        striker.start()
        job = Job(tag=0, program=Program(language="py", source=SLOW, proof_at=len(SLOW)), limits=GENEROUS)
        ((_, execution),) = executor.execute([job])
        striker.join()
        assert (execution.verdict, execution.attempts) == (Verdict.PASSED, 2)
        assert executor.replaced_slots == 1
    assert len(watched.slots) == 2


def traces(adapter: str, pid: int) -> list[str]:
    """Containers and agents that a dead codecard left on this machine."""
    found = [f"process {p} of {pid}" for p in os.listdir("/proc") if p.isdigit() and f"codecard-{pid}-" in _groups(p)]
    if adapter == "docker":
        import docker

        label = f"codecard.owner={socket.gethostname()}:{pid}"
        client = docker.from_env()
        found += [str(c["Id"]) for c in client.api.containers(all=True, filters={"label": label})]
        client.close()
    return found


def _groups(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/cgroup").read_text()
    except OSError:
        return ""


def test_a_killed_codecard_leaves_nothing_running(adapter: str) -> None:
    """kill -9 gives no chance to clean up: agents end by themselves, and the work done again says the same."""
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, adapter, "import time; time.sleep(0.5)"], stdout=subprocess.PIPE, text=True
    )
    assert driver.stdout is not None
    before = dict(line.split() for line in (driver.stdout.readline(), driver.stdout.readline()))
    assert traces(adapter, driver.pid)
    agents = [grandchild for child in children(driver.pid) for grandchild in children(child)]
    driver.kill()
    driver.communicate()

    until(lambda: not traces(adapter, driver.pid))
    until(lambda: not [pid for pid in agents if Path(f"/proc/{pid}").exists()])
    with Executor(open_sandbox(adapter), workers=1, plain=True) as executor:
        assert not list(ROOT.glob(f"*/codecard-{driver.pid}-*")), "the next start clears its control groups"
        jobs = [Job(tag=n, program=Program(language="py", source=f"pass\n# {n}"), limits=GENEROUS) for n in before]
        assert {job.tag: str(execution.verdict) for job, execution in executor.execute(jobs)} == before


BOMBS = {
    "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass": Verdict.TIMEOUT,
    "kept = []\nwhile True:\n    kept.append(bytearray(10_000_000))": Verdict.MEMORY,
    "while True:\n    print('all work and no play')": Verdict.OUTPUT_LIMIT,
    "import threading\nwhile True:\n    threading.Thread(target=sum, args=(range(10**9),)).start()": None,
}


def test_a_neighbours_verdict_is_the_same_while_a_bomb_runs(sandbox: Sandbox) -> None:
    """Two workers: one is always at a bomb, the other at programs whose verdicts are known."""
    good, wrong = known_programs("py")["good"], known_programs("py")["wrong"]
    jobs = []
    for n, (bomb, verdict) in enumerate(BOMBS.items()):
        jobs.append(Job(tag=verdict, program=Program(language="py", source=f"{bomb}\n# {n}"), limits=LIMITS))
        for kind, expected in ((good, Verdict.PASSED), (wrong, Verdict.WRONG)):
            for m in range(5):
                program = Program(language="py", source=f"{kind.source}\n# {n} {m}", proof_at=kind.proof_at)
                jobs.append(Job(tag=expected, program=program, limits=LIMITS))
    with Executor(sandbox, workers=2) as executor:
        different = [(job, got) for job, got in executor.execute(jobs) if job.tag not in (None, got.verdict)]
        assert different == []
        assert executor.replaced_slots == 0


def test_a_program_that_reads_its_own_source_can_forge_the_proof(sandbox: Sandbox) -> None:
    """Tests and completion share one process: who knows codecard finds the proof's name in its own source. That is
    stated, not hidden; the day it is no longer so, the statement has to go."""
    source = (
        "import os, re, sys\n"
        "path = re.search(r'/tmp/[.][0-9a-f]{32}', open(sys.argv[0]).read())[0]\n"
        "open(path, 'w')\nos._exit(0)\nassert 1 == 2\n"
    )
    with Executor(sandbox, workers=1) as executor:
        job = Job(tag=0, program=Program(language="py", source=source, proof_at=len(source)), limits=LIMITS)
        ((_, execution),) = executor.execute([job])
    assert execution.verdict is Verdict.PASSED
