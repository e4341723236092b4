#!/usr/bin/env python3
"""How far two backends agree on greedy completions of one model, and why where they do not.

Fifty short completions of the starter problems, six languages in turn, every fifth asked as a dialogue; both texts
are cut by the one rule. Where they differ, the reference model is asked for its logits at the first differing
token: a distance between its best token and the other's that rounding can close is numerics, anything else a fault.

    python scripts/check_agreement.py REFERENCE OTHER [--base-url URL] [--other-dtype NAME] [--json FILE]

    python scripts/check_agreement.py embedded lm-eval:hf,pretrained=FOLDER,dtype=float32
    python scripts/check_agreement.py embedded openai:NAME --base-url http://127.0.0.1:8000/v1
    FOLDER/bin/python scripts/check_agreement.py embedded vllm:embedded      # FOLDER: see scripts/setup-vllm

REFERENCE is a transformers model. Exit status 1 where fewer than 90 % agree or a difference is not explained.
"""

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from codecard.answers.cutting import truncate
from codecard.generate import GenerationRequest, Generator, Message, open_generator
from codecard.generate.loading import Loaded, end_tokens
from codecard.generate.prompts import encode
from codecard.model import CodecardError, Completion, Sampling
from codecard.settings import load_profile
from codecard.suites import find_suite
from codecard.suites.code.problems import load_problems, stops_of
from codecard.suites.code.suite import CodeSuite

SHARE = 0.9
CHAT_EVERY = 5


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Where two texts part, in the reference's logits: `gap` between its two best tokens, `cost` between its best
    and the one that the other backend wrote, which is of rank `rank` (the best is 0)."""

    name: str
    reference: str
    other: str
    at: int = 0
    gap: float = float("inf")
    cost: float = float("inf")
    rank: int = -1

    def explained(self, near: float) -> bool:
        return self.cost <= near


def requests(count: int, new_tokens: int) -> list[GenerationRequest]:
    """The first problems of each language in turn."""
    suite = find_suite("starter")
    assert isinstance(suite, CodeSuite)
    profile = suite.configured(load_profile("card-2024-03"))
    tasks = [[(problem, task) for problem in load_problems(task, "", None)[0]] for task in suite.code_tasks]
    made = []
    for place, (problem, task) in enumerate(x for row in zip(*tasks, strict=True) for x in row):
        chat = place % CHAT_EVERY == CHAT_EVERY - 1
        asked = f"Complete this program:\n{problem.prompt}"
        made.append(
            GenerationRequest(
                task=task.task,
                problem=problem.id,
                sample=0,
                prompt=(Message(role="user", content=asked),) if chat else problem.prompt.strip(),
                stops=() if chat else stops_of(problem, profile),
                sampling=Sampling(max_new_tokens=new_tokens),
            )
        )
    return made[:count]


def answers(generator: Generator, asked: Sequence[GenerationRequest]) -> dict[tuple[str, str, int], Completion]:
    started = time.monotonic()
    found = {row.id: row for row in generator.generate(asked)}
    print(f"  {generator.fingerprint()['backend']}: {len(found)} rows in {time.monotonic() - started:.1f} s")
    return found


def parting(loaded: Loaded, ends: frozenset[int], request: GenerationRequest, other: str) -> dict[str, Any]:
    """The first token of the reference's own greedy text that is not the other's, as `Difference` has it.

    The other's tokens are those that the tokenizer makes of its text, and then the likeliest end token.
    """
    import torch

    ids = encode(loaded.tokenizer, request)
    written = loaded.tokenizer(other, add_special_tokens=False)["input_ids"]
    for at in range((request.sampling.max_new_tokens or 0) + 1):
        with torch.inference_mode():
            logits = loaded.model(torch.tensor([ids], device=loaded.device)).logits[0, -1].float()
        best = logits.topk(2)
        token = written[at] if at < len(written) else max(ends, key=lambda end: float(logits[end]))
        first = int(best.indices[0])
        if token != first:
            cost = float(best.values[0] - logits[token])
            gap = float(best.values[0] - best.values[1])
            return {"at": at, "gap": gap, "cost": cost, "rank": int((logits > logits[token]).sum())}
        ids.append(first)
    return {}


def compare(
    asked: Sequence[GenerationRequest], mine: dict[Any, Completion], theirs: dict[Any, Completion], loaded: Loaded
) -> list[Difference]:
    ends = end_tokens(loaded.tokenizer, loaded.model.generation_config, loaded.model.config)
    found = []
    for request in asked:
        key = (request.task, request.problem, request.sample)
        name = f"{request.task} {request.problem} {request.style.value}"
        if key not in theirs:
            found.append(Difference(name=name, reference="", other="(missing)"))
            continue
        one, two = (truncate(rows[key].text, request.stops) for rows in (mine, theirs))
        if one != two:
            where = parting(loaded, ends, request, theirs[key].text)
            found.append(Difference(name=name, reference=one, other=two, **where))
    return found


def report(count: int, differences: list[Difference], near: float) -> bool:
    agree = count - len(differences)
    print(f"{agree} of {count} completions are equal ({agree / count:.0%})")
    for one in differences:
        why = "numerics" if one.explained(near) else "NOT EXPLAINED"
        print(
            f"  {one.name}: token {one.at}, two best logits apart by {one.gap:.6f}, "
            f"best and the other's (rank {one.rank}) by {one.cost:.6f}: {why}"
        )
        print(f"    reference {one.reference[-60:]!r}\n    other     {one.other[-60:]!r}")
    return agree >= SHARE * count and all(one.explained(near) for one in differences)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reference")
    parser.add_argument("other")
    parser.add_argument("--base-url")
    parser.add_argument("--other-dtype", help="default: float32 where the backend takes one")
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--new-tokens", type=int, default=24)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--near", type=float, default=0.01, help="largest distance of two logits that rounding closes")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    asked = requests(options.count, options.new_tokens)
    reference = open_generator(options.reference, dtype="float32", device="cpu")
    mine = answers(reference, asked)
    loaded = reference._open()  # type: ignore[attr-defined]  # a transformers model has it
    takes_dtype = not options.other.startswith(("openai:", "replay:", "lm-eval:"))
    dtype = options.other_dtype or ("float32" if takes_dtype else None)
    other = open_generator(options.other, dtype=dtype, base_url=options.base_url, batch_size=options.batch_size)
    theirs = answers(other, asked)
    prints = [generator.fingerprint() for generator in (reference, other)]
    other.close()
    for found in prints:
        versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
        print(f"  {found['backend']} {found['dtype']} ({versions})")
    differences = compare(asked, mine, theirs, loaded)
    good = report(len(asked), differences, options.near)
    if options.json:
        rows = [dataclasses.asdict(one) for one in differences]
        options.json.write_text(json.dumps({"count": len(asked), "differences": rows, "backends": prints}, indent=1))
    return 0 if good else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except CodecardError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
