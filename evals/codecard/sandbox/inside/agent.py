"""The process with pid 1 inside a slot: runs one program at a time and leaves nothing of it behind.

It is started by every adapter in the same way, needs only the standard library, and is untrusted by the host:
whatever it answers is checked there. Programs run under the same user id as the agent, so it protects itself:
it is not dumpable (no ptrace, no /proc/1/mem, no /proc/1/environ), it has pid 1 and no signal handlers (signals
from inside its namespace do not reach it), and it filters system calls for itself and everything it starts.
"""

from __future__ import annotations

import base64
import os
import socket
import sys
from pathlib import Path

from .run import Run, kill_others
from .scratch import COLLECT_BYTES, SCRATCH, collect, place_files
from .servers import forget_server, strays
from .walls import protect
from .wire import receive, send, source_hash


def serve(channel: socket.socket) -> None:
    send(channel, {"hello": source_hash(Path(__file__).parent)}, [])
    while True:
        try:
            request, blobs = receive(channel)
        except EOFError:
            return
        run = Run(request, channel.fileno())
        place_files(request["files"], blobs)
        run.go()
        if strays():
            kill_others()
            forget_server()
        proof, answer = request["proof"], run.report()
        answer["proved"] = bool(proof) and os.path.exists(os.path.join(SCRATCH, proof))
        wanted = request["collect"] if run.status == 0 else []
        built = collect(wanted, min(request["limits"]["file_bytes"], COLLECT_BYTES))
        if built is None:
            answer["killed"], built = answer["killed"] or "output", {}
        answer["collected"] = list(built)
        answer["clean"] = run.sweep()
        send(channel, answer, [run.out.kept(), run.err.kept(), *built.values()])
        if not answer["clean"]:
            return


def main() -> None:
    os.umask(0o077)
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    channel.connect(sys.argv[1])
    protect(base64.b64decode(sys.argv[2]))
    serve(channel)
