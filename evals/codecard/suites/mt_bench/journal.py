"""Ratings by a judge that is asked only for what no journal row holds yet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

from codecard.files import Row
from codecard.model import content_key
from codecard.suites.mt_bench.data import TASK, JudgePrompt
from codecard.suites.mt_bench.judge import Judge, Reply


def judged_row(prompt: JudgePrompt, judge: str, key: str, text: str | None, rating: float | None, why: str) -> Row:
    """A row of judgments.jsonl: what became of one prompt. `text` None: the request failed; without a rating the row is
    void, and `why` says so."""
    return {
        "task": TASK,
        "problem": prompt.problem,
        "sample": 0,
        "turn": prompt.turn,
        "judge": judge,
        "form": prompt.name,
        "rating": rating,
        "void": "" if rating is not None else why,
        "verdict": "void" if rating is None else "rated",
        "judgment": text,
        "user_prompt": prompt.user,
        "key": key,
    }


def rate(
    judge: Judge,
    prompts: Iterable[JudgePrompt],
    journal: Iterable[Row],
    parse: Callable[[str], float | None],
    attempts: int = 1,
) -> Iterator[tuple[Row, bool]]:
    """(row, whether it is new) of each prompt; append the new rows to the journal as they come.

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
            yield _row(judge, Reply(prompt=prompt, text=best), parse), False
    while pending:
        again: list[JudgePrompt] = []
        for reply in judge.judge(pending):
            row = _row(judge, reply, parse)
            yield row, True
            if reply.text is not None:
                known[row["key"]].append(reply.text)
                if row["rating"] is None and len(known[row["key"]]) < attempts:
                    again.append(reply.prompt)
        pending = again


def _key(judge: Judge, prompt: JudgePrompt) -> str:
    return content_key([judge.identity, prompt.system, prompt.user])


def _best(texts: list[str], parse: Callable[[str], float | None]) -> str | None:
    """The first text with a rating, else the last one."""
    rated = (text for text in texts if parse(text) is not None)
    return next(rated, texts[-1] if texts else None)


def _row(judge: Judge, reply: Reply, parse: Callable[[str], float | None]) -> Row:
    rating = None if reply.text is None else parse(reply.text)
    why = reply.failure or "no rating in the judge's text"
    return judged_row(reply.prompt, judge.name, _key(judge, reply.prompt), reply.text, rating, why)
