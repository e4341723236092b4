"""Judges: the port through which answers are judged, and what stands behind it: a model, or a recording."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from codecard.generate import GenerationRequest, Generator, Message, Opening, open_generator
from codecard.model import FinishReason, Sampling, UsageError
from codecard.settings import ModelSpec
from codecard.suites.mt_bench.data import TASK, JudgePrompt, MtBenchData, clean_answer
from codecard.suites.mt_bench.fastchat import API_ERROR, RecordedJudgment, read_judgments

_DECIDING = ("model", "revision", "backend", "dtype", "chat_template_hash")
"""What of a generator's fingerprint decides its text; a server's address and library versions do not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the judge wrote, or None with the reason: the request failed, and a resumed run asks again."""

    prompt: JudgePrompt
    text: str | None
    failure: str = ""


class Judge(ABC):
    """`name` as results show it; `identity` all that decides its text besides the prompt (JSON values). `recognised`:
    the name proves the model: a recording, or its maker's own endpoint."""

    name: str
    identity: dict[str, Any]
    recognised: bool

    @abstractmethod
    def judge(self, prompts: Iterable[JudgePrompt]) -> Iterator[Reply]:
        """A reply per prompt, in any order."""

    def close(self) -> None:
        return None


def open_judge(
    spec: str, data: MtBenchData, *, base_url: str | None = None, max_new_tokens: int | None = None
) -> Judge:
    """The judge that `spec` names, as `--model` names a model. `UsageError` in one line for an unknown one or a missing
    key."""
    if base_url is not None and not spec.startswith("openai:"):
        raise UsageError(f"judge {spec}: a judge's server belongs to openai:NAME")
    try:
        model = ModelSpec.parse(spec)
    except UsageError as error:
        hint = f"; did you mean openai:{spec}?" if spec.startswith("gpt") else ""
        raise UsageError(f"unknown judge {spec!r}{hint} ({error})") from None
    if model.backend == "replay":
        path = Path(model.name)
        return ReplayJudge(path, read_judgments(path, data))
    standard = data.definition.judge_sampling
    sampling = Sampling(temperature=standard.temperature, max_new_tokens=max_new_tokens or standard.max_new_tokens)
    generator = open_generator(model, Opening(base_url=base_url))
    return GeneratorJudge(model.name, generator, sampling=sampling, stops=data.definition.answer_stops)


class GeneratorJudge(Judge):
    """A model as judge: system and user message in its own chat template, greedy."""

    def __init__(self, name: str, generator: Generator, *, sampling: Sampling, stops: tuple[str, ...]) -> None:
        self.name = name
        self.recognised = generator.own_endpoint
        fingerprint = generator.fingerprint()
        self.identity = {name: fingerprint.get(name, "") for name in _DECIDING} | {"sampling": asdict(sampling)}
        self._generator, self._sampling, self._stops = generator, sampling, stops

    def judge(self, prompts: Iterable[JudgePrompt]) -> Iterator[Reply]:
        """Each as it arrives; at the end those whose request failed, with the reason."""
        waiting = {prompt.key: prompt for prompt in prompts}
        requests = [self._request(prompt) for prompt in waiting.values()]
        for completion in self._generator.generate(requests):
            prompt = waiting.pop(completion.problem)
            if not completion.text and completion.finish_reason is FinishReason.LENGTH:
                yield Reply(prompt=prompt, text=None, failure="the prompt leaves the judge no room")
            else:
                yield Reply(prompt=prompt, text=clean_answer(completion.text, self._stops))
        failures = self._generator.failures
        for key, prompt in waiting.items():
            failure = failures.get((TASK, key, 0), "no reply")
            yield Reply(prompt=prompt, text=None, failure=f"the judge did not answer: {failure}")

    def _request(self, prompt: JudgePrompt) -> GenerationRequest:
        system = (Message(role="system", content=prompt.system),) if prompt.system else ()
        messages = (*system, Message(role="user", content=prompt.user))
        return GenerationRequest(task=TASK, problem=prompt.key, sample=0, prompt=messages, sampling=self._sampling)

    def close(self) -> None:
        self._generator.close()


class ReplayJudge(Judge):
    """Answers a prompt with the text recorded for the very same prompt, byte for byte.

    `rows` are a FastChat judgment file's. Another answer than the one recorded finds nothing, whatever the
    model is called. A prompt recorded twice gives its first text.
    """

    recognised = True

    def __init__(self, path: Path, rows: Iterable[RecordedJudgment]) -> None:
        rows = list(rows)
        names = list(dict.fromkeys(row.judge for row in rows))
        if len(names) != 1:
            raise UsageError(f"{path}: recordings of {len(names)} judges ({', '.join(names)}); expected one")
        self.name, self._path = names[0], path
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        self.identity = {"judge": self.name, "backend": "replay", "revision": f"sha256:{digest}"}
        self._texts: dict[tuple[str, str], str] = {}
        for row in rows:
            if row.text != API_ERROR:
                self._texts.setdefault((row.form, row.user_prompt), row.text)

    def judge(self, prompts: Iterable[JudgePrompt]) -> Iterator[Reply]:
        for prompt in prompts:
            text = self._texts.get((prompt.name, prompt.user))
            failure = "" if text is not None else f"{self._path.name} holds no judgment of this prompt"
            yield Reply(prompt=prompt, text=text, failure=failure)
