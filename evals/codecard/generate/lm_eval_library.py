"""lm-evaluation-harness itself: the one version that is used, its model classes, and its noise kept away."""

from __future__ import annotations

import contextlib
import difflib
import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from typing import Any

from codecard.model import InfrastructureError, UsageError
from codecard.text import first_line

VERSION = "0.4.13"
_NOTHING = ("LMEVAL_MODEL_NONE_ANSWER_PLACEHOLDER", "<no answer came>")


def library(what: str) -> Any:
    """The `lm_eval` package, for `what`. `InfrastructureError` where it is missing or of another version."""
    os.environ.setdefault(*_NOTHING)  # read by lm-eval when it is imported; otherwise no answer is an empty one
    try:
        from importlib.metadata import version

        import lm_eval
    except ImportError as error:
        raise InfrastructureError(f"{what} needs {error.name}: pip install 'codecard[zero-shot]'") from error
    if (found := version("lm-eval")) != VERSION:
        raise InfrastructureError(f"{what} needs lm-eval {VERSION}, found {found}: install that one")
    return lm_eval


def model_class(kind: str) -> Any:
    """A model type of the harness's registry by its name. `UsageError` with the nearest names for another."""
    import lm_eval.models  # noqa: F401  (fills the registry)
    from lm_eval.api.registry import get_model, model_registry

    known = sorted(model_registry.keys())
    if kind not in known:
        near = difflib.get_close_matches(kind, known, n=3) or known
        raise UsageError(f"lm-eval has no model type {kind!r}; it has {', '.join(near)}")
    try:
        return get_model(kind)
    except ImportError as error:
        raise InfrastructureError(f"lm-eval:{kind} needs {error.name or first_line(error)}: install it") from error


def no_answer() -> str:
    """What lm-eval's server types give back where none came; empty where that cannot be told from an answer."""
    from lm_eval.models import api_models

    return str(getattr(api_models, _NOTHING[0], ""))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep lm-eval's warnings out of the way; its progress bars are shown on a terminal alone."""
    before = os.environ.get("TOKENIZERS_PARALLELISM")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    hidden = sys.stderr if sys.stderr.isatty() else io.StringIO()
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(hidden):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
        if before is None:
            del os.environ["TOKENIZERS_PARALLELISM"]
        else:
            os.environ["TOKENIZERS_PARALLELISM"] = before
