"""Opening a judge: a model asked through the generation port, or a recording."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from codecard.generate import GenerationRequest, Generator, Message, Opening, open_generator
from codecard.model import FinishReason, Sampling, UsageError
from codecard.settings import ModelSpec
from codecard.suites.mt_bench.data import TASK, JudgePrompt, MtBenchData, clean_answer
from codecard.suites.mt_bench.fastchat import read_judgments
from codecard.suites.mt_bench.judge import Judge, Reply
from codecard.suites.mt_bench.replay import ReplayJudge

_DECIDING = ("model", "revision", "backend", "dtype", "chat_template_hash")
"""What of a generator's fingerprint decides its text; a server's address and library versions do not."""


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


class GeneratorJudge:
    """A model as judge: system and user message in its own chat template, greedy."""

    def __init__(self, name: str, generator: Generator, *, sampling: Sampling, stops: tuple[str, ...]) -> None:
        self._name = name
        self._generator = generator
        self._sampling = sampling
        self._stops = stops

    @property
    def name(self) -> str:
        return self._name

    @property
    def recognised(self) -> bool:
        return self._generator.own_endpoint

    @property
    def identity(self) -> dict[str, Any]:
        fingerprint = self._generator.fingerprint()
        return {name: fingerprint.get(name, "") for name in _DECIDING} | {"sampling": asdict(self._sampling)}

    def judge(self, prompts: Iterable[JudgePrompt]) -> Iterator[Reply]:
        """A reply per prompt, as each arrives; at the end those whose request failed, with the reason."""
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
        return GenerationRequest(
            task=TASK,
            problem=prompt.key,
            sample=0,
            prompt=(*system, Message(role="user", content=prompt.user)),
            sampling=self._sampling,
        )

    def close(self) -> None:
        self._generator.close()
