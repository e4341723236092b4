"""`codecard images`: the sandbox images."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from codecard.languages import find_language, language_names
from codecard.model import CodecardError

app = typer.Typer(help="The sandbox images.", no_args_is_help=True, add_completion=False)


@app.command("build")
def images_build(
    languages: Annotated[list[str] | None, typer.Argument(help="languages; none: all")] = None,
    missing: Annotated[bool, typer.Option("--missing", help="only those that are not there yet")] = False,
) -> None:
    """Build the sandbox images: from their Dockerfile, on a mmdebstrap base where no registry answers."""
    from codecard.sandbox.images import build, is_current

    console = Console(stderr=True)
    chosen = [find_language(name).name for name in languages or language_names()]
    wanted = [language for language in chosen if not (missing and is_current(language))]
    build(wanted, lambda text: console.print(text, highlight=False))


@app.command("list")
def images_list() -> None:
    """Every language's image: digest and toolchain, or what is missing."""
    from codecard.sandbox import open_sandbox

    sandbox = open_sandbox(None, lambda text: Console(stderr=True).print(text))
    for language in language_names():
        try:
            image = sandbox.image(language)
            typer.echo(f"{language:5} {image.digest[:19]:20} {image.version}")
        except CodecardError as error:
            typer.echo(f"{language:5} {error}")
    sandbox.close()
