"""Typed settings: profiles, suites' options, a model's name, and the configuration of a run. Reads files, no more."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from codecard.files import read_json
from codecard.model import UsageError
from codecard.paths import tasks_dir
from codecard.text import unknown

DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
"""Short names of data types, and torch's."""


class Options(BaseModel):
    """Settings of a suite. A subclass declares its own with `option`; what no suite declares is refused by name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_new_tokens: int = 512

    def deciding(self, *roles: str) -> dict[str, Any]:
        """Name → plain value of the options with one of these roles (default: those that decide a number)."""
        wanted = roles or ("asking", "judging")
        names = [name for name, field in type(self).model_fields.items() if role_of(field) in wanted]
        return {name: value for name, value in self.model_dump(mode="json").items() if name in names}


def option(  # noqa: PLR0913 - all that is to be said of an option
    default: Any = None,
    *,
    about: str,
    role: Literal["asking", "judging", "free"] = "judging",
    step: str = "",
    flag: str = "",
    old: str = "",
    shown: bool = False,
    ge: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """An option of a suite: its default, its help with the unit, and its role.

    `role`: `asking` decides what the model writes, `judging` what counts as right, `free` neither. `step`: the group it
    belongs to where a difference of two numbers is explained. `flag`: it has an option of the command line of its own;
    `shown` among the first ones; `old`: its name there in version 0.1.
    """
    extra: Any = {"role": role, "step": step, "flag": flag, "old": old, "shown": shown, "choices": list(choices)}
    return Field(default, description=about, ge=ge, json_schema_extra=extra)


def role_of(field: Any) -> str:
    return str((field.json_schema_extra or {}).get("role", "asking"))


def said_of(field: Any, what: str) -> Any:
    """What `option` was told of a field: `step`, `flag`, `old`, `choices`."""
    return (field.json_schema_extra or {}).get(what, "")


def checked(kind: type[Options], given: Mapping[str, Any], where: str) -> Options:
    """`given` as options of `kind`. Raises UsageError that names the first bad field, and the near miss."""
    for name in given:
        if name not in kind.model_fields:
            raise UsageError(f"{where}: {unknown('option', name, list(kind.model_fields))}")
    for name, value in given.items():
        choices = said_of(kind.model_fields[name], "choices")
        if choices and value is not None and str(value) not in choices:
            raise UsageError(f"{where}: {unknown(name, str(value), list(choices))}")
    try:
        return kind(**given)
    except ValidationError as error:
        name, what = _first_of(error)
        raise UsageError(f"{where}: {name} {given.get(name)!r}: {what}") from None


def _first_of(error: ValidationError) -> tuple[str, str]:
    """The first bad field, and what is wrong with it."""
    first = error.errors()[0]
    return ".".join(map(str, first["loc"])), first["msg"].lower()


@dataclass(frozen=True, slots=True)
class Profile:
    """A protocol: everything besides the problems that decides a number, by kind of suite or by suite."""

    name: str
    summary: str
    sections: Mapping[str, Mapping[str, Any]]
    where: str = ""

    def options(self, kind: type[Options], *sections: str | Mapping[str, Any]) -> Options:
        """Options from these sections of the profile and then from what is given, later ones over earlier ones."""
        merged: dict[str, Any] = {}
        where = f"profile {self.name}"
        for part in sections:
            if isinstance(part, str):
                found = self.sections.get(part, {})
                checked(kind, found, f"{self.where or where} [{part}]")
            else:
                found, where = part, "--set"
            merged |= found
        return checked(kind, merged, where)


def profile_names() -> list[str]:
    return sorted(path.stem for path in (tasks_dir() / "profiles").glob("*.toml"))


def load_profile(name: str) -> Profile:
    """A profile by its name, or from a file of the user's own (`FILE.toml`). UsageError with the near miss."""
    path = Path(name)
    if path.suffix != ".toml":
        if name not in profile_names():
            raise UsageError(unknown("profile", name, profile_names()))
        path = tasks_dir() / "profiles" / f"{name}.toml"
    raw = read_toml(path)
    sections = {key: value for key, value in raw.items() if isinstance(value, dict)}
    plain = {key: value for key, value in raw.items() if key not in sections}
    if not isinstance(plain.get("name"), str) or set(plain) - {"name", "summary"}:
        odd = next(iter(set(plain) - {"name", "summary"}), "name")
        raise UsageError(f"{path}: a profile has name, summary and a section a suite; {odd!r} is missing or not known")
    return Profile(plain["name"], str(plain.get("summary", "")), sections, str(path))


def read_toml(path: Path) -> dict[str, Any]:
    """UsageError names the file and what is wrong with it."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {error}") from None


# ---------------------------------------------------------------- a model's name

MODEL_FORMS = (
    "hf:ORG/NAME@REVISION, a folder, embedded, vllm:…, hf-naive:…, openai:NAME, lm-eval:TYPE,ARGUMENTS or replay:FILE"
)
_HERE = ("hf", "hf-naive", "vllm")


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model as the user names it, read in one place.

    `text` as given; `backend` who asks it (`hf`, `vllm`, `openai`, …); `name` what follows the backend's prefix,
    without the revision; `source` says what the name is where weights are loaded here: `hub`, `folder` or `embedded`.
    """

    text: str
    backend: str
    name: str
    revision: str | None = None
    source: str = ""

    @classmethod
    def parse(cls, text: str) -> ModelSpec:
        """Raises UsageError, with the forms that are known, for a text that names no model."""
        backend, name = _prefix(text)
        bare = not backend
        if bare:
            backend = "hf"
        if backend not in _HERE:
            if not name:
                raise UsageError(f"model {text!r}: no name behind {backend}:; expected {MODEL_FORMS}")
            return cls(text, backend, name)
        if bare or backend != "hf":
            if name == "embedded":
                return cls(text, backend, name, source="embedded")
            if name and Path(name).is_dir():
                return cls(text, backend, name, source="folder")
            if bare:
                what = "is a file" if name and Path(name).exists() else "is neither a folder nor a known form"
                raise UsageError(f"model {text!r} {what}; expected {MODEL_FORMS}")
            name = name.removeprefix("hf:")
        repository, _, revision = name.partition("@")
        if not repository or repository.count("/") > 1:
            raise UsageError(f"model {text!r}: expected {backend}:ORG/NAME or {backend}:ORG/NAME@REVISION")
        return cls(text, backend, repository, revision or None, source="hub")

    @property
    def embedded(self) -> bool:
        """The small chat model that comes with the project, whoever asks it."""
        return self.source == "embedded"

    @property
    def here(self) -> bool:
        """Its weights are loaded by this project, so that likelihoods can be had."""
        return bool(self.source)


def _prefix(text: str) -> tuple[str, str]:
    """(`vllm`, `org/name`) of `vllm:org/name`; no prefix for a path that exists or a text without a colon."""
    found = re.fullmatch(r"([a-z][a-z0-9-]*):(.*)", text, re.DOTALL)
    return (found[1], found[2]) if found and not Path(text).exists() else ("", text)


def bare_name(text: str) -> str:
    """A model's own name out of any way of naming it: `org/name` of `vllm:hf:org/name@rev`. Never fails."""
    backend, name = _prefix(text)
    while backend in (*_HERE, "openai"):
        backend, name = _prefix(name)
    return name.split("@", 1)[0]


# ---------------------------------------------------------------- a run


THE_MODEL, WHAT, HOW, WHERE = "The model", "What is asked", "How it is asked", "Where and with what"


def _asked(about: str, panel: str, default: Any = None, *, flag: str = "", ge: float | None = None) -> Any:
    """A field of a run's configuration: its help, and the panel of the command line's help that shows it (none: hidden
    there). `flag`: where it is not the name."""
    return Field(default, description=about, ge=ge, json_schema_extra={"panel": panel, "flag": flag})


class RunConfig(BaseModel):
    """All that a run is asked for: the options of `codecard run`, a `--config` file, and what a manifest keeps.

    Times are in seconds, memory in bytes. `set` holds suites' own options by suite. None leaves the default.
    """

    model_config = ConfigDict(extra="forbid")

    model: str | None = _asked(MODEL_FORMS, THE_MODEL)
    base_url: str | None = _asked("server of openai:NAME; its key is OPENAI_API_KEY", THE_MODEL)
    dtype: str | None = _asked("bfloat16, float16 or float32", THE_MODEL)
    device: str | None = _asked("cpu, cuda or cuda:N", THE_MODEL)
    batch_size: int | None = _asked("rows at once; for a server: requests under way", THE_MODEL, ge=1)
    suites: list[str] = _asked("one or several with commas; `codecard suites` lists them", WHAT, [], flag="--suite")
    profile: str = _asked("the protocol: card-2024-03, strict, or FILE.toml", WHAT, "card-2024-03")
    languages: list[str] | None = _asked("only these, with commas", WHAT)
    limit: int | None = _asked("only the first N problems of each task", WHAT, ge=1)
    samples: int | None = _asked("per problem", WHAT, ge=1)
    shard: str | None = _asked("INDEX/COUNT: only this part of the problems", "")
    prompt_style: Literal["raw", "chat"] | None = _asked("raw or chat", HOW)
    temperature: float | None = _asked("0 is greedy", HOW, ge=0)
    max_new_tokens: int | None = _asked("tokens of a completion", HOW, ge=1)
    seed: int | None = _asked("of the sampling", HOW)
    out: str | None = _asked("the run folder; default: results/runs/<model>-<time>", WHERE)
    workers: str | int | None = _asked("programs at once, or ray…; default: one per core", WHERE)
    sandbox: str | None = _asked("docker or bwrap; default: docker where it runs", "")
    data_dir: str | None = _asked("benchmark data; default: CODECARD_DATA, or the Hub", "")
    set: dict[str, dict[str, Any]] = _asked("a suite's own option", WHERE, {})

    @classmethod
    def merged(cls, file: Path | None, given: Mapping[str, Any]) -> RunConfig:
        """What `file` says (TOML, or a run's manifest.json), and what is given over it. UsageError names a bad
        field."""
        base = _configuration(file) if file is not None else {}
        own = {name: value for name, value in given.items() if value not in (None, {}, [])}
        own |= {name: str(value) for name, value in own.items() if isinstance(value, Path)}
        sets = {suite: dict(values) for suite, values in dict(base.get("set") or {}).items()}
        for suite, values in dict(own.pop("set", {})).items():
            sets.setdefault(suite, {}).update(values)
        merged = {**base, **own, "set": sets}
        for name in merged:
            if name not in cls.model_fields:
                raise UsageError(f"{file}: {unknown('option', name, list(cls.model_fields))}")
        try:
            return cls(**merged)
        except ValidationError as error:
            name, what = _first_of(error)
            field = name.partition(".")[0]
            flag = said_of(cls.model_fields[field], "flag") or f"--{field.replace('_', '-')}"
            raise UsageError(f"{flag} {merged.get(name)}: {what}") from None


def _configuration(file: Path) -> dict[str, Any]:
    if file.is_dir():
        file = file / "manifest.json"
    if file.suffix != ".json":
        return read_toml(file)
    found = read_json(file).get("config")
    if not isinstance(found, dict):
        raise UsageError(f"{file}: holds no configuration of a run")
    return {name: value for name, value in found.items() if name != "out"}


def dtype_name(name: str) -> str:
    """torch's name of a data type: `bf16` is `bfloat16`. UsageError for another."""
    full = DTYPES.get(name, name)
    if full not in DTYPES.values():
        raise UsageError(unknown("dtype", name, [*DTYPES.values(), *DTYPES]))
    return full
