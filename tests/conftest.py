"""Fixtures shared by all tests: where optional parts lie, or a visible skip that names the remedy."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from packages import documented_files, install

IN_CI = os.environ.get("CI", "").lower() in {"1", "true", "yes"}


def missing(what: str, remedy: str) -> None:
    """Skip for a user, fail in CI: a check that silently did not run is worth nothing there."""
    message = f"{what}; remedy: {remedy}"
    if IN_CI:
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
def absent() -> Callable[[str, str], None]:
    """`missing`, for tests that find out by themselves what they lack."""
    return missing


def _existing(candidate: Path | None) -> Path | None:
    return candidate if candidate is not None and candidate.is_dir() else None


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """One thread of torch's in this process and in those it starts: several on few cores crawl."""
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        torch.set_num_threads(1)
        yield
        torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def embedded(one_thread: None) -> Path:
    """The folder of the embedded model."""
    from codecard.generate.embedded import embedded_folder
    from codecard.model import InfrastructureError

    pytest.importorskip("transformers")
    try:
        return embedded_folder()
    except InfrastructureError as error:
        missing("no embedded model", str(error))
        raise


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Official benchmark data, laid out as CODECARD_DATA expects it."""
    found = _existing(Path(os.environ["CODECARD_DATA"])) if os.environ.get("CODECARD_DATA") else None
    if found is None:
        missing("no benchmark data", "set CODECARD_DATA to a folder that holds multipl_e/, sql/, mt_bench/")
    assert found is not None
    return found


@pytest.fixture(scope="session")
def seeds_dir(data_dir: Path) -> Path:
    """The published documents whose tables are reproduced."""
    found = _existing(data_dir.parent / "seeds")
    if found is None:
        missing("no published cards", "put the two documents into a folder `seeds` beside CODECARD_DATA")
    assert found is not None
    return found


@pytest.fixture(scope="session")
def docker_engine() -> None:
    """A Docker engine with the sandbox images."""
    from codecard.languages import language_names
    from codecard.model import InfrastructureError
    from codecard.sandbox.docker_ import DockerSandbox

    try:
        sandbox = DockerSandbox()
        for language in language_names():
            sandbox.image(language)
        sandbox.close()
    except InfrastructureError as error:
        missing(str(error), "make sandbox")


@pytest.fixture(scope="session")
def bubblewrap() -> None:
    """bubblewrap with every toolchain on the host."""
    from codecard.languages import language_names
    from codecard.model import InfrastructureError
    from codecard.sandbox.bubblewrap import BubblewrapSandbox

    try:
        sandbox = BubblewrapSandbox()
        for language in language_names():
            sandbox.image(language)
    except InfrastructureError as error:
        missing(str(error), "make system")


@pytest.fixture(scope="session")
def documented_packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which pip has installed the packages that docs/extending.md shows: a suite and a backend."""
    files = documented_files("extending.md")
    site = tmp_path_factory.mktemp("packages") / "site"
    for name in ("sums", "abacus"):
        install(site, name, files[f"{name}.py"], files[f"{name}.pyproject.toml"])
    return site


@pytest.fixture
def sums(documented_packages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The suite `sums` and the models `abacus:…` of these packages, in this process."""
    monkeypatch.syspath_prepend(str(documented_packages))
