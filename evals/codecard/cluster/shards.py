"""Shards handed to a batch system through submitit: Slurm, or processes of this machine.

A shard is an ordinary `codecard run --shard i/n` with a run folder of its own, so a job that was preempted, timed out
or killed goes on where it stopped when it is requeued or submitted again.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codecard.model import InfrastructureError, UsageError
from codecard.text import first_line

SYSTEMS = ("slurm", "local", "debug")
DEFAULTS: dict[str, Any] = {"name": "codecard", "timeout_min": 720}
_REQUEUES = 20
_COMMAND = (sys.executable, "-c", "from codecard.cli import main; main()", "run")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardJob:
    """What one job does. `arguments` are those of `codecard run`."""

    arguments: tuple[str, ...]

    def __call__(self) -> tuple[int, str]:
        """Exit code and last line on stderr. The whole of it goes to the job's log as it comes."""
        last = ""
        with subprocess.Popen([*_COMMAND, *self.arguments], stderr=subprocess.PIPE, text=True) as run:
            assert run.stderr is not None
            for line in run.stderr:
                sys.stderr.write(line)
                last = line.strip() or last
        return run.returncode, last

    def checkpoint(self) -> Any:
        """Asked by submitit before a job is requeued: the same again, for the run folder knows what is done."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """A job that was handed in. `out` is its run folder."""

    out: Path
    job: Any

    @property
    def name(self) -> str:
        return str(self.job.job_id)

    def wait(self) -> str:
        """Why it failed, or nothing."""
        try:
            code, last = self.job.result()
        except Exception as error:  # submitit's kinds of a job that never answered
            return first_line(error, 300)
        return "" if code == 0 else last or f"exit code {code}"


def submit(
    out: Path, shards: int, arguments: Sequence[str], *, system: str | None, settings: Mapping[str, str]
) -> list[Submitted]:
    """Hand in one job a shard; their run folders are OUT/shards/0, …, their logs are in OUT/jobs.

    `system` None: Slurm where there is one, else this machine. `settings` are submitit's own parameters, over
    `DEFAULTS`: a shard that runs out of time is requeued and goes on. Raises UsageError for one that does not exist,
    InfrastructureError where the batch system refuses.
    """
    try:
        import submitit
    except ImportError:
        raise InfrastructureError("codecard submit needs submitit: pip install 'codecard[slurm]'") from None
    logs = out / "jobs"
    try:
        executor = submitit.AutoExecutor(folder=logs, cluster=system, slurm_max_num_timeout=_REQUEUES)
        executor.update_parameters(**DEFAULTS | {name: _typed(value) for name, value in settings.items()})
    except (NameError, TypeError, AssertionError, ValueError, RuntimeError) as error:
        with contextlib.suppress(OSError):  # only what is empty goes
            logs.rmdir()
            out.rmdir()
        why = first_line(error, 300)
        if isinstance(error, RuntimeError):
            raise InfrastructureError(f"{system or 'the batch system'} cannot be used: {why}") from None
        raise UsageError(f"--set: {why}") from None
    folders = [out.resolve() / "shards" / str(index) for index in range(shards)]
    try:
        with executor.batch():
            own = [("--shard", f"{i}/{shards}", "--out", os.fspath(folder)) for i, folder in enumerate(folders)]
            jobs = [executor.submit(ShardJob(arguments=(*arguments, *options))) for options in own]
        return [Submitted(out=folder, job=job) for folder, job in zip(folders, jobs, strict=True)]
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        raise InfrastructureError(f"the jobs were not accepted: {first_line(error, 300)}") from None


def _typed(value: str) -> int | float | str:
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(value)
    return value
