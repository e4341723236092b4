"""The bubblewrap adapter: the same walls without a daemon, for laptops, cluster nodes and CI.

The toolchains are those of the host's /usr (mounted read-only). Memory and process counts are held by a cgroup where
one can be made, and by the agent and RLIMIT_NPROC where not.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from codecard.files import make_dir
from codecard.languages import find_language
from codecard.model import InfrastructureError, Stage
from codecard.paths import cache_dir, sandbox_dir
from codecard.sandbox.cgroups import Cgroup, children_of
from codecard.sandbox.channel import INSIDE, SLOT_LIMITS, Channel, Door, agent_command, own_user
from codecard.sandbox.images import recipe_hash
from codecard.sandbox.port import Image, SlotDied, StageAnswer, StageRequest

NOBODY = 65534
ETC = ("alternatives", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "ssl/openssl.cnf")


class BubblewrapSandbox:
    name = "bwrap"

    def __init__(self) -> None:
        if shutil.which("bwrap") is None:
            raise InfrastructureError("no bubblewrap; on Debian: apt-get install bubblewrap")
        done = _run(_walls(), ["/usr/bin/true"], _identity())
        if done.returncode != 0:
            raise InfrastructureError(
                f"bubblewrap does not work here ({done.stderr.strip()[:200]}); user namespaces may be forbidden: "
                "sysctl kernel.unprivileged_userns_clone=1"
            )
        if os.geteuid() == 0:
            Cgroup.remove_strays()

    def image(self, language: str) -> Image:
        return _image(language)

    def open_slot(self, language: str, stage: Stage) -> BubblewrapSlot:
        return BubblewrapSlot(_image(language))

    def close(self) -> None:
        return None


@cache
def _image(language: str) -> Image:
    tools = find_language(language).toolchain
    done = _run(_walls(language=language), list(tools.version), _identity())
    if done.returncode != 0:
        raise InfrastructureError(
            f"no toolchain for {language} ({tools.version[0]} does not run in the sandbox); "
            f"on Debian: apt-get install {tools.package}"
        )
    version = done.stdout.partition("\n")[0].strip()
    digest = f"host:{hashlib.sha256(done.stdout.encode()).hexdigest()[:16]}"
    return Image(language=language, digest=digest, version=version, warm=_prepare_warm(language, digest))


def _warm_folder(language: str, digest: str) -> Path:
    # as root, programs run as a nobody, who may not look into root's own cache
    base = Path("/var/tmp/codecard") if os.geteuid() == 0 else cache_dir()  # noqa: S108 - ownership is checked
    return base / "warm" / f"{language}-{recipe_hash(language)}-{digest.partition(':')[2]}"


def _prepare_warm(language: str, digest: str) -> bool:
    """Make what the image build's warm.sh makes, once, for the host's own toolchain. False where that cannot be."""
    folder = _warm_folder(language, digest)
    if folder.is_dir():
        return True
    make_dir(folder.parent)
    if folder.parent.parent.stat().st_uid != os.geteuid():
        return False
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        made = Path(work) / "warm"
        made.mkdir()
        os.chmod(work, 0o755)  # noqa: S103 - a nobody has to get through
        identity = _identity()
        if identity:
            os.chown(made, identity["user"], identity["group"])
        walls = _walls(language=language, warm=made, writable=True)
        command = ["sh", "-c", "if [ -e $0 ]; then sh $0; fi", "/opt/codecard/build/warm.sh"]
        if _run(walls, command, identity).returncode != 0:
            return False
        with contextlib.suppress(OSError):  # another codecard may have been faster
            made.rename(folder)
    return True


def _walls(
    *,
    door: Path | None = None,
    cgroup: Cgroup | None = None,
    language: str = "",
    warm: Path | None = None,
    writable: bool = False,
) -> list[str]:
    """The bwrap command up to the program: own namespaces, nothing writable but scratch."""
    # no --die-with-parent: "parent" is the thread, and the agent ends by itself when its host does
    command = ["bwrap", "--unshare-all", "--new-session", "--as-pid-1", "--clearenv",
               "--hostname", "sandbox", "--cap-drop", "ALL", "--uid", str(NOBODY), "--gid", str(NOBODY),
               "--setenv", "PATH", "/usr/local/bin:/usr/bin:/bin"]  # fmt: skip
    command += ["--ro-bind", "/usr", "/usr"]
    for name in ("bin", "lib", "lib64", "lib32", "libx32", "sbin"):
        path = Path("/") / name
        if path.is_symlink():
            command += ["--symlink", str(path.readlink()), f"/{name}"]
        elif path.is_dir():
            command += ["--ro-bind", str(path), f"/{name}"]
    for name in (*ETC, *(find_language(language).toolchain.etc if language else ())):
        command += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    if warm is not None:
        command += ["--ro-bind", str(sandbox_dir() / "common"), "/opt/codecard/common"]
        command += ["--ro-bind", str(find_language(language).folder), "/opt/codecard/build"]
        command += ["--bind" if writable else "--ro-bind", str(warm), "/opt/codecard/warm"]
    command += ["--proc", "/proc", "--dev", "/dev", "--size", str(512 * 1024**2), "--tmpfs", "/tmp",  # noqa: S108
                "--size", str(64 * 1024**2), "--tmpfs", "/dev/shm"]  # noqa: S108 # fmt: skip
    if door is not None:
        command += ["--ro-bind", str(INSIDE), "/codecard/inside", "--ro-bind", str(door), "/codecard/door"]
    if cgroup is not None:
        for name, folder in cgroup.shown.items():
            command += ["--ro-bind", str(folder), f"/cgroup/{name}"]
    return [*command, "--remount-ro", "/dev", "--remount-ro", "/"]


def _identity() -> dict[str, Any]:
    """As root, become a nobody first: a user namespace alone would keep root's rights on files."""
    user = own_user()
    return {"user": user, "group": user, "extra_groups": []} if os.geteuid() == 0 else {}


def _run(walls: list[str], command: list[str], identity: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*walls, "--", *command],
        capture_output=True, text=True, errors="replace", check=False, cwd="/", **identity,
    )  # fmt: skip


class BubblewrapSlot:
    """One warm set of namespaces, with the agent as its pid 1."""

    def __init__(self, image: Image) -> None:
        door = Door()
        self._cgroup = Cgroup.make(SLOT_LIMITS.memory_bytes, SLOT_LIMITS.pids)
        warm = _warm_folder(image.language, image.digest) if image.warm else None
        walls = _walls(door=door.folder, cgroup=self._cgroup, language=image.language, warm=warm)
        try:
            self._process = subprocess.Popen(
                [*walls, "--", *agent_command()],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd="/", **_identity(),
            )  # fmt: skip
            if self._cgroup:
                self._cgroup.add(self._process.pid)
            agent = door.accept(30, lambda: self._process.poll() is None)
            self._channel = Channel(agent, held=SLOT_LIMITS if self._cgroup else None)
            if self._cgroup:
                self._cgroup.add_children_of(self._process.pid)
        except (OSError, SlotDied) as error:
            said = self._end()
            raise SlotDied(f"bwrap: {error} {said}".strip()) from error
        finally:
            door.shut()

    def run(self, request: StageRequest) -> StageAnswer:
        return self._channel.run(request)

    def close(self) -> None:
        self._channel.close()
        self._end()

    def _end(self) -> str:
        said = ""
        if hasattr(self, "_process"):
            for agent in children_of(self._process.pid):
                with contextlib.suppress(OSError):
                    os.kill(agent, signal.SIGKILL)
            self._process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                _, errors = self._process.communicate(timeout=10)
                said = errors.decode("utf-8", "replace").strip()[:200]
        if self._cgroup:
            self._cgroup.remove()
        return said
