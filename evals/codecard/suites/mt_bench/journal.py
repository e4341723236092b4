"""Ratings by a judge that is asked only for what no journal row holds yet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from codecard.model import content_key
from codecard.suites.mt_bench.data import JudgePrompt
from codecard.suites.mt_bench.judge import Judge, Reply

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedRow:
    """The outcome of one prompt: `rating` None is void, `void` says why. `text` None: the request failed."""

    prompt: JudgePrompt
    judge: str
    key: str
    text: str | None
    rating: float | None
    void: str = ""

    @property
    def row(self) -> Row:
        """As `judgments.jsonl` holds it."""
        return {
            "problem": self.prompt.problem,
            "sample": 0,
            "turn": self.prompt.turn,
            "judge": self.judge,
            "form": self.prompt.name,
            "rating": self.rating,
            "void": self.void,
            "verdict": "void" if self.rating is None else "rated",
            "judgment": self.text,
            "user_prompt": self.prompt.user,
            "key": self.key,
        }


def rate(
    judge: Judge,
    prompts: Iterable[JudgePrompt],
    journal: Iterable[Mapping[str, Any]],
    parse: Callable[[str], float | None],
    attempts: int = 1,
) -> Iterator[tuple[JudgedRow, bool]]:
    """(outcome, whether it is new) of each prompt; append the new rows to the journal as they come.

    A text in `journal` under the same judge, settings and prompt (`key`) is taken, not asked for again; the
    rating is always read from the text anew. A text without a rating is asked for again until `attempts` texts
    are there (a judge at temperature 0 mostly repeats itself, and each try is paid). A failed request is no
    text: it is asked for again by the next run.
    """
    known: defaultdict[str, list[str]] = defaultdict(list)
    for row in journal:
        if isinstance(row.get("judgment"), str):
            known[str(row["key"])].append(row["judgment"])
    pending: list[JudgePrompt] = []
    for prompt in prompts:
        texts = known[_key(judge, prompt)]
        best = _best(texts, parse)
        if best is None or (parse(best) is None and len(texts) < attempts):
            pending.append(prompt)
        else:
            yield _outcome(judge, Reply(prompt=prompt, text=best), parse), False
    while pending:
        again: list[JudgePrompt] = []
        for reply in judge.judge(pending):
            outcome = _outcome(judge, reply, parse)
            yield outcome, True
            if reply.text is not None:
                known[outcome.key].append(reply.text)
                if outcome.rating is None and len(known[outcome.key]) < attempts:
                    again.append(reply.prompt)
        pending = again


def _key(judge: Judge, prompt: JudgePrompt) -> str:
    return content_key([judge.identity, prompt.system, prompt.user])


def _best(texts: list[str], parse: Callable[[str], float | None]) -> str | None:
    """The first text with a rating, else the last one."""
    rated = (text for text in texts if parse(text) is not None)
    return next(rated, texts[-1] if texts else None)


def _outcome(judge: Judge, reply: Reply, parse: Callable[[str], float | None]) -> JudgedRow:
    rating = None if reply.text is None else parse(reply.text)
    void = "" if rating is not None else reply.failure or "no rating in the judge's text"
    return JudgedRow(
        prompt=reply.prompt,
        judge=judge.name,
        key=_key(judge, reply.prompt),
        text=reply.text,
        rating=rating,
        void=void,
    )
