"""The doctor's findings as a table: a row per kind of program, a column per language; below it what is off, in full."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from codecard.sandbox.doctor import EXPECTED, Diagnosis, Finding

_HEADS = {
    "good": "good",
    "wrong": "wrong",
    "build_error": "does not build",
    "runtime_error": "crashes",
    "timeout": "never ends",
    "early_exit": "exits before its tests",
    "memory": "takes all memory",
    "forks": "multiplies",
    "floods": "floods its output",
    "network": "reaches for the network",
    "writes_outside": "writes outside its scratch",
}


def doctor_report(diagnosis: Diagnosis) -> RenderableType:
    """Verdicts by language, toolchains with their digests, the host factor, and every finding that is off."""
    languages = list(dict.fromkeys(found.language for found in diagnosis.findings if found.language))
    seen = {(found.language, found.kind): found for found in diagnosis.findings}
    table = Table(title=f"sandbox: {diagnosis.sandbox}", title_justify="left")
    table.add_column("a program that is or does")
    for language in languages:
        table.add_column(language, justify="center")
    for kind in EXPECTED:
        if any(found.kind == kind for found in diagnosis.findings):
            table.add_row(_HEADS[kind], *[_cell(seen.get((language, kind))) for language in languages])
    parts: list[RenderableType] = [table, *[_toolchain(seen[language, "toolchain"]) for language in languages]]
    parts += [_complaint(found) for found in diagnosis.findings if not found.fine]
    if diagnosis.host is not None:
        host = diagnosis.host
        parts.append(
            Text(
                f"host factor {host.factor:g}: a fixed piece of work took {host.seconds:.3f} s of CPU here, "
                f"{host.reference_seconds:.3f} s on the reference machine ({host.processor})"
            )
        )
    parts.append(Text("all is well", style="green") if diagnosis.fine else Text("something is off", style="bold red"))
    return Group(*parts)


def _cell(found: Finding | None) -> Text:
    if found is None:
        return Text("–", style="dim")
    return Text("ok", style="green") if found.fine else Text(found.seen, style="bold red")


def _toolchain(found: Finding) -> Text:
    return Text(f"{found.language:5}{found.detail[:19]:21}{found.seen[:50]}", style="dim", no_wrap=True)


def _complaint(found: Finding) -> Text:
    text = f"{found.language} {found.kind}: expected {found.expected}, seen {found.seen}".strip()
    return Text(f"{text} ({found.detail})" if found.detail else text, style="red")
