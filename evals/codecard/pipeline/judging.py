"""Opening a judge: a model asked through the generation port, or a recording."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from codecard.generate import GenerationRequest, Generator, Message, open_generator
from codecard.judge import Judge, ReplayJudge, Reply
from codecard.model import FinishReason, Sampling, UsageError
from codecard.tasks.fastchat import read_judgments
from codecard.tasks.mt_bench import TASK, JudgePrompt, Suite, clean_answer

_FORMS = "openai:NAME, hf:ORG/NAME[@REVISION], a folder, embedded or replay:FILE"
_DECIDING = ("model", "revision", "backend", "dtype", "chat_template_hash")
"""What of a generator's fingerprint decides its text; a server's address and library versions do not."""


def open_judge(spec: str, suite: Suite, *, base_url: str | None = None, max_new_tokens: int | None = None) -> Judge:
    """The judge that `spec` names. `UsageError` in one line for an unknown one or a missing key."""
    if spec.startswith("replay:"):
        path = Path(spec.removeprefix("replay:"))
        return ReplayJudge(path, read_judgments(path, suite))
    known = spec.startswith(("openai:", "hf:")) or spec == "embedded" or Path(spec).is_dir()
    if not known:
        hint = f"; did you mean openai:{spec}?" if spec.startswith("gpt") else ""
        raise UsageError(f"unknown judge {spec!r}{hint}; expected {_FORMS}")
    standard = suite.definition.judge_sampling
    sampling = Sampling(temperature=standard.temperature, max_new_tokens=max_new_tokens or standard.max_new_tokens)
    return GeneratorJudge(
        "embedded" if spec == "embedded" else spec.removeprefix("openai:").removeprefix("hf:"),
        open_generator(spec, base_url=base_url),
        sampling=sampling,
        stops=suite.definition.answer_stops,
    )


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
        return bool(getattr(self._generator, "own_endpoint", False))

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
        failures = getattr(self._generator, "failures", {})
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
