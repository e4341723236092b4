"""Small data sets in the schemas of the ten zero-shot tasks, made here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Row = dict[str, Any]
THINGS = ("cat", "dog", "fish", "tree")
DOCUMENTS = 2


def arc(i: int) -> Row:
    choices = {"text": [str(i + 1), str(i + 7), THINGS[i % 4], "none"], "label": ["A", "B", "C", "D"]}
    return {"id": str(i), "question": f"What comes after {i}?", "choices": choices, "answerKey": "ABCD"[i % 4]}


def boolq(i: int) -> Row:
    kind = "even" if i % 2 == 0 else "odd"
    return {"question": f"is {i} even", "passage": f"The number {i} is {kind}.", "idx": i, "label": int(i % 2 == 0)}


def hellaswag(i: int) -> Row:
    endings = ["fries them.", "flies [title] away.", "is a spoon.", "sings the pan."]
    context = {"activity_label": "Cooking", "ctx_a": f"A man cuts {i} onions.", "ctx_b": "he", "ctx": "A man"}
    return {"ind": i, **context, "endings": endings, "source_id": "x", "split": "val", "label": str(i % 4)}


def lambada(i: int) -> Row:
    return {"text": f"A cat and a cat, a dog and a dog, a {THINGS[i % 4]} and a {THINGS[(i * i) % 4]}"}


def openbookqa(i: int) -> Row:
    choices = {"text": ["cold", "loud", "a dog", "made of wood"], "label": ["A", "B", "C", "D"]}
    stem = f"Water with {i} cubes of ice is"
    return {"id": str(i), "question_stem": stem, "choices": choices, "answerKey": "ABCD"[i % 4]}


def piqa(i: int) -> Row:
    return {"goal": f"Open {i} jars", "sol1": "turn the lid", "sol2": "eat the table", "label": i % 2}


def siqa(i: int) -> Row:
    answers = {"answerA": "thankful", "answerB": "a chair", "answerC": "purple"}
    question = "How would Lee feel?"
    return {"context": f"Kim gave Lee {i} books.", "question": question, **answers, "label": str(1 + i % 3)}


def truthfulqa(i: int) -> Row:
    one = {"choices": ["Yes", "No"], "labels": [1, 0]}
    several = {"choices": ["Yes, it is", "It is", "No", "Never"], "labels": [1, 1, 0, 0]}
    return {"question": f"Is {i} a number?", "mc1_targets": one, "mc2_targets": several}


def winogrande(i: int) -> Row:
    sentence = f"The ball broke the {i} tables because _ was made of steel."
    return {"sentence": sentence, "option1": "the ball", "option2": "the table", "answer": str(1 + i % 2)}


MAKERS = {
    "arc_challenge": arc,
    "arc_easy": arc,
    "boolq": boolq,
    "hellaswag": hellaswag,
    "lambada_openai": lambada,
    "openbookqa": openbookqa,
    "piqa": piqa,
    "siqa": siqa,
    "truthfulqa": truthfulqa,
    "winogrande": winogrande,
}


def write_data(folder: Path, documents: int = DOCUMENTS) -> Path:
    """One file a task, in the schema of the task's own data set."""
    folder.mkdir(parents=True)
    for name, make in MAKERS.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(make(i)) + "\n" for i in range(documents)))
    return folder
