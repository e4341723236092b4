"""The conversation between host and agent, both ways, over one stream socket: 4 bytes big-endian length, that many
bytes of JSON, then the blobs whose lengths the JSON lists under "blobs"."""

from __future__ import annotations

import hashlib
import json
import socket
import struct
from pathlib import Path
from typing import Any


def source_hash(folder: Path) -> str:
    """Hash of the inside's own source: host and agent must be of one version to understand each other."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def send(channel: socket.socket, message: dict[str, Any], blobs: list[bytes]) -> None:
    header = json.dumps({**message, "blobs": [len(b) for b in blobs]}).encode()
    channel.sendall(b"".join([struct.pack(">I", len(header)), header, *blobs]))


def receive(channel: socket.socket) -> tuple[dict[str, Any], list[bytes]]:
    """One message. Raises EOFError when the peer is gone."""
    (length,) = struct.unpack(">I", read_exactly(channel, 4))
    message = json.loads(read_exactly(channel, length))
    return message, [read_exactly(channel, n) for n in message.pop("blobs")]


def read_exactly(channel: socket.socket, count: int) -> bytes:
    parts: list[bytes] = []
    while count:
        part = channel.recv(min(count, 1 << 20))
        if not part:
            raise EOFError("the peer closed the channel")
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
