"""What can be done with codecard, as functions: the command line is a thin layer on them.

run = codecard.run(model="embedded", suite="starter", limit=2)
run.estimates["starter/average"]["pass@1"].value
"""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codecard.model import CodecardError, Decision, PromptStyle, UsageError, suite_of
from codecard.paths import data_dir as default_data_dir
from codecard.runs.comparable import Mismatch, Side, check_comparable, known_field, read_side
from codecard.runs.pipeline import RunPlan, Watcher
from codecard.runs.pipeline import run as run_pipeline
from codecard.runs.pipeline import score as score_pipeline
from codecard.runs.reading import Run, read_run
from codecard.runs.shard import parse_shard
from codecard.settings import ModelSpec, Profile, RunConfig, dtype_name, load_profile
from codecard.stats import Compared
from codecard.stats import compare as compare_scores
from codecard.stats.paired import MARGIN
from codecard.suites import ORDER, find_suite, scales
from codecard.suites.suite import Asked, Session, Setting, Suite

if TYPE_CHECKING:
    from codecard.cluster import Cluster, Workers
    from codecard.generate import Generator, Opening

Progress = bool | Callable[[str], None] | Watcher
RUNS = Path("results/runs")


@dataclass(frozen=True)
class RunComparison:
    """Two runs compared: `tasks` and `pooled` hold a `codecard.Comparison` each, `decision` is the gate's."""

    base: Side
    new: Side
    facts: Compared
    differs: tuple[Mismatch, ...]

    @property
    def decision(self) -> Decision:
        return self.facts.decision

    @property
    def tasks(self) -> Mapping[str, Any]:
        return self.facts.tasks

    @property
    def pooled(self) -> Mapping[str, Any]:
        return self.facts.pooled


load_run = read_run
"""The run folder `path`, read. Raises UsageError for a bad folder."""


def run(
    *,
    config: str | Path | None = None,
    progress: Progress = True,
    suite: str | Sequence[str] | None = None,
    **given: Any,
) -> Run:
    """Ask a model, judge what it wrote, and score it; on a folder that holds part of the run, do the rest of it.

    `given` are the fields of `codecard.settings.RunConfig` (model, limit, samples, out, set, …) over those of the file
    `config`; `suite` names one suite or several. `progress`: True shows bars, False nothing; a function is told lines.
    Raises UsageError or InfrastructureError; samples without a value are no error: see `Run.missing`.
    """
    if suite is not None:
        given["suites"] = suite.split(",") if isinstance(suite, str) else list(suite)
    resolved = RunConfig.merged(Path(config) if config is not None else None, given)
    with watching(progress) as watcher:
        return run_config(resolved, watcher)


def score(
    files: str | Path | Sequence[str | Path], *, suite: str = ORDER[0], progress: Progress = True, **given: Any
) -> Run:
    """Judge and score completions made elsewhere; needs no model. `given` as for `run`."""
    paths = [Path(file) for file in ([files] if isinstance(files, (str, Path)) else files)]
    resolved = RunConfig.merged(None, {**given, "suites": [suite]})
    with watching(progress) as watcher:
        return score_config(resolved, paths, watcher)


def compare(
    base: str | Path | Run, new: str | Path | Run, *, margin: float = MARGIN, ignore: Sequence[str] = ()
) -> RunComparison:
    """Compare two runs (or a baseline file with a run), paired by problem.

    Raises UsageError, naming the field, where a difference forbids it and is not in `ignore`.
    """
    if not 0 <= margin < 1:
        raise UsageError(f"--margin {margin}: a share of pass@1 from 0 to below 1, such as 0.03")
    sides = [Side.of(side) if isinstance(side, Run) else read_side(Path(side)) for side in (base, new)]
    for name in ignore:
        known_field(name, sides)
    differs = check_comparable(sides[0], sides[1], tuple(ignore))
    suites = {suite_of(found.task) for side in sides for found in side.scores}
    facts = compare_scores(sides[0].scores, sides[1].scores, margin=margin, scales=scales(suites))
    return RunComparison(base=sides[0], new=sides[1], facts=facts, differs=tuple(differs))


# ---------------------------------------------------------------- from a configuration to a run


def run_config(config: RunConfig, watcher: Watcher, argv: Sequence[str] = ()) -> Run:
    """`run` with everything resolved. A suite that cannot run here is said, and the others go on."""
    spec = ModelSpec.parse(named_model(config))
    shard = parse_shard(config.shard) if config.shard is not None else None
    if config.dtype is not None:
        config = config.model_copy(update={"dtype": dtype_name(config.dtype)})
    out = Path(config.out) if config.out else _default_out(config.model)
    setting = setting_of(config, folder=out, say=watcher.note)
    suites = suites_of(config, setting.profile, split=shard is not None)
    with _cluster(config, watcher) as cluster, contextlib.ExitStack() as stack:
        sessions, refused = _open(suites, replace(setting, cluster=cluster), stack)
        common, own = _generators(sessions, spec, opening_of(config, cluster), stack)
        plan = RunPlan(
            out=out,
            profile=setting.profile,
            argv=tuple(argv),
            model=config.model,
            limit=config.limit,
            parts=setting.parts,
            shard=shard,
            config=_resolved(config, out),
            refused=refused,
        )
        return run_pipeline(plan, sessions, common, own, watcher)


def score_config(config: RunConfig, files: Sequence[Path], watcher: Watcher, argv: Sequence[str] = ()) -> Run:
    """`score` with everything resolved."""
    config = one_suite(config)
    if not files:
        raise UsageError("no files to score")
    out = Path(config.out) if config.out else _default_out(files[0].stem)
    setting = setting_of(config, folder=out, say=watcher.note)
    suites = suites_of(config, setting.profile)
    with _cluster(config, watcher) as cluster, contextlib.ExitStack() as stack:
        sessions, _ = _open(suites, replace(setting, cluster=cluster), stack, files)
        plan = RunPlan(
            out=out,
            profile=setting.profile,
            argv=tuple(argv),
            files=tuple(str(file) for file in files),
            config=_resolved(config, out),
        )
        return score_pipeline(plan, sessions, watcher)


def one_suite(config: RunConfig) -> RunConfig:
    """For commands on completions made elsewhere: of one suite, by default of the card's first."""
    if len(config.suites) > 1:
        raise UsageError("completions made elsewhere are of one suite at a time")
    return config if config.suites else config.model_copy(update={"suites": [ORDER[0]]})


def _resolved(config: RunConfig, out: Path) -> dict[str, Any]:
    return config.model_copy(update={"out": str(out)}).model_dump(mode="json", exclude_none=True)


def named_model(config: RunConfig) -> str:
    """The model's name as the user gave it. UsageError where there is none."""
    if config.model is None:
        raise UsageError("no model; name one with --model")
    return config.model


def suites_of(config: RunConfig, profile: Profile, *, split: bool = False) -> list[tuple[Suite, Any]]:
    """The suites asked for, each with its options under `profile`; nothing is opened for it.

    UsageError names an unknown suite, a bad option, and with `split` a suite that cannot be asked in shards.
    """
    names = list(dict.fromkeys(name.strip() for name in config.suites if name.strip()))
    if not names:
        raise UsageError("--suite names no suite")
    for name in names:
        find_suite(name)
    for name in config.set:
        if name not in names:
            find_suite(name)  # the near miss of a name that is none
            raise UsageError(f"--set {name}.…: suite {name} is not asked for")
    suites = [(find_suite(name), config.set.get(name)) for name in names]
    for suite, _ in suites:
        if split and not suite.shards:
            raise UsageError(f"--shard: suite {suite.name} cannot be split; run it by itself")
    if config.samples and config.samples > 1 and not any(suite.sampled for suite, _ in suites):
        raise UsageError(f"--samples {config.samples}: {names[0]} is greedy; more samples would all be the same")
    return [(suite, suite.configured(profile, given)) for suite, given in suites]


def _default_out(label: str | None) -> Path:
    name = "".join(c if c.isalnum() or c in ".-" else "-" for c in str(label).removeprefix("hf:")).strip("-")
    return RUNS / f"{name}-{datetime.datetime.now(datetime.UTC):%Y%m%d-%H%M%S}"


def data_folder(given: str | Path | None) -> Path | None:
    """The benchmark data's folder: as given, or CODECARD_DATA; None where neither is. UsageError where it is none."""
    data = Path(given) if given is not None else default_data_dir()
    if data is not None and not data.is_dir():
        raise UsageError(f"no data folder {data}")
    return data


def setting_of(config: RunConfig, *, folder: Path | None = None, say: Callable[[str], None] = print) -> Setting:
    """What suites are opened in. UsageError names a bad model, profile or data folder."""
    return Setting(
        profile=load_profile(config.profile),
        model=ModelSpec.parse(config.model) if config.model is not None else None,
        asked=Asked(
            prompt_style=PromptStyle(config.prompt_style) if config.prompt_style else None,
            samples=config.samples,
            temperature=config.temperature,
            max_new_tokens=config.max_new_tokens,
            seed=config.seed,
        ),
        data_dir=data_folder(config.data_dir),
        parts=frozenset(config.languages) if config.languages is not None else None,
        workers=workers_of(config).programs,
        sandbox=config.sandbox,
        folder=folder,
        say=say,
    )


def _open(
    suites: Sequence[tuple[Suite, Any]], setting: Setting, stack: contextlib.ExitStack, files: Sequence[Path] = ()
) -> tuple[list[Session], dict[str, str]]:
    """The suites that can run here, opened, and why the others cannot. Where none can, the first reason is raised."""
    sessions, refused, first = [], {}, None
    for suite, options in suites:
        try:
            if suite.local and setting.cluster is not None:
                raise UsageError(f"--workers ray…: the {suite.name} suite runs in this process")
            session = suite.open(setting, options, files)
        except CodecardError as error:
            first = first or error
            refused[suite.name] = str(error)
            continue
        stack.callback(session.close)
        sessions.append(session)
    if first is not None and not sessions:
        raise first
    for name, reason in refused.items():
        setting.say(f"{name} cannot run here: {reason}")
    return sessions, refused


def opening_of(config: RunConfig, cluster: Cluster | None = None) -> Opening:
    from codecard.generate import Opening

    return Opening(
        dtype=config.dtype,
        device=config.device,
        batch_size=config.batch_size,
        base_url=config.base_url,
        cluster=cluster,
    )


def _generators(
    sessions: Sequence[Session], spec: ModelSpec, opening: Opening, stack: contextlib.ExitStack
) -> tuple[Generator | None, dict[str, Generator]]:
    """Those that suites bring themselves, by suite, and the common one where some suite needs it."""
    from codecard.generate import open_generator

    own: dict[str, Generator] = {}
    for session in sessions:
        if (generator := session.generator(spec, opening)) is not None:
            own[session.suite.name] = generator
            stack.callback(generator.close)
    if len(own) == len(sessions):
        return None, own
    common = open_generator(spec, opening)
    stack.callback(common.close)
    return common, own


def workers_of(config: RunConfig) -> Workers:
    from codecard.cluster import parse_workers

    return parse_workers(None if config.workers is None else str(config.workers))


@contextlib.contextmanager
def _cluster(config: RunConfig, watcher: Watcher) -> Iterator[Cluster | None]:
    """The connection to the cluster that `workers` names; None for this machine."""
    from codecard.cluster import Cluster

    workers = workers_of(config)
    if workers.address is None:
        yield None
        return
    cluster = Cluster(workers, watcher.note)
    try:
        yield cluster
    finally:
        cluster.close()


@contextlib.contextmanager
def watching(progress: Progress) -> Iterator[Watcher]:
    """What is told of everything that finishes: bars, nothing, a function of lines, or a watcher of the user's own."""
    if isinstance(progress, Watcher):
        yield progress
    elif progress is True:
        from rich.console import Console

        from codecard.report.terminal import TerminalWatcher

        with TerminalWatcher(Console(stderr=True)) as watcher:
            yield watcher
    elif callable(progress):
        yield _Lines(progress)
    else:
        yield Watcher()


class _Lines(Watcher):
    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell

    def plan(self, suite: str, to_generate: int, to_execute: int) -> None:
        self._tell(f"{suite}: {to_generate} completions to generate, {to_execute} to execute")

    def note(self, text: str) -> None:
        self._tell(text)
