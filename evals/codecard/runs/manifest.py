"""A run's manifest: one record, in which every field says its role. What is refused, told, united or kept follows from
the roles; there is no list of field names anywhere else.
"""

from __future__ import annotations

import dataclasses
import platform
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import Any

from codecard.files import Row
from codecard.model import suite_of
from codecard.suites.suite import Facts

FORMAT = 2
PACKAGES = ("codecard", "torch", "transformers", "datasets", "docker", "lm-eval")


class Role(StrEnum):
    IDENTITY = "identity"
    """Decides what is asked or what counts as right: going on, or merging, under another is refused by its name."""
    COMPARABLE = "comparable"
    """Two runs must share it for their difference to mean anything."""
    WARNED = "warned of"
    """May move a verdict: a difference between two runs is told."""
    PLAN = "plan"
    """What was asked for, united over all commands."""
    MOMENT = "of the moment"
    MAKING = "of the making"
    """Who made the run, with what: kept for each maker when runs are merged."""


def _role(*roles: Role, united: bool = False, baseline: bool = False) -> dict[str, Any]:
    """What a field says of itself. `united`: a mapping whose keys (tasks, languages, suites) are united. `baseline`:
    kept in a baseline."""
    return {"roles": roles, "united": united, "baseline": baseline}


IDENTITY, COMPARABLE, WARNED = Role.IDENTITY, Role.COMPARABLE, Role.WARNED
PLAN, MOMENT, MAKING = Role.PLAN, Role.MOMENT, Role.MAKING

FACT_ROLES = {
    "judging": (IDENTITY, COMPARABLE),
    "asking": (IDENTITY,),
    "identity": (IDENTITY,),
    "comparable": (IDENTITY, COMPARABLE),
    "warned": (WARNED,),
    "free": (MOMENT,),
    "noted": (MOMENT,),
}
"""Roles of the parts of a suite's facts."""
OPTION_PARTS = ("judging", "asking", "free")
"""Those that hold the suite's options."""


@dataclass(slots=True, kw_only=True)
class Manifest:
    """`manifest.json`. Hashes are sha256; times are none: a manifest says what, not when."""

    format: int = field(default=1, metadata=_role(MOMENT))
    suites: list[str] = field(default_factory=list, metadata=_role(PLAN, baseline=True))
    plan: dict[str, list[Row]] = field(default_factory=dict, metadata=_role(PLAN))
    """Suite → all that was ever asked of it: samples, limit, languages, shard, files."""
    profile: dict[str, Any] = field(default_factory=dict, metadata=_role(IDENTITY, COMPARABLE, baseline=True))
    recipe: dict[str, Any] | None = field(default=None, metadata=_role(IDENTITY, baseline=True))
    """Model, revision, backend, dtype, chat template: what decides a completion besides `asking`. None where
    completions were made elsewhere."""
    asking: dict[str, Any] = field(default_factory=dict, metadata=_role(IDENTITY, WARNED, united=True, baseline=True))
    """Suite → form, sampling, seed."""
    samples: int | None = field(default=None, metadata=_role(WARNED, baseline=True))
    """The most samples of a problem that were asked for."""
    limit: int | None = field(default=None, metadata=_role(MOMENT))
    shard: str | None = field(default=None, metadata=_role(MOMENT))
    data: dict[str, str] = field(default_factory=dict, metadata=_role(IDENTITY, COMPARABLE, united=True, baseline=True))
    """Task → hash of its problems."""
    limits: dict[str, str] = field(default_factory=dict, metadata=_role(COMPARABLE, united=True, baseline=True))
    """Task → key of its programs' limits; outcomes under others are made again."""
    sandbox: str = field(default="", metadata=_role(IDENTITY, WARNED, baseline=True))
    images: dict[str, str] = field(default_factory=dict, metadata=_role(WARNED, united=True, baseline=True))
    toolchains: dict[str, str] = field(default_factory=dict, metadata=_role(WARNED, united=True, baseline=True))
    facts: dict[str, dict[str, Any]] = field(default_factory=dict, metadata=_role(united=True, baseline=True))
    """Suite → its facts and options, each part with the role of `FACT_ROLES`."""
    counts: dict[str, int] = field(default_factory=dict, metadata=_role(MOMENT, united=True))
    """Task → problems of the whole suite."""
    skipped: dict[str, str] = field(default_factory=dict, metadata=_role(MOMENT, united=True))
    """Task or suite → why it did not run here when last asked."""
    fingerprint: dict[str, Any] | None = field(default=None, metadata=_role(MAKING, baseline=True))
    model: str | None = field(default=None, metadata=_role(MAKING, baseline=True))
    config: dict[str, Any] = field(default_factory=dict, metadata=_role(MAKING))
    """The run's configuration, resolved: `--config RUN` asks for the same again."""
    codecard: str = field(default="", metadata=_role(MAKING))
    argv: list[str] = field(default_factory=list, metadata=_role(MAKING))
    git: str = field(default="", metadata=_role(MAKING))
    packages: dict[str, str] = field(default_factory=dict, metadata=_role(MAKING))
    host: dict[str, str] = field(default_factory=dict, metadata=_role(MAKING))
    merged: list[Row] = field(default_factory=list, metadata=_role(MAKING))
    """Of a merged run: each part's makers."""

    @classmethod
    def read(cls, raw: Row) -> Manifest:
        """From a file's contents, of this version or of 0.1; fields that are not known are left out."""
        if raw.get("format", 1) < FORMAT:
            raw = _of_version_1(raw)
        known = {item.name: item for item in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in raw.items() if name in known and value is not None})

    def __getitem__(self, name: str) -> Any:
        """A field by its name, as the file has it."""
        return getattr(self, name)

    def row(self) -> Row:
        return {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}

    def facts_of(self, suite: str) -> Row:
        """All that is kept of a suite, without its roles.

        What it says of itself goes before an option of that name: a recording's judge is the one that its file names.
        """
        found: Row = {}
        for _, values in sorted(self.facts.get(suite, {}).items(), key=lambda part: part[0] not in OPTION_PARTS):
            found |= values
        return found

    def leaves(self, role: Role) -> dict[str, object]:
        """Dotted path → value of every leaf with a role: `profile.name`, `data.SUITE/TASK`, `SUITE.OPTION`."""
        found: dict[str, object] = {}
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            if role in item.metadata["roles"] and value not in (None, "", {}):
                found |= _flat(value, item.name)
        for suite, parts in self.facts.items():
            for part, values in parts.items():
                if role in FACT_ROLES.get(part, (MOMENT,)):
                    found |= _flat(values, suite)
        return found

    def conflict(self, other: Manifest, *roles: Role) -> tuple[str, object, object] | None:
        """(path, own value, other's) of the first leaf in which the two differ; what one of them does not say is no
        difference, except whose completions they are."""
        if (self.recipe is None) != (other.recipe is None) and IDENTITY in roles:
            return "recipe", self.recipe, other.recipe
        for role in roles:
            mine, theirs = self.leaves(role), other.leaves(role)
            # an option says more than the hash of the problems that it changes
            for path in sorted(mine.keys() & theirs.keys(), key=lambda path: (path.startswith("data."), path)):
                if mine[path] != theirs[path]:
                    return path, mine[path], theirs[path]
        return None

    def with_facts(self, suite: str, facts: Facts, options: Any) -> None:
        """Take in what a session says of itself, and its options by their role."""
        for name in ("data", "limits", "images", "toolchains"):
            getattr(self, name).update(getattr(facts, name))
        self.sandbox = facts.sandbox or self.sandbox
        parts = {name: dict(getattr(facts, name)) for name in ("identity", "comparable", "warned", "noted")}
        parts |= {role: options.deciding(role) for role in OPTION_PARTS}
        self.facts[suite] = {name: values for name, values in parts.items() if values}

    def united(self, later: Manifest) -> Manifest:
        """This one with what a later command adds: plans and what is kept by name are united, the rest is the later
        one's."""
        result = dataclasses.replace(later)
        for item in dataclasses.fields(self):
            if item.metadata["united"]:
                mine, theirs = getattr(self, item.name), getattr(later, item.name)
                setattr(result, item.name, {**mine, **theirs})
        for suite, parts in self.facts.items():
            kept = {part: {**values, **later.facts.get(suite, {}).get(part, {})} for part, values in parts.items()}
            result.facts[suite] = {**later.facts.get(suite, {}), **kept}
        result.plan = united_plans(self.plan, later.plan)
        result.suites = list(dict.fromkeys([*self.suites, *later.suites]))
        result.samples = max(filter(None, (self.samples, later.samples)), default=None)
        asked = set(later.counts) | set(later.suites)
        result.skipped = {k: v for k, v in self.skipped.items() if k not in asked} | later.skipped
        result.merged = self.merged
        return result


def united_plans(*plans: Mapping[str, list[Row]]) -> dict[str, list[Row]]:
    """All that was ever asked, each once, in an order of its own."""
    found: dict[str, list[Row]] = {}
    for plan in plans:
        for suite, asks in plan.items():
            mine = found.setdefault(suite, [])
            mine += [ask for ask in asks if ask not in mine]
    return {suite: sorted(asks, key=repr) for suite, asks in sorted(found.items())}


def _flat(value: object, path: str) -> dict[str, object]:
    if not isinstance(value, Mapping):
        return {path: value}
    found: dict[str, object] = {}
    for name, inner in value.items():
        found |= _flat(inner, f"{path}.{name}")
    return found


def makers() -> Row:
    """Who makes a run, with what: the fields that every manifest begins with."""
    return {
        "format": FORMAT,
        "codecard": _version("codecard"),
        "git": _git(),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "host": {"python": sys.version.split()[0], "machine": platform.machine(), "kernel": platform.release()},
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _git() -> str:
    """Revision of the checkout that runs, or empty outside one."""
    try:
        done = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True, text=True, check=False, timeout=5,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _of_version_1(raw: Row) -> Row:
    """A manifest of version 0.1 in today's fields. What it did not say stays unsaid, and is no difference."""
    from codecard.suites import known_suite

    found = dict(raw)
    names = list(raw.get("suites") or [])
    suites = {name: known_suite(name) for name in names}
    recipe = raw.get("recipe")
    if isinstance(recipe, dict):
        kept = ("model", "revision", "backend", "dtype", "chat_template_hash")
        found["recipe"] = {name: recipe[name] for name in kept if name in recipe}
        asked = {"style": recipe.get("prompt_style"), "sampling": recipe.get("sampling"), "seed": recipe.get("seed")}
        found["asking"] = {name: {k: v for k, v in asked.items() if v is not None} for name in names}
    if isinstance(raw.get("profile"), dict):
        found["profile"] = {name: value for name, value in raw["profile"].items() if name == "name"}
    # the hash of limited questions says nothing of the whole
    partial = [name for name, suite in suites.items() if suite.hashed_as_limited and raw.get("limit") is not None]
    hashes = raw.get("data") or {}
    found["data"] = {task: value for task, value in hashes.items() if suite_of(task) not in partial}
    ask = {name: raw.get(name) for name in ("samples", "limit", "shard") if raw.get(name) is not None}
    found["plan"] = {name: [ask] for name in names} if isinstance(recipe, dict) else {}
    return found | {"facts": {name: facts for name, suite in suites.items() if (facts := suite.old_facts(raw))}}
