"""Run a card's own protocols: what `codecard reproduce --model` starts before it judges."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from codecard.card.assumptions import Value, refuse_what_cannot_run
from codecard.card.reported import ReportedTable
from codecard.model import CodecardError, UsageError
from codecard.tasks.paths import data_dir

PROFILE = "card-2024-03"
DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}
SQL_VERSIONS = {"2024-03-06": "2024-03", "head": "newest"}


def run_protocols(
    tables: list[ReportedTable], model: str, run: Path | None, limit: int | None, values: dict[str, Value]
) -> tuple[list[Path], list[str]]:
    """Run or resume every suite that the card's tables need, each in a folder of its own under `run`.

    Returns the folders that have scores, and a line for each suite that could not be run: its cells are then
    not attempted. Raises UsageError for an assumption that is not run here, before anything starts.
    """
    from codecard.cli.run import run_command

    suites = list(dict.fromkeys(table.suite for table in tables))
    for suite in suites:
        refuse_what_cannot_run(suite, values)
    root = run or Path("results/runs") / ("reproduce-" + "".join(c if c.isalnum() else "-" for c in model))
    done, notes = [], []
    for suite in suites:
        out = root / suite
        reason = _run(
            run_command, {"model": model, "suite": suite, "out": out, "limit": limit} | OPTIONS[suite](values)
        )
        if reason:
            notes.append(f"{suite} was not run: {reason}")
        if (out / "scores.json").exists():
            done.append(out)
    return done, notes


def _run(command: Callable[..., None], options: dict[str, Any]) -> str:
    """One suite; its own tables go to standard error. Returns why it failed, or nothing."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            command(profile=PROFILE, **options)
    except CodecardError as error:
        return str(error)
    except typer.Exit:
        return "its score was refused" if options["suite"] == "mt_bench" else ""
    return ""


def _code(values: dict[str, Value]) -> dict[str, Any]:
    return {
        "samples": 1 if values["greedy"] else values["n_samples"],
        "prompt_style": values["prompt_style"],
        "greedy": bool(values["greedy"]),
        "max_new_tokens": values["max_new_tokens"],
        "dtype": DTYPES[str(values["dtype"])],
    }


def _sql(values: dict[str, Value]) -> dict[str, Any]:
    return {
        "prompt_style": "raw",
        "sql_version": SQL_VERSIONS[str(values["sql_version"])],
        "sql_prompt": {"sqlcoder7b2": "tags"}.get(str(values["sql_prompt"]), values["sql_prompt"]),
        "num_columns": values["num_columns"],
        "as_of": values["as_of"],
        "dtype": DTYPES[str(values["dtype"])],
    }


def _mt_bench(values: dict[str, Value]) -> dict[str, Any]:
    judge, references = str(values["judge"]), str(values["references"])
    known = ("openai:", "hf:", "replay:")
    named = judge if judge.startswith(known) or judge == "embedded" or Path(judge).is_dir() else f"openai:{judge}"
    return {
        "judge": named,
        "judge_base_url": values["judge_endpoint"],
        "references": None if references == "gpt-4" else _references(references),
        "fastchat_regex": bool(values["fastchat_regex"]),
        "allow_missing": bool(values["allow_missing"]),
        "system": str(values["system"] or ""),
        "dtype": DTYPES[str(values["dtype"])],
    }


def _zero_shot(values: dict[str, Value]) -> dict[str, Any]:
    return {"add_bos": bool(values["add_bos"]), "dtype": DTYPES[str(values["dtype"])]}


def _references(name: str) -> Path:
    folder = data_dir()
    if folder is None:
        raise UsageError(
            f"--references {name}: set CODECARD_DATA to a folder with mt_bench/reference_answer/{name}.jsonl"
        )
    return folder / "mt_bench" / "reference_answer" / f"{name}.jsonl"


OPTIONS: dict[str, Callable[[dict[str, Value]], dict[str, Any]]] = {
    "multipl_e": _code,
    "sql": _sql,
    "mt_bench": _mt_bench,
    "zero_shot": _zero_shot,
}
