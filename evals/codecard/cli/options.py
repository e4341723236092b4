"""The options of the commands: fields of a run's configuration, and what suites bring; each is declared once, there."""

from __future__ import annotations

import inspect
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from codecard.model import UsageError
from codecard.settings import HOW, WHERE, RunConfig, said_of
from codecard.suites import find_suite, suite_names
from codecard.suites.suite import Suite
from codecard.text import unknown

Config = Annotated[
    Path | None, typer.Option("--config", help="a TOML file, or a run folder: its options", rich_help_panel=WHERE)
]
Tasks = Annotated[
    list[Path] | None, typer.Option("--tasks", help="a folder with suites of one's own (CODECARD_TASKS)", hidden=True)
]
Command = Callable[..., None]


# ---------------------------------------------------------------- fields of a run's configuration


def with_parameters(name: str, parameters: Mapping[str, inspect.Parameter]) -> Callable[[Command], Command]:
    """Give a command these options before its own; their values arrive as its argument `name`, by key."""

    def decorate(command: Command) -> Command:
        own = inspect.signature(command, eval_str=True)
        kept = [parameter for parameter in own.parameters.values() if parameter.name != name]
        shown = [*parameters.values(), *kept]

        def wrapped(**given: Any) -> None:
            values = {key: given.pop(parameter.name) for key, parameter in parameters.items()}
            command(**given, **{name: values})

        wrapped.__doc__, wrapped.__name__ = command.__doc__, command.__name__
        wrapped.__signature__ = own.replace(parameters=shown)  # type: ignore[attr-defined]
        wrapped.__annotations__ = {parameter.name: parameter.annotation for parameter in shown}
        return wrapped

    return decorate


def parameter(name: str, kind: Any, option: Any, default: Any = None) -> inspect.Parameter:
    annotation: Any = Annotated[kind if default is not None else kind | None, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def configured(*names: str) -> Callable[[Command], Command]:
    """Give a command an option for each of these fields of `RunConfig`; those given arrive as `given`, by field.

    Those that ask for suites also take `--tasks`, those with a temperature `--greedy`, and those with languages the old
    `--language`.
    """
    parameters = {name: _of_field(name) for name in names}
    if "suites" in names:
        kind = inspect.Parameter.KEYWORD_ONLY
        parameters["tasks"] = inspect.Parameter("given_tasks", kind, default=None, annotation=Tasks)
    if "temperature" in names:
        parameters["greedy"] = _hidden("--greedy", bool, "temperature 0")
    if "languages" in names:
        parameters["language"] = _hidden("--language", str, "the old name of --languages")

    def decorate(command: Command) -> Command:
        def read(*, given: dict[str, Any], **others: Any) -> None:
            command(given=_read(given), **others)

        read.__doc__, read.__name__ = command.__doc__, command.__name__
        read.__signature__ = inspect.signature(command, eval_str=True)  # type: ignore[attr-defined]
        return with_parameters("given", parameters)(read)

    return decorate


def _of_field(name: str) -> inspect.Parameter:
    declared = RunConfig.model_fields[name]
    flag, panel = said_of(declared, "flag") or f"--{name.replace('_', '-')}", said_of(declared, "panel")
    kind = next(k for k in (get_args(declared.annotation) or (declared.annotation,)) if k is not type(None))
    kind = list[str] if name == "set" else kind if kind in (int, float) else str
    shape = "SUITE.OPTION=VALUE" if name == "set" else None
    option = typer.Option(
        flag, metavar=shape, help=declared.description, hidden=not panel, rich_help_panel=panel or None
    )
    return parameter(f"given_{name}", kind, option)


def _hidden(flag: str, kind: Any, about: str) -> inspect.Parameter:
    return parameter(f"given_{flag.strip('-')}", kind, typer.Option(flag, help=about, hidden=True))


def _read(given: dict[str, Any]) -> dict[str, Any]:
    """Values by field, as `RunConfig` takes them."""
    use_tasks(given.pop("tasks", None))
    if given.pop("greedy", None):
        if given["temperature"]:
            raise UsageError(f"--greedy is temperature 0, and --temperature {given['temperature']:g} is given")
        given["temperature"] = 0.0
    renamed("--language", "--languages", old := given.pop("language", None))
    if "languages" in given:
        given["languages"] = listed(given["languages"] or old)
    if given.get("suites") is not None:
        given["suites"] = [name.strip() for name in given["suites"].split(",") if name.strip()]
    if "set" in given:
        given["set"] = parse_sets(given["set"])
    return given


def listed(given: str | None) -> list[str] | None:
    """`a,b` as a list; None where nothing was given. UsageError for an empty one."""
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
            raise UsageError(f"--set {text}: expected SUITE.OPTION=VALUE")
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


def with_suite_flags(command: Command) -> Command:
    """Give a command one option for each flag of a suite; the values arrive as `flags`, by flag."""
    added = {flag: _of_suite(flag, options[0][2]) for flag, options in suite_flags().items()}
    return with_parameters("flags", added)(command)


def _of_suite(flag: str, declared: Any) -> inspect.Parameter:
    kinds = [kind for kind in (get_args(declared.annotation) or (declared.annotation,)) if kind in (bool, int, float)]
    kind: Any = kinds[0] if kinds else str
    shown = bool(said_of(declared, "shown")) and kind is not bool
    said = f"{flag}/--no-{flag[2:]}" if kind is bool else flag
    option = typer.Option(said, help=declared.description, hidden=not shown, rich_help_panel=HOW)
    return parameter(f"flag_{flag.strip('-').replace('-', '_')}", kind, option)


def sets_of_flags(flags: Mapping[str, Any], suites: list[str]) -> dict[str, dict[str, Any]]:
    """The flags that were given as options of the suites asked for. UsageError where none of these has it."""
    known, found = suite_flags(), dict[str, dict[str, Any]]()
    for flag, value in flags.items():
        if value is None:
            continue
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
