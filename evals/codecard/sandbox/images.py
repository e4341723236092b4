"""The sandbox images: one per language, from `sandbox/Dockerfile`; without a registry, on a mmdebstrap base."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from codecard.languages import find_language
from codecard.model import InfrastructureError
from codecard.paths import sandbox_dir

REGISTRY_BASE = "debian:bookworm-slim"
LOCAL_BASE = "codecard-base:bookworm"
SUITE = "bookworm"
RECIPE_LABEL = "codecard.recipe"


def image_name(language: str) -> str:
    return f"codecard-{language}:latest"


def _ingredients(language: str) -> dict[str, Path]:
    """Name in the build's context → file: all that an image is made from, besides the packages' archive. The
    definition (TOML) is none of it: it says how the image is used."""
    found = {"Dockerfile": sandbox_dir() / "Dockerfile"}
    for name, folder in (("common", sandbox_dir() / "common"), (language, find_language(language).folder)):
        files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".toml")
        found |= {f"{name}/{path.relative_to(folder).as_posix()}": path for path in files}
    return found


def recipe_hash(language: str) -> str:
    """Hash of everything that an image is made from."""
    digest = hashlib.sha256()
    for name, path in _ingredients(language).items():
        digest.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def is_current(language: str) -> bool:
    """An image is there and was made from today's recipe."""
    form = f'{{{{index .Config.Labels "{RECIPE_LABEL}"}}}}'
    found = _run("docker", "image", "inspect", "--format", form, image_name(language))
    return found.returncode == 0 and found.stdout.strip() == recipe_hash(language)


def build(languages: list[str], say: Callable[[str], None]) -> None:
    """Build the images of these languages with the docker command. Raises InfrastructureError."""
    if not languages:
        return
    base = _base(say)
    for language in languages:
        say(f"{image_name(language)} …")
        with tempfile.TemporaryDirectory(prefix="codecard-image-") as context:
            for name, path in _ingredients(language).items():
                target = Path(context) / name
                target.parent.mkdir(exist_ok=True, parents=True)
                shutil.copy(path, target)
            _checked(
                "docker", "build", "--quiet", "--network", "host", "--build-arg", f"BASE={base}",
                "--build-arg", f"LANGUAGE={language}", "--label", f"{RECIPE_LABEL}={recipe_hash(language)}",
                "--tag", image_name(language), context,
            )  # fmt: skip


def _base(say: Callable[[str], None]) -> str:
    if _have(LOCAL_BASE):
        return LOCAL_BASE
    say(f"{REGISTRY_BASE} …")
    if _have(REGISTRY_BASE) or _run("docker", "pull", "--quiet", REGISTRY_BASE).returncode == 0:
        return REGISTRY_BASE
    if shutil.which("mmdebstrap") is None:
        raise InfrastructureError(
            f"{REGISTRY_BASE} cannot be pulled and there is no mmdebstrap to make it; apt-get install mmdebstrap"
        )
    say("no registry answers: making the base image with mmdebstrap …")
    with tempfile.TemporaryDirectory(prefix="codecard-base-") as folder:
        archive = Path(folder) / "base.tar"
        _checked("mmdebstrap", "--quiet", "--variant=minbase", SUITE, str(archive))
        _checked("docker", "import", str(archive), LOCAL_BASE)
    return LOCAL_BASE


def _have(image: str) -> bool:
    return _run("docker", "image", "inspect", image).returncode == 0


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise InfrastructureError(f"no {command[0]} command; on Debian: apt-get install docker.io iptables") from None


def _checked(*command: str) -> None:
    done = _run(*command)
    if done.returncode != 0:
        last = ([line for line in (done.stderr + done.stdout).splitlines() if line.strip()] or ["no output"])[-1]
        raise InfrastructureError(f"`{' '.join(command[:2])}` failed: {last[:300]}")
