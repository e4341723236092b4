"""One static HTML file of a run or of a comparison: no network, no server, nothing of a model's output runs.

Model output never meets the template: it lies in compressed data blocks and reaches the page as text nodes.
What does meet the template (names, manifests) is escaped, and a content-security-policy allows only this
file's own style and script, by hash.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from codecard import __version__
from codecard.report.embed import embed
from codecard.report.pages import Page, comparison_page, run_page
from codecard.runs.reading import Run
from codecard.stats import Compared


def render_run(run: Run, reported: Mapping[str, str] | None = None) -> str:
    """The page of one run. `reported`: task → published text of its number."""
    return _render(run_page(run, reported or {}), (run,))


def render_comparison(base: Run, new: Run, compared: Compared, warnings: Sequence[str] = ()) -> str:
    """The page of a comparison: differences, flips, and each problem's two programs as a diff."""
    return _render(comparison_page(base, new, compared, warnings), (base, new))


def _render(page: Page, runs: Sequence[Run]) -> str:
    folder = resources.files("codecard.report") / "templates"
    css, script = ((folder / f"report.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    embedded = embed(runs)
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((folder / "report.html.j2").read_text(encoding="utf-8"))
    values: dict[str, Any] = {
        "page": page,
        "version": __version__,
        # Ours, or made safe where it was made: base64, JSON without "<", and SVG drawn from escaped text.
        "css": Markup(css),  # noqa: S704
        "js": Markup(script),  # noqa: S704
        "css_hash": _source_hash(css),
        "js_hash": _source_hash(script),
        "index": Markup(embedded.index),  # noqa: S704
        "chunks": embedded.blocks,
    }
    return template.render(values)


def _source_hash(text: str) -> str:
    """A content-security-policy source expression for exactly this text."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
