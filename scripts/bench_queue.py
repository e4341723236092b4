#!/usr/bin/env python3
"""Peak memory of the harness with a hundred thousand programs queued: they must be pulled, not collected.

The programs go through the real executor on a sandbox that answers at once, so that what is measured is the queue
and not the machine. Usage: python scripts/bench_queue.py [COUNT]; prints the peak before and after, in MiB; exit
status 1 when it grew by more than the limit.
"""

import resource
import sys
import time
from collections.abc import Iterator

from codecard.model import Limits, Program, Stage, StageLimits
from codecard.sandbox import Executor, Job
from codecard.sandbox.port import Image, Slot, StageAnswer, StageRequest

LIMIT_MIB = 300
SOURCE_BYTES = 4096
LIMITS = Limits(run=StageLimits(cpu_s=15, wall_s=30))


class InstantSlot:
    def run(self, request: StageRequest) -> StageAnswer:
        return StageAnswer(
            exit_code=0, signal=None, killed="", oom=False, proved=True, clean=True, cpu_s=0.01, wall_s=0.01,
            delayed_s=0.0, peak_memory_bytes=1, output_bytes=8192, stdout=b"o" * 8192, stderr=b"e" * 8192,
        )  # fmt: skip

    def close(self) -> None: ...


class InstantSandbox:
    name = "instant"

    def image(self, language: str) -> Image:
        return Image(language=language, digest="none", version="none")

    def open_slot(self, language: str, stage: Stage) -> Slot:
        return InstantSlot()

    def close(self) -> None: ...


def jobs(count: int) -> Iterator[Job]:
    for n in range(count):
        yield Job(tag=n, program=Program(language="py", source=f"# {n}\n".ljust(SOURCE_BYTES)), limits=LIMITS)


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    before, started = peak_mib(), time.monotonic()
    with Executor(InstantSandbox(), workers=2) as executor:
        done = sum(1 for _ in executor.execute(jobs(count)))
    after, seconds = peak_mib(), time.monotonic() - started
    print(f"{done} programs: peak {before:.0f} MiB before, {after:.0f} MiB after, {done / seconds:.0f} programs/s")
    return 0 if done == count and after < LIMIT_MIB else 1


if __name__ == "__main__":
    sys.exit(main())
