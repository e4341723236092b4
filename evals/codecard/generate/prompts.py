"""From a request to token ids, and what a tokenizer is called: one rule for every backend that tokenizes here."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from typing import Any

from codecard.generate.port import GenerationRequest, Message
from codecard.generate.rows import Row
from codecard.model import Sampling, UsageError


def prepared(tokenizer: Any, request: GenerationRequest, context: int | None, name: str) -> Row:
    """The request as a row of the model `name`, which sees `context` tokens at most (None: it states no number)."""
    ids = encode(tokenizer, request)
    return Row(request=request, ids=ids, room=room(request.sampling, len(ids), context, name))


def encode(tokenizer: Any, request: GenerationRequest) -> list[int]:
    """Token ids of the prompt. Raw text gets the tokenizer's own special tokens. A dialogue gets those of its template
    alone: it writes the beginning-of-text token itself where the model wants one, which would be there twice."""
    if isinstance(request.prompt, str):
        ids = tokenizer(request.prompt)["input_ids"]
    else:
        text = _rendered(tokenizer, request.prompt, f"{request.task} {request.problem}")
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    if not ids:
        raise UsageError(f"{request.task} {request.problem}: the prompt is empty")
    return [int(token) for token in ids]


def _rendered(tokenizer: Any, dialogue: tuple[Message, ...], where: str) -> str:
    """The dialogue in the tokenizer's own chat template, up to the place where the answer begins."""
    import jinja2

    if not tokenizer.chat_template:
        way_out = "ask it raw (--prompt-style raw) or use an instruct model"
        raise UsageError(f"{where}: the model's tokenizer has no chat template; {way_out}")
    turns = [asdict(message) for message in dialogue]
    try:
        return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
    except (jinja2.TemplateError, ValueError, KeyError) as error:
        raise UsageError(f"{where}: the model's chat template refused the dialogue: {error}") from error


def room(sampling: Sampling, prompt_tokens: int, context: int | None, name: str) -> int:
    """The most tokens a row may add: the tightest of its limits and the model's context; below 1 there is none. Raises
    UsageError where nothing limits the row."""
    rooms = [limit - prompt_tokens for limit in (sampling.max_total_tokens, context) if limit is not None]
    if sampling.max_new_tokens is not None:
        rooms.append(sampling.max_new_tokens)
    if not rooms:
        raise UsageError(f"{name} states no context length; set max_new_tokens")
    return min(rooms)


def tokenizer_print(tokenizer: Any) -> dict[str, str]:
    """The tokenizer's part of a fingerprint. Hashes are the first 16 hex digits of sha256."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    vocabulary = backend.to_str() if backend is not None else repr(sorted(tokenizer.get_vocab().items()))
    return {
        "tokenizer_hash": _digest(vocabulary),
        "chat_template_hash": _digest(str(tokenizer.chat_template)) if tokenizer.chat_template else "",
    }


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
