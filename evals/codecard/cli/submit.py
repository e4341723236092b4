"""`codecard submit`: a run as shards on a batch system."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from codecard.cli import as_command
from codecard.cli.merge import merge_and_show
from codecard.cli.run import check_command
from codecard.cluster.shards import SYSTEMS, submit
from codecard.model import InfrastructureError, UsageError
from codecard.text import unknown

OURS = ("--out", "--shard")


def submit_command(
    arguments: Annotated[list[str], typer.Argument(metavar="-- RUN OPTIONS", help="as for codecard run")],
    shards: Annotated[int, typer.Option("--shards", min=1, help="how many jobs")],
    out: Annotated[Path, typer.Option("--out", help="the merged run; its shards lie in OUT/shards, logs in OUT/jobs")],
    on: Annotated[str | None, typer.Option("--on", help=f"{', '.join(SYSTEMS)}; default: Slurm where it is")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="submitit's parameters: slurm_partition, gpus_per_node, …"),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="until all have ended; then merge and show")] = False,
) -> None:
    """One job a shard, each a resumable codecard run; again with the same OUT: whatever is missing."""
    if on is not None and on not in SYSTEMS:
        raise UsageError(unknown("batch system", on, list(SYSTEMS)))
    named: dict[str, str] = {}
    for setting in settings or []:
        name, equals, value = setting.partition("=")
        if not (name and equals):
            raise UsageError(f"--set {setting}: expected NAME=VALUE, such as slurm_partition=gpu")
        named[name] = value
    _check(arguments)
    console = Console(stderr=True)
    jobs = submit(out, shards, arguments, system=on, settings=named)
    folders = [job.out for job in jobs]
    console.print(f"{len(jobs)} jobs: {', '.join(job.name for job in jobs)}; logs: {out / 'jobs'}", highlight=False)
    if not wait and on != "debug":
        command = shlex.join(["codecard", "merge", str(out), *map(str, folders)])
        console.print(f"when they have ended: {command}", highlight=False, soft_wrap=True)
        return
    failed = [f"shard {index}: {why}" for index, job in enumerate(jobs) if (why := job.wait())]
    if failed:
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        raise InfrastructureError(f"{failed[0]}{more}; the same command again runs what is missing")
    merge_and_show(out, folders)


def _check(arguments: list[str]) -> None:
    """What `codecard run` would refuse of its options is refused here, before anything waits in a queue."""
    for argument in arguments:
        if argument.partition("=")[0] in OURS:
            raise UsageError(f"{argument.partition('=')[0]} of the shards is set by codecard submit")
    command = as_command("run", check_command)
    with command.make_context("run", list(arguments)) as context:
        command.invoke(context)
