"""The slot's warm server, where it has one."""

from __future__ import annotations

from typing import Any

from .measure import others
from .servers import Server, ServerFailed
from .walls import apply_limits, become_killable

FOREVER_S = 10**8
SERVERS: dict[int, Server] = {}  # pid → server; a slot has one at most


def warm_server(request: dict[str, Any], start: bool = True) -> Server:
    command, limits = request["server"], {**request["limits"], "cpu_s": FOREVER_S}
    for server in SERVERS.values():
        if server.command == command and server.limits == limits:  # programs inherit the server's
            return server
    if not start:
        raise ServerFailed("the server is gone")
    forget_server()

    def prepare() -> None:
        become_killable()
        apply_limits(limits)

    server = Server(command, request["env"], prepare)
    server.limits = limits
    SERVERS[server.pid] = server
    return server


def forget_server() -> None:
    for pid in list(SERVERS):
        SERVERS.pop(pid).kill()


def strays() -> list[int]:
    """Every process but the agent and its warm server."""
    return [pid for pid in others() if pid not in SERVERS]
