"""Options that several commands have, under one name, and those that suites bring."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from codecard.model import UsageError
from codecard.settings import MODEL_FORMS, said_of
from codecard.suites import find_suite, suite_names
from codecard.suites.suite import Suite
from codecard.text import unknown

MODEL, WHAT, HOW, WHERE = "The model", "What is asked", "How it is asked", "Where and with what"

Model = Annotated[str | None, typer.Option("--model", help=MODEL_FORMS, rich_help_panel=MODEL)]
BaseUrl = Annotated[
    str | None,
    typer.Option("--base-url", help="server of openai:NAME; its key is OPENAI_API_KEY", rich_help_panel=MODEL),
]
Dtype = Annotated[str | None, typer.Option("--dtype", help="bfloat16, float16 or float32", rich_help_panel=MODEL)]
Device = Annotated[str | None, typer.Option("--device", help="cpu, cuda or cuda:N", rich_help_panel=MODEL)]
BatchSize = Annotated[
    int | None,
    typer.Option("--batch-size", min=1, help="rows at once; for a server: requests under way", rich_help_panel=MODEL),
]
SuiteNames = Annotated[
    str | None,
    typer.Option("--suite", help="one or several with commas; `codecard suites` lists them", rich_help_panel=WHAT),
]
ProfileName = Annotated[
    str | None,
    typer.Option("--profile", help="the protocol: card-2024-03, strict, or FILE.toml", rich_help_panel=WHAT),
]
Languages = Annotated[str | None, typer.Option("--languages", help="only these, with commas", rich_help_panel=WHAT)]
Limit = Annotated[
    int | None, typer.Option("--limit", min=1, help="only the first N problems of each task", rich_help_panel=WHAT)
]
Samples = Annotated[int | None, typer.Option("--samples", help="per problem", rich_help_panel=WHAT)]
Out = Annotated[
    Path | None,
    typer.Option("--out", help="the run folder; default: results/runs/<model>-<time>", rich_help_panel=WHERE),
]
WorkersOption = Annotated[
    str | None,
    typer.Option("--workers", help="programs at once, or ray…; default: one per core", rich_help_panel=WHERE),
]
Config = Annotated[
    Path | None,
    typer.Option("--config", help="a TOML file, or a run folder: its options", rich_help_panel=WHERE),
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SUITE.OPTION=VALUE", help="a suite's own option", rich_help_panel=WHERE),
]
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="benchmark data; default: CODECARD_DATA, or the Hub", hidden=True)
]
SandboxName = Annotated[
    str | None, typer.Option("--sandbox", help="docker or bwrap; default: docker where it runs", hidden=True)
]
Tasks = Annotated[
    list[Path] | None, typer.Option("--tasks", help="a folder with suites of one's own (CODECARD_TASKS)", hidden=True)
]
OldLanguage = Annotated[str | None, typer.Option("--language", hidden=True)]
MORE = "More, in docs/cli.md: --data-dir, --sandbox, --tasks, --shard, --greedy, and the options of suites."


def listed(given: str | None) -> list[str] | None:
    """`py,cpp` as a list; None where nothing was given. UsageError for an empty one."""
    if given is None:
        return None
    names = [name.strip() for name in given.split(",") if name.strip()]
    if not names:
        raise UsageError("--languages names no language")
    return names


def renamed(old: str, new: str, value: Any) -> None:
    """A line where an option's old name was used; it works for one version more."""
    if value not in (None, False, [], ()):
        print(f"codecard: {old} is now {new}", file=sys.stderr)


def use_tasks(folders: list[Path] | None) -> None:
    """Make folders of the user's own suites known, here and in processes that are started."""
    import os

    for folder in folders or []:
        if not folder.is_dir():
            raise UsageError(f"--tasks {folder}: no such folder")
    if folders:
        given = [str(folder.absolute()) for folder in folders]
        os.environ["CODECARD_TASKS"] = ":".join([*given, *filter(None, [os.environ.get("CODECARD_TASKS")])])


# ---------------------------------------------------------------- options of suites


def parse_sets(given: list[str] | None) -> dict[str, dict[str, Any]]:
    """`--set SUITE.OPTION=VALUE` as nested mappings; values are read by the option's own type later."""
    found: dict[str, dict[str, Any]] = {}
    for text in given or []:
        match = re.fullmatch(r"([\w-]+)\.(\w+)=(.*)", text, re.DOTALL)
        if match is None:
            raise UsageError(f"--set {text}: expected SUITE.OPTION=VALUE, such as sql.version=newest")
        suite, name, value = match.groups()
        fields = find_suite(suite).options.model_fields
        if name not in fields:
            raise UsageError(f"--set {suite}.{name}: {unknown('option', name, list(fields))}")
        several = "tuple" in str(fields[name].annotation)
        found.setdefault(suite, {})[name] = [part for part in value.split(",") if part] if several else value
    return found


def suite_flags() -> dict[str, list[tuple[Suite, str, Any]]]:
    """Flag → the suites' options behind it: those that have a flag of their own, and version 0.1's names."""
    found: dict[str, list[tuple[Suite, str, Any]]] = {}
    for name in suite_names():
        suite = find_suite(name)
        for option, declared in suite.options.model_fields.items():
            for flag in filter(None, (said_of(declared, "flag"), said_of(declared, "old"))):
                found.setdefault(flag, []).append((suite, option, declared))
    return found


def with_suite_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command one option for each flag of a suite; the values arrive as `flags`, by flag."""
    own = inspect.signature(command, eval_str=True)
    kept = [parameter for parameter in own.parameters.values() if parameter.name != "flags"]
    added = {_parameter(flag, options[0][2]): flag for flag, options in suite_flags().items()}

    def wrapped(**given: Any) -> None:
        values = {flag: given.pop(parameter.name) for parameter, flag in added.items()}
        command(**given, flags={flag: value for flag, value in values.items() if value is not None})

    wrapped.__doc__ = command.__doc__
    wrapped.__name__ = command.__name__
    wrapped.__signature__ = own.replace(parameters=[*kept, *added])  # type: ignore[attr-defined]
    wrapped.__annotations__ = {parameter.name: parameter.annotation for parameter in [*kept, *added]}
    return wrapped


def _parameter(flag: str, declared: Any) -> inspect.Parameter:
    kinds = [kind for kind in (get_args(declared.annotation) or (declared.annotation,)) if kind in (bool, int, float)]
    kind: Any = kinds[0] if kinds else str
    shown = typer.Option(flag, help=declared.description, hidden=not said_of(declared, "shown"), rich_help_panel=HOW)
    name = flag.strip("-").replace("-", "_")
    if kind is bool:
        shown = typer.Option(f"{flag}/--no-{flag[2:]}", help=declared.description, hidden=True)
    annotation: Any = Annotated[kind | None, shown]
    return inspect.Parameter(f"flag_{name}", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def sets_of_flags(flags: Mapping[str, Any], suites: list[str]) -> dict[str, dict[str, Any]]:
    """The flags that were given as options of the suites asked for. UsageError where none of these has it."""
    known, found = suite_flags(), dict[str, dict[str, Any]]()
    for flag, value in flags.items():
        owners = [(suite, name, declared) for suite, name, declared in known[flag] if suite.name in suites]
        if not owners:
            names = ", ".join(dict.fromkeys(suite.name for suite, _, _ in known[flag]))
            raise UsageError(f"{flag} belongs to {names}, which is not asked for")
        for suite, name, declared in owners:
            found.setdefault(suite.name, {})[name] = value
            if said_of(declared, "old") == flag:
                renamed(flag, f"--set {suite.name}.{name}={value}", value)
    return found


def arguments() -> list[str]:
    """The command line for the manifest, without the password of a `--database-url`."""
    pattern = re.compile(r"(://[^:/@\s]*:)[^@\s]*(?=@)|(password=)('[^']*'|\S+)")
    return [pattern.sub(lambda found: f"{found.group(1) or found.group(2)}…", word) for word in sys.argv[1:]]
