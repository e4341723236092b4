"""The docker adapter: a slot is a container that stays warm, with the agent as its pid 1."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import Any

from codecard.languages import find_language
from codecard.model import InfrastructureError, Stage
from codecard.sandbox.channel import INSIDE, SLOT_LIMITS, Channel, Door, agent_command, own_user
from codecard.sandbox.images import image_name
from codecard.sandbox.port import Image, SlotDied, StageAnswer, StageRequest
from codecard.text import first_line

START_ENGINE = "start a Docker engine (on a machine without systemd: scripts/start-docker) or use --sandbox bwrap"
OWNER_LABEL = "codecard.owner"


class DockerSandbox:
    """Raises InfrastructureError when no local engine answers."""

    name = "docker"

    def __init__(self) -> None:
        import docker
        from docker.errors import DockerException

        try:
            self._client = docker.from_env(timeout=60)
            self._client.ping()
        except DockerException as error:
            raise InfrastructureError(f"no Docker engine answers ({first_line(error)}); {START_ENGINE}") from error
        self._images: dict[str, Image] = {}
        self.owner = f"{socket.gethostname()}:{os.getpid()}"
        self._remove_strays()

    def image(self, language: str) -> Image:
        if language in self._images:
            return self._images[language]
        from docker.errors import DockerException, ImageNotFound

        command = list(find_language(language).toolchain.version)
        try:
            found = self._client.images.get(image_name(language))
            printed: bytes = self._client.containers.run(
                found.id, command, network_mode="none", remove=True, user="65534:65534"
            )
        except ImageNotFound:
            raise InfrastructureError(
                f"no sandbox image for {language}; build it: codecard images build {language}"
            ) from None
        except DockerException as error:
            cause = f"{image_name(language)}: {first_line(error)}"
            raise InfrastructureError(f"the Docker engine failed ({cause}); {START_ENGINE}") from error
        version = printed.decode("utf-8", "replace").partition("\n")[0].strip()
        return self._images.setdefault(language, Image(language=language, digest=found.id, version=version))

    def open_slot(self, language: str, stage: Stage) -> DockerSlot:
        return DockerSlot(self._client, self.image(language), self.owner)

    def _remove_strays(self) -> None:
        """Containers whose codecard was killed: their agents end by themselves, this is the second net."""
        host, _, _ = self.owner.partition(":")
        engine = self._client.api  # its list does not look into each container, which may be gone by then
        for container in engine.containers(all=True, filters={"label": OWNER_LABEL}):
            owner_host, _, pid = container["Labels"].get(OWNER_LABEL, "").partition(":")
            if owner_host == host and pid.isdigit() and not os.path.exists(f"/proc/{pid}"):
                with contextlib.suppress(Exception):
                    engine.remove_container(container["Id"], force=True)

    def close(self) -> None:
        self._client.close()


class DockerSlot:
    """One warm container."""

    def __init__(self, client: Any, image: Image, owner: str) -> None:
        from docker.errors import DockerException

        door, user = Door(), own_user()
        self._container: Any = None
        try:
            self._container = client.containers.create(
                image.digest,
                agent_command(),
                labels={OWNER_LABEL: owner},
                auto_remove=True,
                network_mode="none",
                read_only=True,
                user=f"{user}:{user}",
                cap_drop=["ALL"],
                security_opt=["no-new-privileges"],
                mem_limit=SLOT_LIMITS.memory_bytes,
                memswap_limit=SLOT_LIMITS.memory_bytes,
                pids_limit=SLOT_LIMITS.pids,
                ipc_mode="private",
                hostname="sandbox",
                log_config={"Type": "none"},
                tmpfs={
                    "/tmp": "rw,exec,nosuid,nodev,size=512m,nr_inodes=20000,mode=1777",  # noqa: S108
                    "/dev/shm": "rw,noexec,nosuid,nodev,size=64m,nr_inodes=1000,mode=1777",  # noqa: S108
                },
                volumes={
                    str(INSIDE): {"bind": "/codecard/inside", "mode": "ro"},
                    str(door.folder): {"bind": "/codecard/door", "mode": "ro"},
                },
            )
            self._container.start()
            self._channel = Channel(door.accept(30, self._alive), held=SLOT_LIMITS)
        except (DockerException, OSError) as error:  # OSError: the HTTP client's own, when the engine is gone
            self._remove()
            raise SlotDied(f"docker: {first_line(error)}") from error
        except SlotDied:
            self._remove()
            raise
        finally:
            door.shut()

    def _alive(self) -> bool:
        from docker.errors import DockerException

        try:
            self._container.reload()
        except (DockerException, OSError):
            return False
        return bool(self._container.status in ("created", "running"))

    def run(self, request: StageRequest) -> StageAnswer:
        return self._channel.run(request)

    def close(self) -> None:
        self._channel.close()
        self._remove()

    def _remove(self) -> None:
        if self._container is not None:
            with contextlib.suppress(Exception):  # auto_remove may have been faster
                self._container.remove(force=True)
