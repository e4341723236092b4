"""Adapter: any model type of lm-evaluation-harness's registry, asked through its `generate_until`.

What lm-eval's interface cannot carry is not promised: there is no seed per request, so only greedy requests are taken;
the text comes without its stop string and without a reason, so the finish reason is unknown; and a whole window of
requests is answered before the first of it is given back.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from codecard.generate.backends import Opening
from codecard.generate.lm_eval_library import VERSION, library, model_class, no_answer, quiet
from codecard.generate.loading import folder_hash
from codecard.generate.port import GenerationRequest, Generator
from codecard.generate.prompts import room, tokenizer_print
from codecard.model import Completion, FinishReason, InfrastructureError, PromptStyle, UsageError
from codecard.settings import ModelSpec
from codecard.text import first_line

_LEAST_WINDOW = 8
_BATCHES_AHEAD = 4
_SECRET = ("key", "token", "secret", "password", "auth", "header")


class LmEvalGenerator(Generator):
    """Asks the model that the spec, `TYPE[,NAME=VALUE…]` in lm-eval's own words, names.

    A limit that counts the prompt's tokens needs a model type that has its tokenizer here. Where it has one, a
    prompt that leaves no room gives an empty completion that ends by length; where it has none, what becomes of
    such a prompt is lm-eval's and the server's affair.
    """

    def __init__(self, spec: ModelSpec, opening: Opening) -> None:
        self._kind, _, written = spec.name.partition(",")
        with quiet():
            library(f"lm-eval:{self._kind}")
            self._arguments = _arguments(self._kind, written)
            device = opening.device or _device(self._kind)
            given = {"batch_size": opening.batch_size, "device": device, "dtype": opening.dtype}
            for name in self._arguments:
                given.pop(name, None)
            kind = model_class(self._kind)
            try:
                self._model: Any = kind.create_from_arg_string(written, given)
            except ImportError as error:
                raise InfrastructureError(f"lm-eval:{self._kind} needs {error.name or first_line(error)}") from error
            except Exception as error:  # the zoo's many kinds; all mean that there is no such model
                raise UsageError(f"lm-eval:{self._kind}: cannot open the model: {first_line(error)}") from error
        self._tokenizer = _tokenizer(self._model)
        size = getattr(self._model, "batch_size", 1)
        self._window = max(_LEAST_WINDOW, _BATCHES_AHEAD * size if isinstance(size, int) else 0)

    def fingerprint(self) -> dict[str, Any]:
        """What is known of the output's origin. Arguments that look like a secret are left out."""
        self._open()
        given = self._arguments
        name = str(given.get("pretrained") or given.get("model") or self._kind)
        dtype = str(getattr(getattr(self._model, "model", None), "dtype", "") or given.get("dtype", ""))
        loaded = [package for package in ("torch", "transformers") if package in sys.modules]
        return {
            "model": name,
            "revision": folder_hash(Path(name)) if Path(name).is_dir() else str(given.get("revision", "")),
            "backend": f"lm-eval/{self._kind}",
            "dtype": dtype.removeprefix("torch."),
            "device": str(getattr(self._model, "device", None) or ""),
            "chat_template_hash": "",
            **(tokenizer_print(self._tokenizer) if self._tokenizer is not None else {}),
            "arguments": {key: given[key] for key in given if not any(word in key.lower() for word in _SECRET)},
            "versions": {"lm-eval": VERSION, **{package: sys.modules[package].__version__ for package in loaded}},
        }

    def generate(self, requests: Iterable[GenerationRequest]) -> Iterator[Completion]:
        """Yield completions a window at a time. `UsageError` for a sampled request, or one of the wrong style."""
        pending = iter(requests)
        while window := list(itertools.islice(pending, self._window)):
            for style in PromptStyle:  # apart: lm-eval looks at a batch's first prompt to see whether it has its BOS
                yield from self._answers([request for request in window if request.style is style])

    def close(self) -> None:
        self._model = None

    def _open(self) -> Any:
        if self._model is None:
            raise UsageError(f"generator for lm-eval:{self._kind} is closed")
        return self._model

    def _answers(self, requests: Iterable[GenerationRequest]) -> Iterator[Completion]:
        from lm_eval.api.instance import Instance

        model = self._open()
        rows: list[tuple[GenerationRequest, int | None]] = []
        asked: list[Instance] = []
        for request in requests:
            text = self._text(request)
            limit, counted = self._limit(request, text)
            if limit < 1:
                yield request.completion("", FinishReason.LENGTH, prompt_tokens=counted, new_tokens=0)
                continue
            stops = [stop for stop in request.stops if stop]
            options = {"until": stops, "max_gen_toks": limit, "do_sample": False, "temperature": 0.0}
            asked.append(Instance(request_type="generate_until", doc={}, arguments=(text, options), idx=len(asked)))
            rows.append((request, counted))
        if not rows:
            return
        try:
            with quiet():
                texts = model.generate_until(asked)
        except (AssertionError, NotImplementedError) as error:
            raise UsageError(f"lm-eval:{self._kind} cannot be asked so: {first_line(error)}") from error
        except Exception as error:
            raise InfrastructureError(f"lm-eval:{self._kind} failed: {first_line(error)}") from error
        nothing = no_answer()
        for (request, counted), text in zip(rows, texts, strict=True):
            if not nothing or text != nothing:  # else the sample is missing
                yield request.completion(str(text), FinishReason.UNKNOWN, prompt_tokens=counted)

    def _text(self, request: GenerationRequest) -> str:
        where = f"{request.task} {request.problem}"
        if request.sampling.temperature > 0:
            raise UsageError(
                f"{where}: lm-eval has no seed per request, so a sampled completion could not be made again; "
                "ask it greedily (--greedy), or through hf:, vllm: or openai:"
            )
        if isinstance(request.prompt, str):
            if not request.prompt:
                raise UsageError(f"{where}: the prompt is empty")
            return request.prompt
        turns = [asdict(message) for message in request.prompt]
        try:
            with quiet():
                text = self._open().apply_chat_template(turns)
        except Exception as error:  # no template, no tokenizer, or a template that refuses: each in its own words
            raise UsageError(
                f"{where}: lm-eval:{self._kind} could not put the dialogue into a chat template: {first_line(error)}; "
                "ask it raw (--prompt-style raw) or use an instruct model"
            ) from error
        system = [message.content for message in request.prompt if message.role == "system"]
        if not _is_json(text) and any(content not in text for content in system):  # lm-eval drops it with a warning
            raise UsageError(f"{where}: the model's chat template refused the dialogue: no system turn")
        return text  # type: ignore[no-any-return]  # a str, or lm-eval's own wrapper of the turns

    def _limit(self, request: GenerationRequest, text: str) -> tuple[int, int | None]:
        """The most tokens the row may add, and its prompt's tokens where they can be counted."""
        sampling, counted = request.sampling, self._count(text)
        if counted is None:
            if sampling.max_new_tokens is None or sampling.max_total_tokens is not None:
                why = "does not count a prompt's tokens, so only a limit on new tokens can be kept"
                way_out = "give --max-new-tokens, and a profile without a limit on prompt and completion together"
                raise UsageError(f"lm-eval:{self._kind} {why}; {way_out}")
            return sampling.max_new_tokens, None
        context = getattr(self._model, "max_length", None)
        context = context if isinstance(context, int) else None
        return room(sampling, counted, context, f"lm-eval:{self._kind}"), counted

    def _count(self, text: str) -> int | None:
        if self._tokenizer is None or not hasattr(self._model, "tok_encode") or _is_json(text):
            return None
        ids = self._model.tok_encode(text)
        return len(ids) if all(isinstance(token, int) for token in ids) else None


open_model = LmEvalGenerator


def _arguments(kind: str, written: str) -> dict[str, Any]:
    """lm-eval's own reading of the arguments, which takes a name without a value for an empty one."""
    from lm_eval.utils import simple_parse_args_string

    if any("=" not in part for part in written.split(",") if written):
        raise UsageError(f"lm-eval:{kind}: arguments {written!r}: expected NAME=VALUE[,NAME=VALUE…]")
    return dict(simple_parse_args_string(written))


def _device(kind: str) -> str | None:
    """lm-eval's transformers types ask for a GPU whether there is one or not."""
    if not kind.startswith(("hf", "huggingface")):
        return None
    import torch

    return None if torch.cuda.is_available() else "cpu"


def _tokenizer(model: Any) -> Any:
    """The model's tokenizer, where it has a transformers one here."""
    try:
        tokenizer = getattr(model, "tokenizer", None)
    except Exception:  # a type may fetch it when it is asked for, and fail to
        return None
    return tokenizer if hasattr(tokenizer, "get_vocab") and hasattr(tokenizer, "chat_template") else None


def _is_json(text: Any) -> bool:
    """Whether lm-eval wrapped the turns for a chat server, in place of rendering them."""
    return type(text) is not str
