#!/usr/bin/env python3
"""Writes docs/cli.md from the commands themselves; `--check` fails where the page is not what they say."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from codecard.cli import commands, load_command
from codecard.cli.options import suite_flags
from codecard.settings import role_of, said_of
from codecard.suites import find_suite, suite_names
from codecard.suites.suite import Suite
from codecard.text import markdown

PAGE = Path(__file__).parent.parent / "docs" / "cli.md"
HEAD = """# The commands

Made by `scripts/cli_docs.py` from the commands themselves. `codecard COMMAND --help` shows the options that most need;
here are all. `codecard --install-completion` completes them in the shell.

Exit codes: 0 every planned number is there; 1 a gate or check failed; 2 bad usage or input (one line says what and
where); 3 something of the machine, a server or a checkpoint failed or is missing; 4 cannot tell; 130 and 143 stopped by
Ctrl-C and SIGTERM.
"""
DECIDES = {"asking": "what is asked", "judging": "what counts", "free": "–"}
OLD = {"--language": "--languages", "--lang": "--languages"} | {
    flag: f"--set {suite.name if len(options) == 1 else 'SUITE'}.{name}=…"
    for flag, options in suite_flags().items()
    for suite, name, field in options
    if said_of(field, "old") == flag
}


def page() -> str:
    parts = [HEAD]
    for name in commands():
        parts += _command(f"codecard {name}", load_command(name))
    parts.append("## Options of the suites\n\n`--set SUITE.OPTION=VALUE`, or a line in a profile's section. "
                 "Another value of what decides is another run.\n")  # fmt: skip
    parts += [_suite(find_suite(name)) for name in suite_names()]
    rows = [f"| `{old}` | `{new}` |" for old, new in sorted(OLD.items())]
    parts.append(
        "\n".join(
            ["## Names of version 0.1\n\nThey work for this version, with a line.\n", "| | |", "|---|---|", *rows, ""]
        )
    )
    return "\n".join(parts)


def _command(name: str, command: Any) -> Iterator[str]:
    yield f"## {name}\n\n{_prose(command.help)}\n"
    if hasattr(command, "commands"):
        for inner, found in command.commands.items():
            yield f"### {name} {inner}\n\n{_prose(found.help)}\n"
            yield _options(found)
    else:
        yield _options(command)


def _prose(text: str | None) -> str:
    """Paragraphs; an example is code."""
    parts = [" ".join(part.split()) for part in (text or "").split("\n\n")]
    return "\n\n".join(f"    {part}" if part.startswith("codecard ") else part for part in parts)


def _options(command: Any) -> str:
    rows = []
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            rows.append((str(parameter.metavar or parameter.name).upper(), getattr(parameter, "help", "") or ""))
            continue
        if parameter.opts[0] in OLD:
            continue
        names = ", ".join([*parameter.opts, *parameter.secondary_opts])
        default = parameter.default
        shown = (
            f" (default: {default})"
            if isinstance(default, (int, float, str)) and default not in (True, False, "")
            else ""
        )
        rows.append((names, (parameter.help or "") + shown))
    lines = [f"| `{name}` | {markdown(about)} |" for name, about in rows]
    return "\n".join(["| | |", "|---|---|", *lines, ""])


def _suite(suite: Suite) -> str:
    lines = [
        f"### {suite.name}\n",
        f"{suite.summary or suite.title}.\n",
        "| option | default | decides | |",
        "|---|---|---|---|",
    ]
    for name, field in suite.options.model_fields.items():
        default = field.get_default()
        shown = "" if default in (None, "", ()) else f"`{default}`"
        choices = said_of(field, "choices")
        about = (field.description or "tokens of a completion") + (f": {', '.join(choices)}" if choices else "")
        lines.append(f"| `{suite.name}.{name}` | {shown} | {DECIDES[role_of(field)]} | {markdown(about)} |")
    return "\n".join([*lines, ""])


def main() -> None:
    made = page()
    if "--check" in sys.argv[1:]:
        if not PAGE.exists() or PAGE.read_text() != made:
            sys.exit(f"{PAGE} is not what the commands say; run scripts/cli_docs.py")
        return
    PAGE.write_text(made)


if __name__ == "__main__":
    main()
